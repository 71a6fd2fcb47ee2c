"""Evaluate `/ml/similar`: is what a user likes next among the items most like the one liked last?

The held-out ratings are split in two by time. A pair of a half is the last item that a user liked before it and the
first new one liked in it. The weight of the item-item weights' list is chosen on pairs of the first half, the table is
of pairs of the second. Models know neither half. Lists hold all items but the given one, also the user's own past: they
are those of an item's page.

Reads   data_exchange_center/offline
Writes  pic/figures/similar.json (another recipe's or data set's: with its name)
Run     make evaluate-similar, after make offline
Expect  a minute; it fails where another weight would be chosen than the one that is served
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from data_exchange_center import artifacts, steps
from data_exchange_center.channels import ChannelSet
from data_exchange_center.fusion import fuse
from data_exchange_center.release_parts import read_items
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from extras import comparison
from extras.questions import similar
from offline import movielens
from offline.data.sequences import Sequences
from offline.data.split import holdout_sizes
from offline.evaluation import replay
from offline.readers import read_with_holdout
from research.evaluation.baselines import item_knn
from research.figures import recommendations
from research.reports import figure, head, publish

KS: Final = (5, 10, 20)
CHOSEN_BY: Final = "hit rate@10"
WEIGHTS: Final = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)  # of item-item weights' list, against 1 of item vectors'
SERVED: Final = "1"
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
    return {f"hit rate@{k}": comparison.mean((place < k).astype(np.float64)) for k in KS}


def by_scores(scores_of: Callable[[int], NDArray[np.floating]]) -> Lists:
    """Lists by (items + 1,) scores for an item."""

    def best(code: int) -> Codes:
        order = np.argsort(-scores_of(code), kind="stable")
        others: Codes = order[(order != code) & (order > 0)]
        return others

    return best


def fused(tables: Sequence[similar.Table], itemids: Codes, weight: float) -> Lists:
    """Lists as the server fuses them, with a ``weight`` for lists by item-item weights. ``itemids``: by code - 1."""
    weights = [weight if table.kind == "together" else 1.0 for table in tables]

    def best(code: int) -> Codes:
        ids = fuse([table.best([int(itemids[code - 1])]) for table in tables], weights, max(KS)).ids
        return np.searchsorted(itemids, ids) + 1

    return best


def main(settings: Settings) -> None:
    folder, recall = settings.exchange_dir, settings.recipe.recall
    inputs = read_with_holdout(settings)
    past = replay.hold_out(inputs.data, inputs.dataset.holdout).past
    sizes = holdout_sizes(inputs.dataset.holdout, inputs.data.lengths, inputs.data.newest)
    later = sizes // 2  # the second half of the held-out part
    indexed = {name: rows.astype(np.float32) for name, rows in read_items(folder).vectors.items()}
    tables = similar.tables(ChannelSet.unpack(artifacts.CHANNELS.read(folder)), recall, past.item_numbers, indexed)
    found = head("make evaluate-similar", settings, settings.recipe)
    # The weight, on the earlier pairs
    given, liked = pairs(past, inputs.data.last(sizes).before_last(later))
    weights = {f"{w:g}": hit_rates(fused([*tables.values()], past.item_numbers, w), given, liked) for w in WEIGHTS}
    chosen = max(weights, key=lambda weight: float(weights[weight][CHOSEN_BY]["mean"]))
    found |= {"chosen on": len(given), "weights": weights, "chosen": chosen}
    # The table, of the later ones
    given, liked = pairs(inputs.data.before_last(later), inputs.data.last(later))
    likes = past.select(past.liked).seen()
    popular, together = np.asarray(likes.sum(axis=0), np.float64).ravel(), item_knn(likes)
    systems = {
        "popular": by_scores(lambda _: popular),
        "item-kNN": by_scores(lambda code: together[:, code]),
        **{f"{name} alone": fused([each], past.item_numbers, 1.0) for name, each in tables.items()},
        "/ml/similar": fused([*tables.values()], past.item_numbers, float(SERVED)),
    }
    found |= {"pairs": len(given), "systems": {name: hit_rates(lists, given, liked) for name, lists in systems.items()}}
    publish(figure(found, settings, "similar"), found, recommendations.similar)
    decides = settings.recipe.name == "default" and found["dataset"] == movielens.ML_1M
    if decides and chosen != SERVED:
        raise StepError(f"The weight {chosen} would be chosen, and {SERVED} is served.")


if __name__ == "__main__":
    steps.run(main, about=__doc__)
