"""The recipe in the protocols of papers on sequential recommendation: ``make evaluate-papers``.

Leave one out  each user's last rating is the target. Fitted on all but the last, as a server has it, or on all but the
               last two, as papers do: they choose on the last but one, and so were the changes for the next item.
One moment     as in *Time to Split* (Gusak et al. 2025): fitted on everything up to the time that nine tenths of all
               ratings come before; items with fewer than five ratings are left out. Targets are each user's last
               rating, ten thousand of the ratings after the time, or from one request all of a user's.

The server's functions answer: channels, fusion and ranker, with exact search; `make evaluate` says how little the
running server differs from that. Baselines are those of `make baselines`, trained so far. Rows are written as soon as
they are measured, and an interrupted run resumes.

Reads:  offline/{ratings,items,users}.parquet, offline/baselines/*.pt
Writes: pic/figures/evaluation_papers.json (of another recipe than the default: with its name)
Run:    python -m research.papers
Expect: half an hour on MovieLens-1M
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np
import scipy.sparse as sp
from rich.console import Console

from data_exchange_center.dataset import HoldoutRule
from data_exchange_center.figures import OFFLINE, write_figure
from data_exchange_center.recipes import Recipe
from data_exchange_center.settings import Settings
from data_exchange_center.steps import run
from offline.data.sequences import Inputs, Ints, Sequences
from offline.evaluation import metrics, replay
from offline.evaluation.evaluate import figure, head
from offline.evaluation.metrics import Lists
from offline.evaluation.protocols import BEFORE, Stages, fit_stages
from offline.evaluation.report import plain
from research.baselines import classical
from research.figures.tables import read
from research.next_item import answers, every_rating, from_the_end, measured, requests
from research.reports import resumed, table
from research.transformers import MODELS, Training, checkpoint, lists

log = logging.getLogger(__name__)

NAME: Final = "evaluation_papers"
CODE: Final = (*OFFLINE, "research/next_item.py", "research/papers.py", "research/transformers.py")
WITH, WITHOUT = "with the request's time", "without"
CLOCKS: Final = {WITH: True, WITHOUT: False}
LABELS: Final = ("the recipe", "the recipe, for the next item")
LAST: Final = HoldoutRule(last=1)
LEAST: Final = 5  # ratings of an item that counts at one moment
SUCCESSIVE: Final = 10_000  # of the later ratings, drawn evenly

# Changes of the recipe for the next item: each was kept as NDCG@10 of the last but one rose with it.
NEXT_ITEM: Final[Mapping[str, Mapping[str, Any]]] = {
    "ranker": {"horizon": 1, "stride": 3, "returning": ()},
    "tower": {"horizon": 2, "stride": 3},
}
AS_IT_IS: Final = "as it is"
CHOSEN: Final = "; ".join(
    f"{part}: {setting} = {value}" for part, values in NEXT_ITEM.items() for setting, value in values.items()
)


def for_next_item(recipe: Recipe) -> Recipe:
    """The recipe with the changes of `NEXT_ITEM`."""
    channels = tuple(each.model_copy(update=NEXT_ITEM.get(each.name)) for each in recipe.recall.channels)
    recall = recipe.recall.model_copy(update={"channels": channels})
    ranker = recipe.ranker.model_copy(update=NEXT_ITEM["ranker"])
    return recipe.model_copy(update={"recall": recall, "ranker": ranker})


# --- Leave one out


class LeaveOneOut:
    """Fits and measurements; ``data``: all ratings, each a target."""

    def __init__(self, inputs: Inputs, recipe: Recipe) -> None:
        self.inputs, self.recipe = inputs, recipe
        self.fits: dict[tuple[str, int], tuple[Stages, float]] = {}

    @property
    def data(self) -> Sequences:
        return self.inputs.data

    def fit(self, recipe: Recipe, but: int) -> tuple[Stages, float]:
        """Stages fitted on all but the last ``but``, and the processor seconds that it took."""
        key = recipe.model_dump_json(), but
        if key not in self.fits:
            begin = time.process_time()
            stages = fit_stages(self.data.before_last(but), self.inputs, recipe)
            self.fits[key] = stages, round(time.process_time() - begin, 1)
        return self.fits[key]

    def row(self, recipe: Recipe, but: int, target: int) -> dict[str, Any]:
        """The recipe on each user's rating number ``target`` from the end, with the request's time and without."""
        stages, seconds = self.fit(recipe, but)
        events = from_the_end(self.data, target)
        row: dict[str, Any] = {"but": but, "seconds": seconds}
        for when, clock in CLOCKS.items():
            found = list(answers(stages, recipe, self.inputs, requests(self.data, events, clock)))
            for stage, parts in zip(("recall", "ranked"), zip(*found, strict=True), strict=True):
                row.setdefault(stage, {})[when] = measured(np.concatenate(parts), self.data.items[events])
        return row


# --- One moment for all


def at_one_moment(inputs: Inputs, recipe: Recipe) -> dict[str, Any]:
    """The recipe fitted on what comes up to the moment: each user's last rating, each later one, all of them at once.

    One item is relevant to a request but the last kind, which is answered at the first later rating. Users without a
    rating before the moment have their first as a history.
    """
    data = inputs.data
    data = data.select(np.bincount(data.items)[data.items] >= LEAST)
    moment = int(np.quantile(data.times, BEFORE))
    begin = time.process_time()
    stages = fit_stages(data.select(data.times <= moment), inputs, recipe)
    row: dict[str, Any] = {"seconds": round(time.process_time() - begin, 1), "targets": {}}
    later = np.flatnonzero((data.times > moment) & (data.positions > 0))  # events
    first = later[np.unique(data.users[later], return_index=True)[1]]
    last = data.starts[data.users[first] + 1] - 1
    relevance = sp.csr_matrix(
        (np.ones(len(later)), (np.searchsorted(data.users[first], data.users[later]), data.items[later])),
        shape=(len(first), data.n_items + 1),
    )

    def ranked(events: Ints, clock: bool) -> Lists:
        points = requests(data, events, clock)
        return np.concatenate([each for _, each in answers(stages, recipe, replace(inputs, data=data), points)])

    for when, clock in CLOCKS.items():
        found = ranked(first, clock)
        row["targets"][when] = {
            "last": measured(ranked(last, clock), data.items[last]),
            "all later": {
                "hr@10": float(np.mean(metrics.hit_rate(found, relevance, 10))),
                "ndcg@10": float(np.mean(metrics.ndcg(found, relevance, 10))),
            },
        }
    drawn = np.sort(np.random.default_rng(0).permutation(later)[:SUCCESSIVE])
    row["targets"][WITHOUT]["successive"] = measured(ranked(drawn, clock=False), data.items[drawn])
    return {**row, "users": len(first), "ratings": len(later)}


# --- Baselines: transformers as far as they are trained, and plain ones with the settings of `make tune-baselines`


def transformers(settings: Settings, data: Sequences) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Name, row of the last rating, and seconds and NDCG@10 of the last but one by epoch, of each trained model."""
    for model in MODELS:
        path = checkpoint(settings, model)
        if not path.is_file():
            continue
        training = Training.kept(model, data.n_items, path)
        network, events = training.best_network(), from_the_end(data, 1)
        when = WITH if model.clock else WITHOUT
        found = lists(network, data, requests(data, events, model.clock))
        seconds = np.cumsum([epoch["seconds"] for epoch in training.epochs])
        row = {
            "but": 2,
            "seconds": float(seconds[-1]),
            "epochs": len(training.epochs),
            "over": training.over,
            "ranked": {when: measured(found, data.items[events])},
        }
        yield model.name, row, {"seconds": list(seconds), "ndcg@10": [epoch["ndcg@10"] for epoch in training.epochs]}


