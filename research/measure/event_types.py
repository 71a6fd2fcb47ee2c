"""Measure what types of events are worth in a shop whose truth is known: ``make evaluate-types``.

Each seed's shop is trained on three times: with the types of its dataset.toml, with all events alike, and with all
events alike and items recommended again. The target is what each person buys among the held-out events. Then the
request's objectives move from purchases to views, and in MovieLens from films that were liked to films that were rated
and not liked.

Reads:  the data set of the settings, MovieLens by default
Writes: pic/figures/event_types.json, pic/event_types.svg
Run:    python -m research.measure.event_types
Expect: NDCG@20 of purchases with types above that without; half an hour
"""

from __future__ import annotations

import argparse
import importlib
import logging
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import scipy.sparse as sp

from data_exchange_center import artifacts, provenance
from data_exchange_center.columns import Columns
from data_exchange_center.release_parts import read_dataset, read_own_ids
from data_exchange_center.settings import Settings
from extras import replay
from extras.own_data.declaration import DECLARATION
from extras.replay import Lists
from offline.data.sequences import Sequences
from offline.preprocess import s0_get_data
from offline.readers import read_with_holdout
from research import figures
from research.evaluation import baselines, metrics
from research.evaluation.one_table import of_type
from research.figures import plain
from research.measure.shop import Shop, make_shop

log = logging.getLogger(__name__)

VIEW, CART, BUY = 1, 2, 3  # codes, as `shop.TYPES` declares them
RATED, LIKED = 1, 2  # codes, as `MOVIELENS` declares them
POPULAR, ALIKE, AGAIN, TYPED, ALONE, NEED = (
    "popularity",
    "all events alike",
    "all events alike, items again",
    "with types",
    'with types, objectives {"buy": 1}',
    "order of true need",
)
BUY_ALONE: Final = (0.0, 0.0, 1.0)  # weights of the outputs
# of views, where purchases have the weight 1; of rated films, where liked ones have it
WEIGHTS: Final = (0.0, 0.1, 0.3, 1.0, 3.0, 10.0, 100.0)
# MovieLens as events of two types
MOVIELENS: Final = """\
name = "typed-movielens"

[interactions]
user = "user"
item = "item"
time = "at"
time_unit = "s"
type = "kind"

[items]
id = "item"
title = "title"
attributes = { genres = "multi-valued" }

[types]
rated = { weight = 0.1, target = true, has = true }
liked = { weight = 1.0, target = true, has = true }
"""
PICTURE: Final = figures.FIGURES.parent / "event_types.svg"


def trained(data: Path, folder: Path) -> Settings:
    """Run the offline steps on a data set."""
    settings = Settings(data=data, exchange_dir=folder)
    for step in provenance.STEPS:
        module = step.path.removesuffix(".py").replace("/", ".")
        importlib.import_module(module).main(settings)
    return settings


def typed_movielens(folder: Path) -> tuple[str, Path]:
    """Write the MovieLens of the settings as events of two types: rated, and liked, above three stars.

    Returns its name and the folder of the files.
    """
    settings = Settings(exchange_dir=folder / "untyped")
    s0_get_data.main(settings)
    ratings = artifacts.RAW_INTERACTIONS.read(settings.exchange_dir)
    films = artifacts.RAW_ITEMS.read(settings.exchange_dir)
    dataset = read_dataset(settings.exchange_dir)
    liked = ratings[Columns.RATING] > dataset.positive_level
    events = {
        "user": ratings[Columns.USER],
        "item": ratings[Columns.ITEM],
        "at": ratings[Columns.TIMESTAMP],
        "kind": np.where(liked, "liked", "rated"),
    }
    items = {
        "item": films[Columns.ITEM],
        "title": films[Columns.TITLE],
        "genres": films[Columns.GENRES].str.join("|"),
    }
    data = folder / "data"
    data.mkdir()
    pd.DataFrame(events).to_csv(data / "interactions.csv", index=False)
    pd.DataFrame(items).to_csv(data / "items.csv", index=False)
    (data / DECLARATION).write_text(MOVIELENS, encoding="utf-8")
    return dataset.name, data


class Typed:
    """The held-out events of a data set that was trained on with types, by type."""

    def __init__(self, settings: Settings) -> None:
        self._inputs = read_with_holdout(settings)
        self.holdout = replay.hold_out(self._inputs.data, self._inputs.dataset.holdout)

    def targets(self, code: int) -> sp.csr_matrix:
        """(users, items + 1) of a type, as `of_type`."""
        return of_type(self._inputs, self.holdout, code)


def needed(settings: Settings, shop: Shop, past: Sequences) -> Lists:
    """What people need most, by the truth, of what they have not bought; it knows nothing of their carts."""
    ids = read_own_ids(settings.artifacts_dir)

    def places(numbers: Any, own: Mapping[int, Any], prefix: str) -> list[int]:
        return [int(str(own[n]).removeprefix(prefix)) for n in numbers.tolist()]

    users = places(past.user_numbers, ids.users, "u")
    items = places(past.item_numbers, ids.items, "sku-")
    need = np.pad(shop.truth.need[np.ix_(users, items)], ((0, 0), (1, 0)))
    return baselines.best_unseen(need, past.left_out(), replay.SHOWN)


def judged(lists: Lists, targets: sp.csr_matrix) -> dict[str, float]:
    ndcg, recall = replay.ndcg(lists, targets, 20), metrics.recall(lists, targets, 50)
    return {"ndcg@20": float(np.nanmean(ndcg)), "recall@50": float(np.nanmean(recall))}


