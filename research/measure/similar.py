"""Evaluate `/ml/similar`: is what a user likes next among the items most like the one liked last?

A pair is the last item that a user liked before the held-out ratings, and the first new one liked in them. Lists hold
all items of the release but the given one, the user's own past too: they are those of an item's page.

Reads   the live release in the services; data_exchange_center/offline (the held-out ratings)
Writes  pic/figures/similar.json (another recipe's or data set's: with its name)
Run     make evaluate-similar, after make up sync
Expect  half a minute
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import asdict
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from data_exchange_center import steps
from data_exchange_center.settings import Settings
from extras.questions.similar import Alike
from offline.data.sequences import Sequences
from offline.evaluation import metrics, replay
from offline.evaluation.evaluate import head, write
from offline.evaluation.served import item_knn
from offline.readers import read_with_holdout
from online.recommend.recommend import Recommender

KS: Final = (5, 10, 20)
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
    inputs = read_with_holdout(settings)
    holdout = replay.hold_out(inputs.data, inputs.dataset.holdout)
    past, sizes = holdout.past, inputs.dataset.holdout.sizes(inputs.data.lengths, inputs.data.newest)
    given, liked = pairs(past, inputs.data.last(sizes))
    with closing(Recommender.from_settings(settings)) as recommender:
        alike = Alike.of(recommender.releases.live(wait_s=60))

    def of_release(list_: Callable[[int], Codes]) -> Lists:
        return lambda code: np.searchsorted(past.itemids, list_(int(past.itemids[code - 1]))) + 1

    likes = past.select(past.liked).seen()
    popular = np.asarray(likes.sum(axis=0)).ravel()
    systems: Mapping[str, Lists] = {
        "popular": ranked(np.broadcast_to(popular, (len(popular), len(popular)))),
        "item-kNN": ranked(item_knn(likes).T),
        **{
            f"{name} alone": of_release(lambda itemid, table=table: table.best([itemid]).ids)  # type: ignore[misc]
            for name, table in alike.tables.items()
        },
        "/ml/similar": of_release(lambda itemid: alike.fused(alike.lists([itemid])).ids),
    }
    found = head("make evaluate-similar", settings, settings.recipe) | {"pairs": len(given)}
    found["systems"] = {name: hit_rates(lists, given, liked) for name, lists in systems.items()}
    write(found, settings, "similar", ("extras/questions/similar.py", "research/measure/similar.py"))
    table = Table("", *(f"hit rate@{k}" for k in KS), title=f"{len(given):,} pairs of {found['dataset']}")
    for name, row in found["systems"].items():
        table.add_row(name, *(f"{each['mean']:.4f} ± {each['mean'] - each['low']:.4f}" for each in row.values()))
    Console().print(table)


if __name__ == "__main__":
    steps.run(main)
