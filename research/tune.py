"""Choose the recipe's numbers and the strength of diversity by validation: ``make tune``.

On the events before the held-out ones, as many of each user as these, with everything fitted on what precedes them:
each number of the recipe takes other values, one at a time, and diversity each strength. A number is compared by the
NDCG@50 of the served order, paired user by user. The strength that is chosen is the largest that costs less than 1 %
of it. What is measured is written at once, and an interrupted run resumes.

Reads:  offline/{ratings,items,users}.parquet
Writes: pic/figures/tune.json (of another recipe or data set: with its name)
Run:    python -m research.tune [--only tower.dim ranker.past diversity]
Expect: two minutes a value on MovieLens-1M; with diversity alone four minutes
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from data_exchange_center.channels import Channel, VectorChannel
from data_exchange_center.features import Float32
from data_exchange_center.recipes import Frozen, Recipe
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError, run
from extras import comparison, replay
from extras.comparison import Floats
from extras.diversity.hook import diverse_order, rarity, similarity_rows
from extras.replay import Holdout, Lists
from offline.data.sequences import Inputs
from offline.readers import read_with_holdout
from research import figures
from research.evaluation.metrics import coverage, diversity, novelty, popularity
from research.evaluation.protocols import fit_recall, fit_stages, in_both_orders
from research.figures import plain

log = logging.getLogger(__name__)

K: Final = 50
NDCG: Final = f"ndcg@{K}"
COST: Final = 0.01  # share of the NDCG that diversity may cost
# items of a re-ranked list: more than `K`, as `Holdout.judged` removes some
SHOWN: Final = 75
STRENGTHS: Final = (0.05, 0.1, 0.15, 0.2, 0.3, 0.5)
DIVERSITY: Final = "diversity"
# Part and number of the recipe -> other values
VALUES: Final[Mapping[str, Sequence[Any]]] = {
    "recall.candidates": (200, 400),
    "tower.fusion_weight": (2.0, 8.0),
    "tower.dim": (32, 128),
    "tower.hidden": (0, 256, 1024),
    "tower.dropout": (0.2, 0.4),
    "tower.epochs": (2, 5),
    "tower.stride": (4, 7),
    "tower.horizon": (5, 10),
    "ease.l2": (300.0, 3000.0),
    "ease.power": (0.5, 1.0),
    "ranker.history": (20, 80),
    "ranker.past": (0.5, 0.7),
    "ranker.stride": (3, 10),
    "ranker.horizon": (5, 20),
    "ranker.epochs": (3, 10),
    "ranker.sampled": (16, 64),
    "ranker.kernels": (2, 8),
    "ranker.hidden": ((32,), (128, 64)),
}


def changed(recipe: Recipe, number: str, value: Any) -> Recipe:
    """The recipe with another value of ``<part>.<name>``; a part is recall, ranker, or a channel by its name.

    Raises StepError where the recipe has none of that name.
    """
    part, _, name = number.partition(".")
    recall, ranker = recipe.recall, recipe.ranker
    parts: list[Frozen] = [
        channel for channel in recall.channels if channel.name == part
    ]
    if part in ("recall", "ranker"):
        parts = [recall if part == "recall" else ranker]
    if not any(name in type(each).model_fields for each in parts):
        raise StepError(f"recipe {recipe.name!r} has no {number}.")
    if part == "ranker":
        return recipe.model_copy(
            update={"ranker": ranker.model_copy(update={name: value})}
        )
    if part == "recall":
        return recipe.model_copy(
            update={"recall": recall.model_copy(update={name: value})}
        )
    channels = tuple(
        channel.model_copy(update={name: value}) if channel.name == part else channel
        for channel in recall.channels
    )
    return recipe.model_copy(
        update={"recall": recall.model_copy(update={"channels": channels})}
    )


def named(number: str, value: Any) -> str:
    """Name of a row."""
    return f"{number} = {value}"


# --- Diversity of ranked lists


def likeness(channels: Sequence[Channel], genres: Float32) -> Float32:
    """(items + 1, d) rows, as the server makes them of a release's items: row 0 is padding."""
    vectors = [
        np.where(channel.trained[:, None], channel.item_vectors(), np.nan).astype(
            np.float32
        )
        for channel in channels
        if isinstance(channel, VectorChannel)
    ]
    return similarity_rows(vectors, genres)


def reranked(lists: Lists, rows: Float32, rarities: Float32, strength: float) -> Lists:
    """(users, `SHOWN`) of (users, candidates) in the ranker's order."""
    found = np.zeros((len(lists), min(SHOWN, lists.shape[1])), np.int64)
    for out, codes in zip(found, lists, strict=True):
        there = codes[codes > 0]
        order = diverse_order(rows[there], rarities[there], strength, SHOWN)[:SHOWN]
        out[: len(order)] = there[order]
    return found


