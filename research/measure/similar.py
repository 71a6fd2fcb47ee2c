"""Evaluate `/ml/similar`: is what a user likes next among the items most like the one liked last?

The held-out ratings are cut in two, in time. A pair of the first half is the last item that a user liked before it and
the first new one liked in it: the weights of the lists are chosen on these. A pair of the second half is the last item
liked before that, and the first new one liked in it: the table is of these. Models know neither half. Lists hold all
items but the given one, the user's own past too: they are those of an item's page.

Reads   data_exchange_center/offline
Writes  pic/figures/similar.json (another recipe's or data set's: with its name)
Run     make evaluate-similar, after make offline
Expect  a minute; it fails where other weights would be chosen than those that are served
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from data_exchange_center import artifacts, steps
from data_exchange_center.channels import ChannelSet
from data_exchange_center.fusion import Hits, fuse
from data_exchange_center.settings import Settings
from extras.questions import similar
from offline import published
from offline.data.sequences import Sequences
from offline.data.split import holdout_sizes
from offline.evaluation import metrics, replay
from offline.evaluation.evaluate import head, write
from offline.evaluation.served import ExactIndex, item_knn
from offline.readers import read_with_holdout

SIMILAR: Final = "/ml/similar"
KS: Final = (5, 10, 20)
CHOSEN_BY: Final = "hit rate@10"
TOGETHER: Final = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)  # weights of item-item weights, against 1 of item vectors
Codes = NDArray[np.int64]
Lists = Callable[[int], Codes]  # code of an item -> codes of those that are most like it, best first


def pairs(past: Sequences, future: Sequences) -> tuple[Codes, Codes]:
    """(n,) codes of the item that each user liked last, and of the new one that was liked next."""
    seen = past.seen().tocsr()
    found = []
    for user in range(past.n_users):
        before, after = (
            data.items[data.starts[user] : data.starts[user + 1]][data.liked[data.starts[user] : data.starts[user + 1]]]
            for data in (past, future)
        )
        new = after[~np.isin(after, seen[user].indices)]
        if len(before) and len(new):
            found.append((before[-1], new[0]))
    given, liked = np.array(found, np.int64).reshape(-1, 2).T
    return given, liked


def hit_rates(lists: Lists, given: Codes, liked: Codes) -> dict[str, Any]:
    """The share of pairs whose second item is among the first k, with its interval."""
    places = [np.flatnonzero(lists(int(code))[: max(KS)] == wanted) for code, wanted in zip(given, liked, strict=True)]
    place = np.array([at[0] if len(at) else max(KS) for at in places])
    return {f"hit rate@{k}": asdict(metrics.mean((place < k).astype(np.float64))) for k in KS}


def ranked(scores: NDArray[np.floating]) -> Lists:
    """Lists of a matrix of (items + 1) x (items + 1)."""

    def of(code: int) -> Codes:
        order = np.argsort(-scores[code], kind="stable")
        best: Codes = order[(order != code) & (order > 0)]
        return best

    return of


def main(settings: Settings) -> None:
    folder, recall = settings.exchange_dir, settings.recipe.recall
    inputs = read_with_holdout(settings)
    past = replay.hold_out(inputs.data, inputs.dataset.holdout).past
    sizes = holdout_sizes(inputs.dataset.holdout, inputs.data.lengths, inputs.data.newest)
    later = sizes // 2  # the second half of the held-out part
    until_later, held_out = inputs.data.before_last(later), inputs.data.last(sizes)
    earlier = held_out.before_last(later)
    index = ExactIndex.read(folder, recall, past.itemids)
    indexed = {name: rows[1:].astype(np.float32) for name, rows in index.vectors.items()}
    tables = similar.tables(ChannelSet.unpack(artifacts.CHANNELS.read(folder)), recall, past.itemids, indexed)

    def of_tables(found: Callable[[int], Hits | Any]) -> Lists:
        return lambda code: np.searchsorted(past.itemids, found(int(past.itemids[code - 1])).ids) + 1

    def alone(table: similar.Table) -> Lists:
        return of_tables(lambda itemid: table.best([itemid]))

    def fused(weights: Mapping[str, float]) -> Lists:
        of = [weights[table.kind] for table in tables.values()]
        return of_tables(lambda itemid: fuse([table.best([itemid]) for table in tables.values()], of, max(KS)))

    # The weights, on the earlier pairs
    given, liked = pairs(past, earlier)
    chosen_on = {f"{weight:g}": hit_rates(fused({"together": weight, "near": 1}), given, liked) for weight in TOGETHER}
    chosen = max(chosen_on, key=lambda weight: float(chosen_on[weight][CHOSEN_BY]["mean"]))
    found = head("make evaluate-similar", settings, settings.recipe)
    found |= {"chosen on": len(given), "weights": chosen_on, "chosen": chosen}
    # The table, of the later ones
    given, liked = pairs(until_later, inputs.data.last(later))
    likes = past.select(past.liked).seen()
    popular = np.asarray(likes.sum(axis=0)).ravel()
    systems: Mapping[str, Lists] = {
        "popular": ranked(np.broadcast_to(popular, (len(popular), len(popular)))),
        "item-kNN": ranked(item_knn(likes).T),
        **{f"{name} alone": alone(table) for name, table in tables.items()},
        SIMILAR: fused(similar.WEIGHTS),
    }
    found |= {"pairs": len(given), "systems": {name: hit_rates(lists, given, liked) for name, lists in systems.items()}}
    write(found, settings, "similar", ("extras/questions/similar.py", "research/measure/similar.py"))
    table = Table("", *(f"hit rate@{k}" for k in KS), title=f"{len(given):,} pairs of {found['dataset']}")
    for name, row in found["systems"].items():
        table.add_row(name, *(f"{each['mean']:.4f} ± {each['mean'] - each['low']:.4f}" for each in row.values()))
    Console().print(table)
    rates = ", ".join(f"{row[CHOSEN_BY]['mean']:.4f} with {weight}" for weight, row in chosen_on.items())
    Console().print(f"{CHOSEN_BY} on {found['chosen on']:,} earlier pairs: {rates}")
    served = f"{similar.WEIGHTS['together'] / similar.WEIGHTS['near']:g}"
    decides = settings.recipe.name == "default" and found["dataset"] == published.ML_1M
    assert not decides or chosen == served, f"{chosen} would be chosen, and {served} is served"  # noqa: S101


if __name__ == "__main__":
    steps.run(main)
