"""Evaluate diversity: the server's own code over the running services, at every strength.

Requests for every user, or some, are at the moment of the first held-out rating, without diversity and at eleven
strengths. Next to the lists' metrics is the time of re-ranking, with one request at a time. Which strength costs less
than 1 % of the NDCG was found on other ratings, by `make tune`; this measures its cost.

Reads   the live release in the services; data_exchange_center/offline (the held-out ratings);
        pic/figures/tune.json
Writes  pic/figures/diversity.json (another recipe's or data set's: with its name)
Run     make evaluate-diversity, after make up sync; users=1000: of 1,000 users, drawn at random with a fixed seed
"""

from __future__ import annotations

import argparse
import json
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import scipy.sparse as sp

from data_exchange_center import steps
from data_exchange_center.candidates import ExactItems
from data_exchange_center.features import Float32
from data_exchange_center.release_parts import read_items, release_of_artifacts
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from extras import comparison
from extras.diversity.hook import STAGE, DiversityRequest, rerank, similarity_rows
from offline.evaluation import metrics
from offline.evaluation.metrics import Floats, Lists, plain
from offline.evaluation.replay import Holdout
from online.recommend.types import Answer, Stopwatch
from research.evaluation.metrics import coverage, diversity, novelty
from research.evaluation.slices import popularity
from research.figures import recommendations
from research.measure.in_process import Requests, parse_users, recommender_of
from research.reports import figure, head, publish

K: Final = 50
NDCG: Final = f"ndcg@{K}"
COST: Final = 0.01  # share of the NDCG that diversity may cost
REQUESTED: Final = 75  # items: more than the fifty that are judged, as `Holdout.judged` removes some
STRENGTHS: Final = tuple(n / 10 for n in range(11))


def tuned_strength(path: Path) -> float:
    """The strength that `make tune` has chosen. Raises StepError where it has not."""
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if "chosen" not in found:
        raise StepError(f'{path} says no strength of diversity: run make tune options="--only diversity".')
    return float(found["chosen"])


def main(settings: Settings) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m research.measure.diversity",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    size = parse_users(parser)
    release = release_of_artifacts(settings)
    opening = head(f"make evaluate-diversity{f' users={size}' if size else ''}", settings, settings.recipe)
    chosen = tuned_strength(figure(opening, settings, "tune"))
    requests = Requests.of(settings, size)
    holdout = requests.holdout
    items = read_items(settings.exchange_dir)
    genres = genres_by_code(items, len(release.feature_spec.genres))
    by_code = [np.insert(rows, 0, np.nan, axis=0).astype(np.float32) for rows in items.vectors.values()]
    alike = similarity_rows(by_code, genres[:, :0])
    of_strengths, without = {}, None
    seconds: list[float] = []  # of re-ranking, one a request that has it

    def answer(fields: dict[str, Any], diversity: float) -> Answer:
        watch = Stopwatch()
        found = recommender.recommend(DiversityRequest(**fields, strict=True, diversity=diversity), watch)
        if STAGE in watch.stages:
            seconds.append(watch.stages[STAGE].seconds)
        return found

    with closing(recommender_of(settings, 0, release.release)) as recommender:
        recommender.phases.rerank.append(partial(rerank, default=0))
        for strength in sorted({*STRENGTHS, chosen}):  # the first is 0
            name = f"diversity {strength:g}"
            lists = requests.lists(recommender, REQUESTED, name, partial(answer, diversity=strength))
            values = measures(holdout, lists, alike, genres)
            without = values[NDCG] if without is None else without
            of_strengths[f"{strength:g}"] = {
                **{name: comparison.mean(of_users) for name, of_users in values.items()},
                f"coverage@{K}": coverage(lists[:, :K], holdout.past.n_items),
                "change": comparison.compare(values[NDCG], without),
            }
    counts = {"release": release.release, "users": len(requests.rows), "requested": REQUESTED, "chosen": chosen}
    ms = {f"p{percent}": float(np.percentile(seconds, percent)) * 1e3 for percent in (50, 99)}
    found = plain({**opening, **counts, "diversity": of_strengths, "ms": ms})
    publish(figure(found, settings, "diversity"), found, recommendations.diversity)


def genres_by_code(items: ExactItems, n_genres: int) -> Float32:
    """(items + 1, genres) 0/1."""
    flags = np.zeros((len(items.item_numbers) + 1, n_genres), np.float32)
    for code, positions in items.terms.items():
        flags[positions + 1, code - 1] = 1
    return flags


def measures(holdout: Holdout, lists: Lists, alike: Float32, genres: Float32) -> dict[str, Floats]:
    """(users,) each, of lists of `K` or more: NDCG and recall of what is `Holdout.judged`, the others of what is shown.

    Diversity is by the rows that the server compares, of vectors or of genres alone. With a calibration error of 0,
    genres have the same shares in the list as in the user's history.

    ``alike``: (items + 1, d) `similarity_rows` by vectors; ``genres``: (items + 1, genres) 0/1.
    """
    judged, shown = holdout.judged(lists), lists[:, :K]
    found = {
        NDCG: metrics.ndcg(judged, holdout.relevance, K),
        f"recall@{K}": metrics.recall(judged, holdout.relevance, K),
        "diversity by vectors": diversity(shown, alike.astype(np.float64)),
        "diversity by genres": diversity(shown, similarity_rows([], genres).astype(np.float64)),
        "novelty": novelty(shown, popularity(holdout)),
        "calibration error": calibration_error(shown, holdout.known.seen(), genres.astype(np.float64)),
    }
    requested = (shown > 0).any(axis=1)
    return {name: np.where(requested, values, np.nan) for name, values in found.items()}


def calibration_error(lists: Lists, history: sp.csr_matrix, flags: Floats, smoothing: float = 0.01) -> Floats:
    """(users,) bits by which the genres of a list miss the shares that they have in the user's history; 0 at best.

    Kullback-Leibler divergence of the list's shares from the history's, smoothed by these (Steck, "Calibrated
    Recommendations", RecSys 2018, section 3). An item's share is spread evenly over its genres. NaN without either.

    Args:
        history: (users, items + 1) 0/1.
        flags: (items + 1, genres) 0/1.
    """
    shares = np.nan_to_num(normalised(flags))
    wanted = normalised(np.asarray(history @ shares))
    given = normalised(np.stack([shares[codes[codes > 0]].sum(axis=0) for codes in lists]))
    smooth = (1 - smoothing) * given + smoothing * wanted
    ratio = np.divide(wanted, smooth, out=np.ones_like(wanted), where=wanted > 0)
    errors: Floats = (wanted * np.log2(ratio)).sum(axis=1)
    return errors


def normalised(rows: Floats) -> Floats:
    """Scale rows to sum to one; NaN for rows of zeros."""
    total = rows.sum(axis=1, keepdims=True)
    shares: Floats = np.divide(rows, total, out=np.full_like(rows, np.nan, dtype=np.float64), where=total > 0)
    return shares


if __name__ == "__main__":
    steps.run(main)