def measures(holdout: Holdout, lists: Lists, rows: Float32) -> dict[str, Floats]:
    """(users,) values; NaN for users without a request."""
    judged, shown = holdout.judged(lists), lists[:, :K]
    values = {
        NDCG: replay.ndcg(judged, holdout.relevance, K),
        DIVERSITY: diversity(shown, rows.astype(np.float64)),
        "novelty": novelty(shown, popularity(holdout)),
    }
    return {
        name: np.where(lists[:, 0] > 0, of_users, np.nan)
        for name, of_users in values.items()
    }


def strengths(
    holdout: Holdout, inputs: Inputs, lists: Lists, channels: Sequence[Channel]
) -> dict[str, Any]:
    """Strength -> means, coverage and the paired change of the NDCG; "0" is the ranker's order."""
    rows = likeness(channels, inputs.genres)
    likers = np.asarray(
        holdout.past.select(holdout.past.liked).seen().sum(axis=0)
    ).ravel()
    rarities, found, first = rarity(likers / max(holdout.past.n_users, 1)), {}, None
    for strength in (0.0, *STRENGTHS):
        made = reranked(lists, rows, rarities, strength)
        values = measures(holdout, made, rows)
        first = values[NDCG] if first is None else first
        found[f"{strength:g}"] = {
            **{name: float(np.nanmean(of_users)) for name, of_users in values.items()},
            f"coverage@{K}": coverage(made[:, :K], holdout.past.n_items),
            "change": comparison.compare(values[NDCG], first),
        }
    return found


def chosen(found: Mapping[str, Mapping[str, Any]]) -> float:
    """The largest strength that costs less than `COST`, as all smaller ones do; 0 where none does."""
    best, limit = 0.0, -COST * found["0"][NDCG]
    for strength, row in found.items():
        if row["change"]["difference"] < limit:
            break
        best = float(strength)
    return best


# --- What is measured


def tune(
    settings: Settings,
    only: Sequence[str],
    path: Path,
    keep: Callable[[dict[str, Any]], None],
) -> dict[str, Any]:
    """The report. ``path``: of an interrupted run, ``keep``: writes it as far as it is measured."""
    inputs, recipe = read_with_holdout(settings), settings.recipe
    rule = inputs.dataset.holdout
    holdout = replay.hold_out(replay.hold_out(inputs.data, rule).past, rule)
    opening = figures.head("make tune", settings, recipe, holdout)
    found = figures.resumed(path, opening, {"rows": {}, DIVERSITY: {}})
    log.info("the recipe as it is")
    recall = fit_recall(holdout.past, inputs, recipe)
    stages = fit_stages(holdout.past, inputs, recipe, recall)
    lists = in_both_orders(stages, recipe, inputs, holdout)[1]
    first = replay.ndcg(holdout.judged(lists), holdout.relevance, K)
    found["as it is"] = float(np.nanmean(first))
    if not found[DIVERSITY] and (not only or DIVERSITY in only):
        found[DIVERSITY] = plain(strengths(holdout, inputs, lists, stages.channels))
    if found[DIVERSITY]:
        found["chosen"] = chosen(found[DIVERSITY])
    keep(found)
    for number in [each for each in VALUES if not only or each in only]:
        for value in VALUES[number]:
            name = named(number, value)
            if name in found["rows"]:
                continue
            log.info("%s", name)
            other = changed(recipe, number, value)
            # what the number cannot change is not fitted again
            same = (
                other.recall.channels == recipe.recall.channels
                and number != "ranker.past"
            )
            stages = fit_stages(holdout.past, inputs, other, recall if same else None)
            made = in_both_orders(stages, other, inputs, holdout)[1]
            values = replay.ndcg(holdout.judged(made), holdout.relevance, K)
            found["rows"][name] = plain(
                {
                    NDCG: float(np.nanmean(values)),
                    "change": comparison.compare(values, first),
                }
            )
            keep(found)
    return found


def main(settings: Settings, *, only: Sequence[str] = ()) -> None:
    path = figures.path_of(
        figures.head("", settings, settings.recipe), settings, "tune", part=bool(only)
    )
    found = tune(settings, only, path, partial(figures.write, path, finished=False))
    all_rows = {
        named(number, value) for number, values in VALUES.items() for value in values
    }
    figures.write(
        path, found, finished=bool(found[DIVERSITY]) and all_rows <= set(found["rows"])
    )
    figures.show(found["rows"])
    figures.show(found[DIVERSITY], DIVERSITY)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", nargs="+", default=[], choices=[*VALUES, DIVERSITY], metavar="number"
    )
    run(partial(main, only=parser.parse_args().only))
