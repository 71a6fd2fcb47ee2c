"""Evaluate new items by how many have liked them so far: placed by attributes, by who liked them, and learned.

Some items are held out of a training with all their events, and then placed as `extras.items` does it: by their
attributes, and by their first likes. Targets are those of them that users liked among their held-out last ratings, and
requests come before these. The ridge's strength, the weight of popular items and k are chosen on one half of the items;
the figures are those of the other half. The learned ones are of a model that was trained with them.

Reads   data_exchange_center/offline (`make offline`, or its first two steps)
Writes  pic/figures/new_items.json (another recipe's or data set's: with its name)
Run     make evaluate-new-items
Expect  two fits and a minute
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from data_exchange_center import steps
from data_exchange_center.channels import HistorySum
from data_exchange_center.fusion import NOT_FOUND, RRF_K
from data_exchange_center.recipes import Recipe
from data_exchange_center.settings import Settings
from extras.items.projection import BEFORE, LIKES, Ridge, moved
from extras.items.projection import inputs as attribute_inputs
from offline.data.requests import requests_at
from offline.data.sequences import Inputs, Ints, Sequences
from offline.data.statistics import number_column
from offline.evaluation import metrics, replay
from offline.evaluation.evaluate import head, write
from offline.evaluation.metrics import Floats
from offline.evaluation.protocols import EvalRequests, Stages, fit_stages, in_both_orders
from offline.evaluation.replay import Holdout
from offline.evaluation.served import best_unseen
from offline.readers import read_with_holdout

log = logging.getLogger(__name__)

ITEMS: Final = 400  # half to choose on, half to report
LEAST: Final = 10  # likes of each before the held-out part
NUMBERS: Final = (0, 1, 2, 5, 10)  # of likes
STRENGTHS: Final = (0.3, 1.0, 3.0, 10.0, 100.0)
WEIGHTS: Final = (0.0, 0.25, 0.5, 0.75, 1.0)
KS: Final = (0.3, 1.0, 3.0, 10.0, 30.0)
SEED: Final = 0
K: Final = 50
CHUNK: Final = 512
Float32 = NDArray[np.float32]


def drawn(past: Sequences, relevance: sp.csr_matrix) -> tuple[Ints, Ints]:
    """Codes of items that enough users liked before, and some after: two halves, at random."""
    likes = np.bincount(past.items[past.liked], minlength=past.n_items + 1)
    fit = np.flatnonzero((likes >= LEAST) & (np.asarray(relevance.sum(axis=0)).ravel() > 0))
    taken = np.random.default_rng(SEED).permutation(fit)[: min(ITEMS, len(fit) // 2)]
    return np.sort(taken[::2]), np.sort(taken[1::2])


def without(data: Sequences, codes: Ints) -> Sequences:
    """Without the events of some items."""
    return data.select(~np.isin(data.items, codes))


def liked_before(past: Sequences, cold: Sequences, rows: Float32, codes: Ints) -> Float32:
    """(codes, `LIKES`, d) means of what the first who liked each item had liked before; NaN where there is none.

    ``cold``: the events that are known of them; ``rows``: (items + 1, d).
    """
    events = np.flatnonzero(past.liked & np.isin(past.items, codes))
    events = events[np.argsort(past.times[events], kind="stable")]
    users, found = past.users[events], np.full((len(codes), LIKES, rows.shape[1]), np.nan, np.float32)
    likes = np.zeros(len(codes), np.int64)  # of each item so far
    for event, user in zip(events.tolist(), users.tolist(), strict=True):
        place = int(np.searchsorted(codes, past.items[event]))
        begin, end = cold.starts[user], cold.starts[user + 1]
        end = begin + np.searchsorted(cold.times[begin:end], past.times[event])
        before = cold.items[begin:end][cold.liked[begin:end]][-BEFORE:]
        if len(before) and likes[place] < LIKES:
            found[place, likes[place]] = rows[before].mean(axis=0)
            likes[place] += 1
    return found


@dataclass(frozen=True, eq=False)
class Placed:
    """How one channel places items that it was not trained on."""

    channel: HistorySum
    by_attributes: Float32  # (codes, d + 1) vectors and biases
    liked: Float32  # (codes, `LIKES`, d + 1)
    centre: Floats  # (d + 1,)
    rows: Float32  # (fields, codes, d)

    def with_likes(self, codes: Ints, n: int, k: float) -> HistorySum:
        """The channel with the items, of which so many likes are known."""
        first = self.liked[:, :n]
        likes = (~np.isnan(first[:, :, 0])).sum(axis=1)
        mean = np.nan_to_num(first).sum(axis=1) / np.maximum(likes, 1)[:, None]
        placed = moved(self.by_attributes, mean.astype(np.float64), likes, self.centre, k)
        items, bias, rows = self.channel.items.copy(), self.channel.bias.copy(), self.channel.rows.copy()
        trained = self.channel.trained.copy()
        items[codes], bias[codes], rows[:, codes], trained[codes] = placed[:, :-1], placed[:, -1], self.rows, True
        return replace(self.channel, items=items, bias=bias, rows=rows, trained=trained)


def place(
    channel: HistorySum, given: Floats, codes: Ints, strength: float, power: float, past: Sequences, cold: Sequences
) -> Placed:
    """``given``: (items + 1, columns) of all; ``power``: of an item's likes, by which it is weighted."""
    trained = np.flatnonzero(channel.trained)
    likes = np.bincount(cold.items[cold.liked], minlength=cold.n_items + 1)
    weights = np.maximum(likes[trained].astype(np.float64) ** power, 1e-9)
    wanted = np.column_stack([channel.items, channel.bias])
    ridge = Ridge.fit(given[trained], wanted[trained], weights, strength)
    of_rows = [Ridge.fit(given[trained], rows[trained], weights, strength) for rows in channel.rows]
    return Placed(
        channel,
        ridge(given[codes]),
        liked_before(past, cold, wanted, codes),
        ridge.intercept,
        np.stack([of_field(given[codes]) for of_field in of_rows]),
    )