def traded(
    settings: Settings,
    found: Typed,
    wanted: int,
    other: int,
    objectives: Callable[[float], Sequence[float]],
) -> list[dict[str, float]]:
    """NDCG@20 of two types of targets, for each weight of the other one."""
    targets = {"wanted": found.targets(wanted), "other": found.targets(other)}
    points = []
    for weight in WEIGHTS:
        ranked = replay.answers(
            settings, found.holdout, objectives=objectives(weight)
        ).ranked
        ndcgs = {
            name: judged(ranked, each)["ndcg@20"] for name, each in targets.items()
        }
        points.append({"weight": weight, **ndcgs})
    return points


def of_movielens() -> tuple[str, list[dict[str, float]]]:
    """Name of the data set; films that were liked against films that were rated and not liked."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        name, data = typed_movielens(folder)
        typed = trained(data, folder / "typed")
        found = Typed(typed)
        return name, traded(typed, found, LIKED, RATED, lambda weight: (weight, 1.0))


def alike(data: Path, folder: Path) -> tuple[Settings, Lists]:
    """A shop with all events alike: its artifacts, and its lists at the cut."""
    settings = trained(data, folder)
    data_set = read_with_holdout(settings)
    holdout = replay.hold_out(data_set.data, data_set.dataset.holdout)
    return settings, replay.answers(settings, holdout).ranked


def measured(
    seed: int, size: Mapping[str, int]
) -> tuple[dict[str, dict[str, float]], list[dict[str, float]]]:
    """One shop: metrics of purchases by system, and the trade between purchases and views for the first seed."""
    shop = make_shop(seed, **size)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        typed = trained(shop.write(folder / TYPED), folder / "typed")
        found = Typed(typed)
        bought, holdout = found.targets(BUY), found.holdout
        _, left_out = alike(shop.write(folder / ALIKE, types=False), folder / "alike")
        _, again = alike(
            shop.write(folder / AGAIN, types=False, repeats=True), folder / "again"
        )
        had = replay.hits(again, holdout.past.left_out())
        lists = {
            POPULAR: baselines.popularity(holdout, replay.SHOWN),
            ALIKE: left_out,
            # what was bought is taken off its lists, which it does not know itself
            AGAIN: replay.kept(again, ~had, 0),
            TYPED: replay.answers(typed, holdout).ranked,
            ALONE: replay.answers(typed, holdout, objectives=BUY_ALONE).ranked,
            NEED: needed(typed, shop, holdout.past),
        }
        trade = []
        if seed == 0:
            trade = traded(typed, found, BUY, VIEW, lambda weight: (weight, 0.0, 1.0))
    return {name: judged(each, bought) for name, each in lists.items()}, trade


def evaluate(seeds: Sequence[int], size: Mapping[str, int]) -> dict[str, Any]:
    """Means over the seeds and the spread between them, for JSON."""
    tables, trades = [], []
    for seed in seeds:
        table, trade = measured(seed, size)
        log.info("seed %d: %s", seed, table)
        tables.append(table)
        trades += trade
    means = {
        name: {
            metric: float(np.mean([each[name][metric] for each in tables]))
            for metric in tables[0][name]
        }
        for name in tables[0]
    }
    movielens, of_films = of_movielens()
    compared = (ALIKE, AGAIN, TYPED, ALONE)
    ndcgs = {name: [each[name]["ndcg@20"] for each in tables] for name in compared}
    ratios = {
        name: (np.array(ndcgs[TYPED]) / np.array(ndcgs[name])).tolist()
        for name in (ALIKE, AGAIN)
    }
    return plain(
        {
            "command": "make evaluate-types",
            "dataset": movielens,
            "seeds": list(seeds),
            "shop": dict(size),
            "table": means,
            "ndcg@20 by seed": ndcgs,
            "ratio by seed": ratios,
            "trade": {"shop": trades, "MovieLens": of_films},
        }
    )


def draw(found: Mapping[str, Any], path: Path) -> None:
    """Draw the trade between two types of targets as the request's weights move."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.5), layout="constrained")
    left, right = figure.subplots(ncols=2)
    for axes, name, wanted, other in (
        (left, "shop", "purchases", "views"),
        (right, "MovieLens", "liked films", "rated, not liked"),
    ):
        points = found["trade"][name]
        x = [each["other"] for each in points]
        y = [each["wanted"] for each in points]
        axes.plot(x, y, marker="o")
        for each, at_x, at_y in zip(points, x, y, strict=True):
            axes.annotate(
                f"{each['weight']:g}",
                (at_x, at_y),
                xytext=(4, 4),
                textcoords="offset points",
            )
        axes.set(xlabel=f"NDCG@20 of {other}", ylabel=f"NDCG@20 of {wanted}")
        axes.set_title(f"{name}: weight of {other}, {wanted} 1", fontsize=10)
    figure.savefig(path, metadata={"Date": None})


def main(_: Settings) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    for name, default in (("users", 1000), ("items", 300), ("visits", 9)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--output", type=Path, default=figures.FIGURES)
    given = parser.parse_args()
    size = {"users": given.users, "items": given.items, "visits": given.visits}
    found = evaluate(given.seeds, size)
    figures.write(given.output / "event_types.json", found)
    draw(
        found,
        PICTURE if given.output == figures.FIGURES else given.output / PICTURE.name,
    )
    figures.show(found["table"])


if __name__ == "__main__":
    main(Settings())
