"""Evaluate diversity: the server's own code over the running services, at every strength.

Requests for every user, or some, are at the moment of the first held-out rating, without diversity and at eleven
strengths. Next to the lists' metrics is the time of re-ranking, with one request at a time. Which strength
costs less than 1 % of the NDCG was found on other ratings, by a study that has ended; here is what it costs.

Reads   the live release in the services; data_exchange_center/offline (the held-out ratings);
        pic/figures/tune_diversity.json
Writes  pic/figures/diversity.json (another recipe's or data set's: with its name)
Run     make evaluate-diversity, after make up sync; users=1000: of so many users, drawn at random with a fixed seed
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from data_exchange_center import steps
from data_exchange_center.dataset import OwnId
from data_exchange_center.features import Float32
from data_exchange_center.figures import PIPELINE
from data_exchange_center.release_parts import read_own_ids, release_of_artifacts
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError, progress
from extras.diversity.diversity import similarity_rows
from extras.diversity.hook import STAGE, Diversifier, DiversityRequest
from offline.evaluation import metrics, replay
from offline.evaluation.evaluate import figure, head, write
from offline.evaluation.metrics import Floats, Lists
from offline.evaluation.replay import Holdout
from offline.evaluation.report import plain
from offline.evaluation.served import ExactIndex
from offline.readers import read_with_holdout
from online.recommend.recommend import Recommender
from online.recommend.types import MAX_BUDGET_MS, Stopwatch
from research.measure.degraded import recommender_of
from research.measure.some_users import parse_users, sample

ASKED = 75  # items: more than the fifty that are judged, as what is neither known nor a target is taken off
STRENGTHS = tuple(n / 10 for n in range(11))


@dataclass(frozen=True, eq=False)
class Asked:
    """Answers of the server at one strength: (users, `ASKED`) lists, and seconds of re-ranking, one a request."""

    lists: Lists
    seconds: NDArray[np.float64]


def asked(
    recommender: Recommender, diversity: float, holdout: Holdout, userids: Sequence[OwnId], rows: NDArray[np.intp]
) -> Asked:
    """Lists are 0 for users without a request. Raises ServiceError: requests are strict."""
    lists = np.zeros((holdout.past.n_users, ASKED), dtype=np.int64)
    seconds = []
    for user in progress(rows, total=len(rows), desc=f"diversity {diversity:g}", unit="user"):
        request = DiversityRequest(
            userid=userids[user],
            size=ASKED,
            timestamp=int(holdout.times[user]),
            budget_ms=MAX_BUDGET_MS,
            strict=True,
            diversity=diversity,
        )
        watch = Stopwatch()
        answer, opened = recommender.recommend(request, watch), recommender.releases.serving
        ids = [opened.numbers[each] for each in answer.itemids] if opened is not None else []
        lists[user, : len(ids)] = np.searchsorted(holdout.past.itemids, ids) + 1
        if STAGE in watch.stages:
            seconds.append(watch.stages[STAGE].seconds)
    return Asked(lists, np.array(seconds))


def measure(
    recommender: Recommender,
    holdout: Holdout,
    kinds: Kinds,
    userids: Sequence[OwnId],
    rows: NDArray[np.intp],
    strengths: Sequence[float],
) -> dict[str, Any]:
    """Strength -> summary, and the milliseconds of re-ranking. The first strength is 0."""
    first = asked(recommender, strengths[0], holdout, userids, rows)
    without = measures(holdout, first.lists, kinds)
    found = {f"{strengths[0]:g}": summary(holdout, first.lists, kinds, without)}
    seconds: list[NDArray[np.float64]] = []
    for strength in strengths[1:]:
        answered = asked(recommender, strength, holdout, userids, rows)
        found[f"{strength:g}"] = summary(holdout, answered.lists, kinds, without)
        seconds.append(answered.seconds)
    took = np.concatenate(seconds) * 1e3
    return {
        "diversity": found,
        "ms": {f"p{percent}": float(np.percentile(took, percent)) for percent in (50, 99)},
    }


def chosen(settings: Settings, dataset: str) -> float:
    """The strength that costs less than 1 %, by validation. Raises StepError where that was not measured."""
    path = figure({"recipe": settings.recipe.name, "dataset": dataset}, settings, "tune_diversity")
    if not path.is_file():
        raise StepError(f"{path} is missing, which says what diversity may cost.")
    return float(json.loads(path.read_text(encoding="utf-8"))["chosen"])


def show(found: dict[str, Any], console: Console) -> None:
    first = found["diversity"]["0"]
    names = [name for name in first if name != "change"]
    table = Table("diversity", *names, "cost", title=f"{found['users']:,} users of {found['dataset']}")
    for strength, row in found["diversity"].items():
        values = (row[name]["mean"] if isinstance(row[name], dict) else row[name] for name in names)
        table.add_row(strength, *(f"{value:.4f}" for value in values), f"{lost(row, first):.1%}")
    console.print(table)
    console.print(f"Chosen by validation: {found['chosen']:g}. Re-ranking takes {found['ms']['p50']:.2f} ms.")


def main(settings: Settings) -> None:
    parser = argparse.ArgumentParser(prog="python -m research.measure.diversity", description=__doc__)
    size = parse_users(parser)
    inputs, release = read_with_holdout(settings), release_of_artifacts(settings)
    best = chosen(settings, release.dataset.name)
    holdout = replay.hold_out(inputs.data, inputs.dataset.holdout)
    index = ExactIndex.read(settings.exchange_dir, settings.recipe.recall, holdout.past.itemids)
    own_ids, rows = read_own_ids(settings.exchange_dir).users, sample(holdout.past.n_users, size)
    userids = [own_ids[number] for number in holdout.past.userids.tolist()]
    with closing(recommender_of(settings, 0, release.release)) as recommender:
        recommender.before_answer.append(Diversifier(0))
        kinds = Kinds(index.vectors, index.genres)
        measured = measure(recommender, holdout, kinds, userids, rows, sorted({*STRENGTHS, best}))
    found = plain(
        {
            **head(f"make evaluate-diversity{f' users={size}' if size else ''}", settings, settings.recipe),
            "release": release.release,
            "users": len(rows),
            "asked": ASKED,
            "chosen": best,
            **measured,
        }
    )
    write(found, settings, "diversity", (*PIPELINE, "extras/diversity", "research/measure/diversity.py"))
    show(found, Console())


# --- Metrics of lists


K: Final = 50
NDCG: Final = f"ndcg@{K}"
COST: Final = 0.01  # share of the NDCG that diversity may cost


@dataclass(frozen=True, eq=False)
class Kinds:
    """Attributes of items, by code; row 0 is padding.

    Attributes:
        vectors: channel -> (items + 1, dim), NaN for an item without one.
        flags: (items + 1, genres) 0/1.
    """

    vectors: Mapping[str, Float32]
    flags: Float32

    def rows(self, *, by_vectors: bool = True, by_genres: bool = True) -> Float32:
        """(items + 1, d) as the server compares items; or by one of the two alone."""
        flags = self.flags if by_genres else np.zeros((len(self.flags), 0), np.float32)
        return similarity_rows(list(self.vectors.values()) if by_vectors else [], flags)


def measures(holdout: Holdout, lists: Lists, kinds: Kinds) -> dict[str, Floats]:
    """(users,) each, of lists of `K` or more: NDCG and recall of what is `Holdout.judged`, the others of what is shown.

    A calibration error of 0 has the genres of the list in the shares of the user's history.
    """
    judged, shown = holdout.judged(lists), lists[:, :K]
    asked = (shown > 0).any(axis=1)
    found = {
        NDCG: metrics.ndcg(judged, holdout.relevance, K),
        f"recall@{K}": metrics.recall(judged, holdout.relevance, K),
        "diversity by vectors": metrics.diversity(shown, kinds.rows(by_genres=False).astype(np.float64)),
        "diversity by genres": metrics.diversity(shown, kinds.rows(by_vectors=False).astype(np.float64)),
        "novelty": metrics.novelty(shown, holdout.popularity),
        "calibration error": calibration_error(shown, holdout.known.seen(), kinds.flags.astype(np.float64)),
    }
    return {name: np.where(asked, values, np.nan) for name, values in found.items()}


def summary(holdout: Holdout, lists: Lists, kinds: Kinds, first: Mapping[str, Floats] | None) -> dict[str, Any]:
    """Means over users with their intervals, coverage, and the paired change of the NDCG to ``first``'s, if any."""
    found = measures(holdout, lists, kinds)
    n_items = holdout.relevance.shape[1] - 1
    return {
        **{name: asdict(metrics.mean(values)) for name, values in found.items()},
        f"coverage@{K}": metrics.coverage(lists[:, :K], n_items),
        **({"change": asdict(metrics.compare(found[NDCG], first[NDCG]))} if first else {}),
    }