def places(channels: Sequence[HistorySum], weights: Sequence[float], requests: EvalRequests, codes: Ints) -> Float32:
    """(points, codes) share of the other unseen items that stand behind each, by the fused order of all of them."""
    data, points = requests.data, requests.points
    found = np.zeros((len(points), len(codes)), np.float32)
    seen = data.left_out()[points.users]
    others = np.setdiff1d(np.flatnonzero(channels[0].trained), codes)
    for start in range(0, len(points), CHUNK):
        part = slice(start, start + CHUNK)
        some, known = points.take(np.arange(len(points))[part]), seen[part].nonzero()
        total = np.zeros((len(some), data.n_items + 1), np.float32)
        for channel, weight in zip(channels, weights, strict=True):
            scores = channel.scores(requests_at(data, some, requests.inputs.profiles, channel.events, {}))
            scores[known] = NOT_FOUND
            order = np.argsort(-scores, axis=1, kind="stable")
            ranks = np.empty_like(order)
            np.put_along_axis(ranks, order, np.arange(order.shape[1])[None], axis=1)
            total += np.where(scores == NOT_FOUND, 0, weight / (RRF_K + 1 + ranks)).astype(np.float32)
        total[known] = -1
        for row, of_user in zip(found[part], total, strict=True):
            unseen = np.sort(of_user[others][of_user[others] >= 0])
            row[:] = np.searchsorted(unseen, of_user[codes]) / max(len(unseen), 1)
    return found