def others(data: Sequences, known: Container[str]) -> Iterator[tuple[str, dict[str, float]]]:
    """Name of each that is not known, processor seconds of its training, and its NDCG@10 of the last but one."""
    holdout, rows = replay.hold_out(data.before_last(1), LAST), read("baselines.json")["rows"]
    events = from_the_end(data, 2)
    for baseline in (each for each in classical() if each.name not in known):
        fitted = baseline.fit(holdout, rows[baseline.name]["setting"])
        reached = measured(fitted.lists[data.users[events]], data.items[events])["ndcg@10"]
        yield baseline.name, {"seconds": round(fitted.seconds, 1), "ndcg@10": reached}


# --- The command


def measure(settings: Settings, keep: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """The report. ``keep``: writes it as far as it is measured; what was written is not measured again."""
    inputs, recipe = every_rating(settings), settings.recipe
    data = inputs.data
    opening = {**head("make evaluate-papers", settings, recipe), "users": data.n_users, "cuts": cuts(data)}
    parts: dict[str, Any] = {"tried": {}, "last": {}, "one moment": {}, "by seconds": {}}
    found = resumed(figure(opening, settings, NAME), opening, parts, any_recipe=True)
    study = LeaveOneOut(inputs, recipe)

    def validated(recipe: Recipe) -> dict[str, float]:
        row = study.row(recipe, 2, 2)
        reached = {when: row["ranked"][when]["ndcg@10"] for when in CLOCKS}
        return {"ndcg@10": float(np.mean(list(reached.values()))), **reached, "seconds": row["seconds"]}

    # transformers, as far as they are trained
    for name, row, epochs in transformers(settings, data):
        found["last"][name], found["by seconds"][name] = row, epochs
    keep(found)

    # the recipe for the next item, and as it is
    found["chosen"] = CHOSEN
    for label, changes, changed in (
        (LABELS[1], CHOSEN, for_next_item(recipe)),
        (LABELS[0], AS_IT_IS, recipe),
    ):
        if changes not in found["tried"]:
            found["tried"][changes] = validated(changed)
            keep(found)
        for but, which in ((1, "the last"), (2, "the last two")):
            name = f"{label}, fitted on all but {which}"
            if found["last"].get(name, {}).get("changes") != changes:
                found["last"][name] = {"changes": changes, **study.row(changed, but, 1)}
                keep(found)
        if found["one moment"].get(label, {}).get("changes") != changes:
            found["one moment"][label] = {"changes": changes, **at_one_moment(inputs, changed)}
            keep(found)

    # plain baselines, for the picture
    for name, row in others(data, found["by seconds"]):
        found["by seconds"][name] = row
        keep(found)
    return found


def cuts(data: Sequences) -> str:
    """Digest of all ratings in order."""
    return hashlib.sha256(np.stack([data.users, data.items, data.times]).tobytes()).hexdigest()[:16]


def main(settings: Settings) -> None:
    def write(found: dict[str, Any], *, finished: bool = False) -> None:
        write_figure(figure(found, settings, NAME), plain(found), CODE, finished=finished)

    found = measure(settings, write)
    write(found, finished=True)
    rows = [
        {"": f"{name}, {when}", **values}
        for name, row in found["last"].items()
        for when, values in row["ranked"].items()
    ]
    Console().print(
        table(rows, list(rows[0]), f"{found['users']:,} users of {found['dataset']}, the last rating of each")
    )


if __name__ == "__main__":
    run(main)
