"""Measure what types of events are worth in a shop whose truth is known: ``make evaluate-types``.

Each seed's shop is trained on twice: with the types of its dataset.toml, and with all events alike. The target is what
each person buys among the held-out events. Then the request's objectives move from purchases to views.

Reads:  nothing
Writes: pic/figures/event_types.json, pic/event_types.svg
Run:    python -m research.measure.event_types
Expect: NDCG@20 of purchases with types above that without; a quarter of an hour
"""

from __future__ import annotations

import argparse
import importlib
import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import scipy.sparse as sp

from data_exchange_center import provenance
from data_exchange_center.release_parts import read_own_ids
from data_exchange_center.settings import Settings
from extras import replay
from extras.comparison import plain
from extras.replay import Lists
from offline.data.sequences import Sequences
from offline.data.split import holdout_sizes
from offline.readers import read_with_holdout
from research import figures
from research.evaluation import baselines, metrics
from research.measure.shop import Shop, make_shop

log = logging.getLogger(__name__)

VIEW, CART, BUY = 1, 2, 3  # codes, as `shop.TYPES` declares them
POPULAR, ALIKE, TYPED, ALONE, NEED = (
    "popularity",
    "all events alike",
    "with types",
    'with types, objectives {"buy": 1}',
    "order of true need",
)
BUY_ALONE: Final = (0.0, 0.0, 1.0)  # weights of the outputs
# of views, where purchases have the weight 1; None: views alone
OF_VIEWS: Final = (0.0, 0.1, 0.3, 1.0, 3.0, 10.0, None)
PICTURE: Final = figures.FIGURES.parent / "event_types.svg"


def trained(folder: Path, shop: Shop, *, types: bool) -> Settings:
    """Run the offline steps on the shop."""
    data = shop.write(folder / "data", types=types)
    settings = Settings(data=data, exchange_dir=folder / "exchange")
    for step in provenance.STEPS:
        module = step.path.removesuffix(".py").replace("/", ".")
        importlib.import_module(module).main(settings)
    return settings


class Purchases:
    """The held-out events of a shop that was trained on with types, by type."""

    def __init__(self, settings: Settings) -> None:
        found = read_with_holdout(settings)
        rule = found.dataset.holdout
        self.data = found.data
        self.holdout = replay.hold_out(self.data, rule)
        sizes = holdout_sizes(rule, self.data.lengths, self.data.newest)
        self.future = self.data.last(sizes)

    def targets(self, code: int) -> sp.csr_matrix:
        """(users, items + 1) 1 where such an event comes, of an item not bought before, of users with a past."""
        come = self.future.select(self.future.ratings == code).seen()
        new = replay.without(come, self.holdout.past.left_out())
        has_past = self.holdout.known.lengths > 0
        return replay.only(new, has_past[:, None])


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


def measured(seed: int, size: Mapping[str, int]) -> tuple[dict[str, Any], list[Any]]:
    """One shop: metrics of purchases by system; what each weight of views gives: [weight, of purchases, of views]."""
    shop = make_shop(seed, **size)
    with tempfile.TemporaryDirectory() as temporary:
        alike = trained(Path(temporary, "alike"), shop, types=False)
        typed = trained(Path(temporary, "typed"), shop, types=True)
        purchases = Purchases(typed)
        bought, viewed = purchases.targets(BUY), purchases.targets(VIEW)
        data = read_with_holdout(alike)
        answers = replay.answers(
            alike, replay.hold_out(data.data, data.dataset.holdout)
        )
        holdout = purchases.holdout
        lists = {
            POPULAR: baselines.popularity(holdout, replay.SHOWN),
            ALIKE: answers.ranked,
            TYPED: replay.answers(typed, holdout).ranked,
            ALONE: replay.answers(typed, holdout, objectives=BUY_ALONE).ranked,
            NEED: needed(typed, shop, holdout.past),
        }
        trade = []
        for weight in OF_VIEWS if seed == 0 else ():
            weights = (1.0, 0.0, 0.0) if weight is None else (weight, 0.0, 1.0)
            ranked = replay.answers(typed, holdout, objectives=weights).ranked
            of_both = [judged(ranked, each)["ndcg@20"] for each in (bought, viewed)]
            trade.append([weight, *of_both])
    return {name: judged(each, bought) for name, each in lists.items()}, trade


def evaluate(seeds: Sequence[int], size: Mapping[str, int]) -> dict[str, Any]:
    """Means over the seeds and the spread between them, for JSON."""
    found, trades = [], []
    for seed in seeds:
        table, trade = measured(seed, size)
        log.info("seed %d: %s", seed, table)
        found.append(table)
        trades += trade
    means = {
        name: {
            metric: float(np.mean([each[name][metric] for each in found]))
            for metric in found[0][name]
        }
        for name in found[0]
    }
    ndcgs = {name: [each[name]["ndcg@20"] for each in found] for name in (ALIKE, TYPED)}
    ratios = np.array(ndcgs[TYPED]) / np.array(ndcgs[ALIKE])
    return plain(
        {
            "command": "make evaluate-types",
            "seeds": list(seeds),
            "shop": dict(size),
            "table": means,
            "ndcg@20 by seed": ndcgs,
            "ratio by seed": ratios.tolist(),
            "trade": [
                {"views": weight, "ndcg@20 of purchases": bought, "of views": viewed}
                for weight, bought, viewed in trades
            ],
        }
    )


def draw(found: Mapping[str, Any], path: Path) -> None:
    """Draw the trade between purchases and views as the request's weights move."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3.5), layout="constrained")
    axes = figure.subplots()
    points = found["trade"]
    x = [each["of views"] for each in points]
    y = [each["ndcg@20 of purchases"] for each in points]
    axes.plot(x, y, marker="o")
    for each, at_x, at_y in zip(points, x, y, strict=True):
        weight = each["views"]
        label = "views alone" if weight is None else f"{weight:g}"
        axes.annotate(label, (at_x, at_y), xytext=(4, 4), textcoords="offset points")
    axes.set(xlabel="NDCG@20 of views", ylabel="NDCG@20 of purchases")
    axes.set_title("Weight of views in objectives, purchases 1", fontsize=10)
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
