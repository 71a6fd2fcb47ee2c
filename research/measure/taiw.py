"""Evaluate the next basket in the protocol of TAIW (Romanov et al. 2023): ``make evaluate-taiw``.

RECSYS_DATA=ta-feng-taiw is Ta Feng as its authors filter it (`extras.baskets.taiw`). The target is the last basket of
users with three, of all items. Their recall and NDCG count an item that is twice in a basket twice, and their ideal
list is as long as the basket, not ten. Their models are fitted on all but the last two baskets; TIFU-KNN, by the values
that they chose for it, stands here fitted so too, as a check that protocol and metrics are theirs, and on all but the
last, as ours.

Reads:  the artifacts of `make offline RECSYS_DATA=ta-feng-taiw`; with --server the server that serves them
Writes: pic/figures/taiw.json
Run:    python -m research.measure.taiw [--server]
Expect: 7,358 users and 11,202 items after the filter, 7,357 targets; a few minutes
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

import numpy as np

from data_exchange_center import artifacts
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError, run
from extras.baskets.taiw import NAME
from offline.data.sequences import Ints, Sequences
from offline.evaluation import replay
from offline.evaluation.metrics import Lists, plain
from offline.evaluation.replay import Holdout
from offline.readers import read_with_holdout
from research.evaluation.running_server import answers_of_server
from research.figure_files import FIGURES
from research.figures import recommendations
from research.measure.next_basket import baskets, best, exact, tifu
from research.reports import head, publish

DAY_S: Final = 86_400
TOP: Final = 10
LEAST: Final = 3  # baskets of a user that is evaluated, the target among them
THEIR_TIFU: Final = partial(tifu, neighbours=425, groups=10, within=1.0, between=1.0, own=0.4)  # as they chose
PUBLISHED: Final[Mapping[str, tuple[float, float]]] = {  # recall@10, NDCG@10
    "TIFU-KNN": (0.136, 0.118),
    "UP-CF": (0.136, 0.115),
    "TAIW": (0.157, 0.127),
    "TAIWI": (0.164, 0.126),
}


# --- Metrics, as theirs


def theirs(lists: Lists, wanted: list[list[int]]) -> tuple[float, float]:
    """Recall@10 and NDCG@10 of (m, `TOP` or more) lists. ``wanted``: each target basket, an item as often as bought."""
    discount = 1 / np.log2(np.arange(max(TOP, *map(len, wanted))) + 2)
    recall, ndcg = [], []
    for codes, basket in zip(lists[:, :TOP], wanted, strict=True):
        hits = np.isin(codes, basket) & (codes > 0)
        recall.append(hits.sum() / len(basket))
        ndcg.append(discount[:TOP][: len(hits)][hits].sum() / discount[: len(basket)].sum())
    return float(np.mean(recall)), float(np.mean(ndcg))


def target_baskets(data: Sequences, users: Ints) -> list[list[int]]:
    """The last basket of each of ``users``: codes, an item as often as it was bought."""
    newest = data.newest
    return [data.items[data.starts[user + 1] - newest[user] : data.starts[user + 1]].tolist() for user in users]


# --- What is measured


def before_two(past: Sequences) -> Sequences:
    """All but the last basket of the past, whose users have two."""
    return past.before_last(np.where(baskets(past)[1] > 1, past.newest, 0))


def day_after(past: Sequences, times: Ints) -> Ints:
    """(users,) requests on the day after the newest basket; ``times`` for users without one."""
    found, there = times.copy(), past.lengths > 0
    found[there] = past.times[past.starts[1:][there] - 1] + DAY_S
    return found


def evaluate(settings: Settings, *, server: bool) -> dict[str, Any]:
    """The report. Raises StepError where the artifacts are of another data set."""
    if artifacts.DATASET.read(settings.exchange_dir)["name"] != NAME:
        raise StepError(
            f"the artifacts are of another data set: RECSYS_DATA={NAME} make offline makes those of this one."
        )
    inputs = read_with_holdout(settings)
    data, holdout = inputs.data, replay.hold_out(inputs.data, inputs.dataset.holdout)
    users = (baskets(data)[1] >= LEAST) & (holdout.past.lengths > 0)
    rows = np.flatnonzero(users)
    wanted = target_baskets(data, rows)
    later = holdout.at(day_after(holdout.past, holdout.times))

    def ours(requested: Holdout) -> Lists:
        if server:
            return answers_of_server(settings)(requested).ranked
        return exact(settings, inputs, requested, users)[1]

    lists = {
        "TIFU-KNN, fitted on all but the last two": best(holdout, rows, THEIR_TIFU(before_two(holdout.past), rows)),
        "TIFU-KNN, fitted on all but the last": best(holdout, rows, THEIR_TIFU(holdout.past, rows)),
        "the recipe, on the basket's day": ours(holdout),
        "the recipe, on the day after the basket before": ours(later),
    }
    measured = {name: theirs(each[rows], wanted) for name, each in lists.items()}
    sizes = Counter(map(len, wanted))
    return plain(
        {
            **head(f"make evaluate-taiw{' server=1' if server else ''}", settings, settings.recipe),
            "users": len(rows),
            "counts": {"users": data.n_users, "items": data.n_items, "rows": len(data.items)},
            "targets longer than ten": sum(n for size, n in sizes.items() if size > TOP),
            "table": measured,
            "published": PUBLISHED,
        }
    )


def main(settings: Settings, *, server: bool = False) -> None:
    found = evaluate(settings, server=server)
    publish(FIGURES / "taiw.json", found, recommendations.taiw)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", action="store_true", help="evaluate the running server")
    run(partial(main, server=parser.parse_args().server))
