"""Evaluate new items by how many have liked them so far: ``make evaluate-new-items``, after ``make offline``.

Some items are left out of a training with all their events, and then placed as `extras.items` places new ones: by
their attributes, and by their first likes. Targets are those of them that users liked among their held-out events.
The placed items are compared with the most liked ones, as of so many likes, and a model that was trained with them.

Reads:  offline/{ratings,items,users}.parquet
Writes: pic/figures/new_items.json (of another recipe or data set: with its name)
Run:    python -m research.measure.new_items [--items 400]
Expect: two fits and a minute
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from data_exchange_center.channels import HistorySum
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError, run
from extras import comparison
from extras.items.projection import BEFORE, WEIGHT, Table
from offline.data.sequences import Inputs, Ints, Sequences
from offline.data.statistics import number_column
from offline.evaluation import metrics, replay
from offline.evaluation.metrics import Floats, Lists, plain
from offline.evaluation.replay import Holdout
from offline.evaluation.served import best_unseen
from offline.readers import read_with_holdout
from research.evaluation.protocols import Stages, fit_stages, in_both_orders
from research.figure_files import write_figure
from research.figures import recommendations
from research.reports import figure_of_study, head, resumed, show

log = logging.getLogger(__name__)

ITEMS: Final = 200  # at most; fewer where the data set is small
LEAST: Final = 10  # likes of each before the held-out part
NUMBERS: Final = (0, 1, 2, 5, 10)  # of likes
K: Final = 50
LEARNED: Final = "learned"


def drawn(past: Sequences, relevance: sp.csr_matrix, items: int = ITEMS) -> Ints:
    """Codes of items, at random, that enough users liked before and some afterwards; no more than a quarter of them."""
    likes = np.bincount(past.items[past.liked], minlength=past.n_items + 1)
    fit = np.flatnonzero((likes >= LEAST) & (np.asarray(relevance.sum(axis=0)).ravel() > 0))
    found: Ints = np.sort(np.random.default_rng(0).permutation(fit)[: min(items, len(fit) // 4)])
    return found


def attributes(inputs: Inputs) -> Floats:
    """(items + 1, columns) terms, and nearness of each number to the declared centres; NaN where unknown."""
    flags = inputs.genres.astype(np.float64)
    flags[~flags.any(axis=1)] = np.nan
    near = []
    for number, values in zip(inputs.dataset.numbers, inputs.numbers.T, strict=True):
        centres = np.array(number.centres or (0.0,))
        within = np.clip(values, centres.min(), centres.max())
        near.append(np.exp(-0.5 * ((within[:, None] - centres) / number.width) ** 2))
    return np.hstack([flags, *near])


def liked_before(past: Sequences, codes: Ints, most: int) -> list[list[Ints]]:
    """For each of the first ``most`` likes of a new item: codes of the known items that its user had liked before."""
    found: list[list[Ints]] = [[] for _ in codes]
    new = np.isin(past.items, codes)
    events = np.flatnonzero(past.liked & new)
    users = past.users
    for event in events[np.argsort(past.times[events], kind="stable")].tolist():
        place = int(np.searchsorted(codes, past.items[event]))
        if len(found[place]) < most:
            own = np.arange(past.starts[users[event]], event)
            before = past.items[own[past.liked[own] & ~new[own]]][-BEFORE:]
            if len(before):
                found[place].append(before)
    return found


@dataclass(frozen=True, eq=False)
class Placement:
    """Places new items in the tables of a channel that was fitted without them; ``weights``: of each item."""

    given: Floats  # (items + 1, columns)
    weights: Floats  # (items + 1,)
    codes: Ints  # of the new items

    def channel(self, channel: HistorySum, likes: list[list[Ints]]) -> HistorySum:
        """The channel with the new items, placed by their attributes and ``likes``."""
        known = channel.trained[:, None]

        def placed(rows: NDArray[np.floating], *, with_bias: bool = False) -> NDArray[np.float32]:
            table = Table.fit(self.given, np.where(known, rows, np.nan), self.weights)
            made = table.place(self.given[self.codes], likes)
            changed = rows.astype(np.float32)
            changed[self.codes] = table.no_louder(made, with_bias=True) if with_bias else made
            return changed

        both = placed(np.column_stack([channel.items, channel.bias]), with_bias=True)
        trained = channel.trained.copy()
        trained[self.codes] = True
        rows = np.stack([placed(of_field) for of_field in channel.rows])
        return replace(channel, rows=rows, items=both[:, :-1], bias=both[:, -1], trained=trained)


def as_nearest(stages: Stages, channels: tuple[HistorySum, ...], codes: Ints, own: set[str]) -> Stages:
    """With channels that have the new items, which the ranker sees as the known ones that are nearest to them.

    ``own``: names of the features that are an item's own.
    """
    items, vectors = stages.stored.items, channels[0].items
    known = np.setdiff1d(np.flatnonzero(channels[0].trained), codes)
    unit = vectors[known] / np.maximum(np.linalg.norm(vectors[known], axis=1, keepdims=True), 1e-12)
    nearest = known[(vectors[codes] @ unit.T).argmax(axis=1)]
    values = items.values.copy()
    is_own = np.array([feature.name in own for feature in items.features])
    values[codes] = np.where(is_own, items.values[codes], items.values[nearest])
    return replace(stages, channels=channels, stored=replace(stages.stored, items=replace(items, values=values)))


def measured(holdout: Holdout, lists: Lists, codes: Ints, n_items: int) -> dict[str, Any]:
    """Recall and NDCG of the new items among the targets; their share of the first `K`; recall of all targets."""
    kept = np.zeros(n_items + 1, np.float32)
    kept[codes] = 1
    targets = sp.csr_matrix(holdout.relevance @ sp.diags(kept))
    targets.eliminate_zeros()
    values = {
        f"recall@{K}": metrics.recall(lists, targets, K),
        f"ndcg@{K}": metrics.ndcg(lists, targets, K),
        "share": np.isin(lists[lists[:, 0] > 0, :K], codes).mean(axis=1),
        f"recall@{K} of all": metrics.recall(lists, holdout.relevance, K),
    }
    return {name: comparison.mean(of_users) for name, of_users in values.items()}


def study(settings: Settings, items: int, path: Path, keep: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """The report; ``path``: of an interrupted run.

    Raises StepError where no item is liked often enough, or a channel has no tables to place it in.
    """
    inputs, recipe = read_with_holdout(settings), settings.recipe
    holdout = replay.hold_out(inputs.data, inputs.dataset.holdout)
    past = holdout.past
    codes = drawn(past, holdout.relevance, items)
    if not len(codes):
        raise StepError(f"no item of this data set was liked {LEAST} times before the holdout, and again in it.")
    opening = {**head("make evaluate-new-items", settings, recipe), "items": len(codes)}
    found = resumed(path, opening, {"systems": {}})

    def add(name: str, lists: Lists) -> None:
        found["systems"][name] = plain(measured(holdout, lists, codes, past.n_items))
        keep(found)

    def without(data: Sequences) -> Sequences:
        return data.select(~np.isin(data.items, codes))

    cold = replace(holdout, past=without(past), known=without(holdout.known))
    likes = np.bincount(cold.past.items[cold.past.liked], minlength=past.n_items + 1)
    if any(f"{n} likes" not in found["systems"] for n in NUMBERS):
        log.info("%d items are new: everything is fitted without them", len(codes))
        stages = fit_stages(cold.past, replace(inputs, data=cold.past), recipe)
        if not all(isinstance(channel, HistorySum) for channel in stages.channels):
            raise StepError(f"recipe {recipe.name!r} has channels that new items cannot be placed in.")
        weights = np.maximum((likes / past.n_users) ** WEIGHT, 1e-9)
        placement = Placement(attributes(inputs), weights, codes)
        own = {number_column(number.column) for number in inputs.dataset.numbers}
        for n in NUMBERS:
            before = liked_before(past, codes, n)
            channels = tuple(
                placement.channel(each, before) for each in stages.channels if isinstance(each, HistorySum)
            )
            placed = as_nearest(stages, channels, codes, own)
            add(f"{n} likes", in_both_orders(placed, recipe, replace(inputs, data=past), cold)[1])
            popular = np.where(np.isin(np.arange(len(likes)), codes), n, likes).astype(np.float32)
            scores = np.broadcast_to(popular, (past.n_users, len(popular)))
            add(f"popular, {n} likes", best_unseen(scores, cold.past.left_out(), recipe.recall.candidates))
    if LEARNED not in found["systems"]:
        log.info("everything is fitted with them, too")
        warm = fit_stages(past, replace(inputs, data=past), recipe)
        add(LEARNED, in_both_orders(warm, recipe, replace(inputs, data=past), holdout)[1])
    return found


def main(settings: Settings, *, items: int = ITEMS) -> None:
    whole = items >= ITEMS
    path = figure_of_study(head("", settings, settings.recipe), settings, "new_items", part=not whole)
    found = study(settings, items, path, partial(write_figure, path, finished=False))
    write_figure(path, found, finished=whole)
    log.info("written: %s", path)
    show(found, recommendations.new_items)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=ITEMS, help="how many are left out, at most")
    run(partial(main, items=parser.parse_args().items))