def calibration_error(lists: Lists, history: sp.csr_matrix, flags: Floats, smoothing: float = 0.01) -> Floats:
    """(users,) bits by which the genres of a list miss the shares that they have in the user's history; 0 at best.

    Kullback-Leibler divergence of the list's shares from the history's, smoothed by these (Steck, "Calibrated
    Recommendations", RecSys 2018, section 3). An item's share is spread evenly over its genres. NaN without either.

    Args:
        history: (users, items + 1) 0/1.
        flags: (items + 1, genres) 0/1.
    """
    counts = flags.sum(axis=1, keepdims=True)
    shares = np.divide(flags, counts, out=np.zeros_like(flags), where=counts > 0)
    wanted = normalised(np.asarray(history @ shares))
    given = normalised(np.stack([shares[codes[codes > 0]].sum(axis=0) for codes in lists]))
    smooth = (1 - smoothing) * given + smoothing * wanted
    ratio = np.divide(wanted, smooth, out=np.ones_like(wanted), where=wanted > 0)
    errors: Floats = (wanted * np.log2(ratio)).sum(axis=1)
    return errors


def normalised(rows: Floats) -> Floats:
    """Shares; NaN where there is nothing."""
    total = rows.sum(axis=1, keepdims=True)
    shares: Floats = np.divide(rows, total, out=np.full_like(rows, np.nan, dtype=np.float64), where=total > 0)
    return shares


def lost(row: Mapping[str, Any], first: Mapping[str, Any]) -> float:
    """Share of the NDCG of ``first``, a `summary`, that another one lacks."""
    return float(1 - row[NDCG]["mean"] / first[NDCG]["mean"])


if __name__ == "__main__":
    steps.run(main)