@dataclass(frozen=True, eq=False)
class Study:
    """Items that are new, and what a system does with them."""

    recipe: Recipe
    holdout: Holdout  # of everything
    inputs: Inputs
    cold: Holdout  # without the events of what is held out

    def targets(self, codes: Ints) -> sp.csr_matrix:
        """(users, items + 1) 1 where a user liked one of the items in the held-out part."""
        kept = np.zeros(self.inputs.data.n_items + 1, np.float32)
        kept[codes] = 1
        found = sp.csr_matrix(self.holdout.relevance @ sp.diags(kept))
        found.eliminate_zeros()
        return found

    def placed(self, channels: Sequence[HistorySum], codes: Ints, *, warm: bool = False) -> dict[str, Floats]:
        """Percentile of each target, and of each item the chance that it stands higher for who liked it than for
        another user."""
        requests = EvalRequests(self.holdout if warm else self.cold, self.inputs)
        weights = [channel.fusion_weight for channel in self.recipe.recall.channels]
        found, users = places(channels, weights, requests, codes), requests.points.users
        liked = self.targets(codes)[users][:, codes].toarray() > 0
        known = self.holdout.past.seen()[users][:, codes].toarray() > 0  # who had it before
        labels = np.where(liked, 1.0, np.where(known, np.nan, 0.0))
        areas = metrics.user_auc(found.T.astype(np.float64), labels.T)
        return {"percentile": found[liked].astype(np.float64), "AUC": areas}

    def popular(self, likes: Ints, codes: Ints) -> dict[str, Floats]:
        """As `placed` and `listed`, by the most liked items, (items + 1,) likes."""
        seen, targets = self.cold.past.left_out(), self.targets(codes)
        lists = best_unseen(np.broadcast_to(likes.astype(np.float32), seen.shape), seen, likes.size - 1)
        users, items = targets.nonzero()
        place = np.array([np.flatnonzero(lists[user] == item)[0] for user, item in zip(users, items, strict=True)])
        return {
            "percentile": 1 - place / np.maximum((lists[users] > 0).sum(axis=1) - 1, 1),
            "served recall@50": metrics.recall(lists, targets, K),
            "served NDCG@50": metrics.ndcg(lists, targets, K),
            "served share": np.isin(lists[lists[:, 0] > 0, :K], codes).mean(axis=1),
        }

    def listed(self, stages: Stages, codes: Ints, *, warm: bool = False) -> dict[str, Floats]:
        """Each user's recall and NDCG of the targets, in recall's order and as served, and what becomes of all else.

        The share of the first 50 that new items take, and recall of all that was liked, which pays for it.
        """
        holdout, found = (self.holdout if warm else self.cold), {}
        recalled, served = in_both_orders(stages, self.recipe, self.inputs, holdout)
        targets = self.targets(codes)
        for name, lists in (("recall", recalled), ("served", served)):
            found[f"{name} recall@50"] = metrics.recall(lists, targets, K)
            found[f"{name} NDCG@50"] = metrics.ndcg(lists, targets, K)
            found[f"{name} share"] = np.isin(lists[lists[:, 0] > 0, :K], codes).mean(axis=1)
            found[f"{name} recall@50 of all"] = metrics.recall(lists, self.holdout.relevance, K)
        return found


def hidden(channel: HistorySum, codes: Ints) -> HistorySum:
    """A channel that does not find some items."""
    trained = channel.trained.copy()
    trained[codes] = False
    return replace(channel, trained=trained)


def as_nearest(stages: Stages, channels: Sequence[HistorySum], codes: Ints, numbers: Collection[str]) -> Stages:
    """With channels that have placed some items, which the ranker sees as the known ones that are nearest to them.

    ``numbers``: columns that are an item's own.
    """
    items, first = stages.stored.items, channels[0]
    own = stages.channels[0]
    assert isinstance(own, HistorySum)  # noqa: S101
    known = np.flatnonzero(own.trained)
    unit = first.items[known] / np.maximum(np.linalg.norm(first.items[known], axis=1, keepdims=True), 1e-12)
    nearest = known[(first.items[codes] @ unit.T).argmax(axis=1)]
    values = items.values.copy()
    of_data = np.array([each.name in numbers for each in items.features])
    values[codes] = np.where(of_data, items.values[codes], items.values[nearest])
    stored = replace(stages.stored, items=replace(items, values=values))
    return replace(stages, channels=tuple(channels), stored=stored)


def means(found: Sequence[Mapping[str, Floats]]) -> dict[str, float]:
    """Means over users or items, and over several of them."""
    return {name: float(np.mean([np.nanmean(each[name]) for each in found])) for name in found[0]}


def best(tried: Mapping[str, Mapping[str, float]], metric: str) -> str:
    return max(tried, key=lambda each: tried[each][metric])


def measured(settings: Settings) -> dict[str, Any]:
    inputs, recipe = read_with_holdout(settings), settings.recipe
    holdout = replay.hold_out(inputs.data, inputs.dataset.holdout)
    past = holdout.past
    chosen, reported = drawn(past, holdout.relevance)
    every = np.union1d(chosen, reported)
    cold = replace(holdout, past=without(past, every), known=without(holdout.known, every))
    study = Study(recipe, holdout, replace(inputs, data=past), cold)
    log.info("%d items are new: everything is fitted without them", len(every))
    stages = fit_stages(cold.past, replace(inputs, data=cold.past), recipe)
    own = [channel for channel in stages.channels if isinstance(channel, HistorySum)]
    numbers = inputs.numbers
    terms = [(np.flatnonzero(row) + 1).tolist() for row in inputs.genres]
    given = attribute_inputs(terms, numbers, inputs.genres.shape[1], inputs.dataset.numbers)

    def by(strength: float, power: float, codes: Ints) -> list[Placed]:
        return [place(each, given, codes, strength, power, past, cold.past) for each in own]

    def with_likes(placed: Sequence[Placed], codes: Ints, n: int, k: float) -> list[HistorySum]:
        return [each.with_likes(codes, n, k) for each in placed]

    def listed(channels: Sequence[HistorySum], codes: Ints) -> dict[str, Floats]:
        own_columns = {number_column(number.column) for number in inputs.dataset.numbers}
        return study.listed(as_nearest(stages, channels, codes, own_columns), codes)

    # Chosen on one half: the strength by who likes an item, the power by all that is liked, k by who likes it again
    tried: dict[str, dict[str, dict[str, float]]] = {"strength": {}, "power": {}, "k": {}}
    for strength in STRENGTHS:
        placed = with_likes(by(strength, 1, chosen), chosen, 0, 1)
        tried["strength"][f"{strength:g}"] = means([study.placed(placed, chosen)])
        log.info("strength %s: %s", strength, tried["strength"][f"{strength:g}"])
    strength = float(best(tried["strength"], "AUC"))
    for power in WEIGHTS:
        placed = with_likes(by(strength, power, chosen), chosen, 0, 1)
        tried["power"][f"{power:g}"] = means([study.placed(placed, chosen) | listed(placed, chosen)])
        log.info("power %s: %s", power, tried["power"][f"{power:g}"])
    power = float(best(tried["power"], "served recall@50 of all"))
    halves = by(strength, power, chosen)
    for k in KS:
        several = [study.placed(with_likes(halves, chosen, n, k), chosen) for n in NUMBERS[1:]]
        tried["k"][f"{k:g}"] = means(several)
        log.info("k %s: %s", k, tried["k"][f"{k:g}"])
    k = float(best(tried["k"], "AUC"))

    # The other half
    systems: dict[str, dict[str, Floats]] = {}
    likes = np.bincount(cold.past.items[cold.past.liked], minlength=past.n_items + 1)
    for n in NUMBERS:
        systems[f"popular, {n} likes"] = study.popular(
            np.where(np.isin(np.arange(len(likes)), reported), n, likes), reported
        )
    halves = by(strength, power, reported)
    for n in NUMBERS:
        placed = with_likes(halves, reported, n, k)
        systems[f"{n} likes"] = study.placed(placed, reported) | listed(placed, reported)
        log.info("%d likes: %s", n, means([systems[f"{n} likes"]]))
    log.info("everything is fitted with them, too")
    warm = fit_stages(past, replace(inputs, data=past), recipe)
    known = [hidden(each, chosen) for each in warm.channels if isinstance(each, HistorySum)]
    systems["popular, all likes"] = study.popular(
        np.bincount(past.items[past.liked], minlength=past.n_items + 1), reported
    )
    systems["learned"] = study.placed(known, reported, warm=True) | study.listed(
        replace(warm, channels=tuple(known)), reported, warm=True
    )
    return {
        "items": {"chosen on": len(chosen), "reported": len(reported)},
        "targets": int(study.targets(reported).nnz),
        "strength": strength, "power": power, "k": k, "tried": tried,
        "systems": {
            name: {metric: asdict(metrics.mean(values)) for metric, values in each.items()}
            for name, each in systems.items()
        },
    }  # fmt: skip


def main(settings: Settings) -> None:
    found = head("make evaluate-new-items", settings, settings.recipe) | measured(settings)
    write(found, settings, "new_items", ("extras/items/projection.py", "research/measure/new_items.py"))
    metrics_ = list(found["systems"]["learned"])
    table = Table("", *metrics_, title=f"{found['items']['reported']} new items of {found['dataset']}")
    for name, row in found["systems"].items():
        table.add_row(name, *(f"{row[metric]['mean']:.4f}" if metric in row else "" for metric in metrics_))
    Console().print(table)


if __name__ == "__main__":
    steps.run(main)
