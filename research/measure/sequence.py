"""Compare the recipe `sequence` with `default`: its encoder's lists, recall and ranker: ``make evaluate-sequence``.

Each recipe is fitted in memory, on what precedes the requests of three protocols: in session and next session
(`research.evaluation.protocols`), and the papers' (`research.papers`), without the target's time. Rows are kept as they
are measured, and an interrupted run resumes; a finished training of the encoder is not repeated, its time is counted.

Reads:  offline/{ratings,items,users}.parquet of MovieLens
Writes: pic/figures/sequence.json (another data set's: with its name)
Run:    python -m research.measure.sequence [--only "in session"], after make offline
Expect: an hour and a half on MovieLens-1M
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections.abc import Collection, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, Final

import numpy as np

from data_exchange_center.recipes import DEFAULT, Recipe
from data_exchange_center.settings import Settings
from data_exchange_center.steps import run
from extras.sequence.channel import SEQUENCE, TRAINING
from offline.data.lists import ListsConfig, recall_lists
from offline.data.sequences import Inputs, Points, Sequences
from offline.evaluation import replay
from offline.evaluation.metrics import Lists, per_user, plain
from offline.readers import read_with_holdout
from research import papers
from research.evaluation.protocols import (
    IN_SESSION,
    MEASURES,
    NEXT_SESSION,
    Stages,
    fit_stages,
    last_sessions,
    points_of,
    ranked,
)
from research.figure_files import write_figure
from research.figures import recommendations
from research.reports import figure_of_study, head, resumed, show

log = logging.getLogger(__name__)

PAPERS: Final = "papers"
PROTOCOLS: Final = (IN_SESSION, NEXT_SESSION, PAPERS)
ENCODER: Final = SEQUENCE.recall.channels[-1].name


def fitted(settings: Settings, past: Sequences, inputs: Inputs, recipe: Recipe) -> tuple[Stages, float]:
    """The fitted stages, and processor seconds of all fits, whether the encoder's were kept or not."""
    began, cpu = time.time(), time.process_time()
    stages = fit_stages(past, inputs, recipe)
    seconds = time.process_time() - cpu
    for path in (settings.exchange_dir / "models" / "sequence").glob(f"*/{TRAINING}"):
        if path.parent.stat().st_mtime >= began:  # fits touch their training
            seconds += json.loads(path.read_text(encoding="utf-8"))["seconds"]
    return stages, round(seconds, 1)


def lists_of(
    stages: Stages, recipe: Recipe, past: Sequences, inputs: Inputs, points: Points
) -> Iterator[tuple[str, Lists]]:
    """Name and (m, candidates) lists: each channel alone, recall, ranked."""
    config = ListsConfig.of(recipe)
    for channel in stages.channels:
        alone = replace(config, weights=(1.0,))
        yield (
            f"channel {channel.name}",
            recall_lists(past, points, inputs.profiles, [channel], alone).candidates.astype(np.int64),
        )
    found = recall_lists(past, points, inputs.profiles, stages.channels, config)
    yield "recall", found.candidates.astype(np.int64)
    yield "ranked", ranked(stages.ranker, found, stages.stored)


def one(settings: Settings, protocol: str, recipe: Recipe) -> dict[str, Any]:
    """A recipe in a protocol: users, seconds, and the metrics of each list."""
    if protocol == PAPERS:
        inputs = papers.every_rating(settings)
        data = inputs.data
        stages, seconds = fitted(settings, data.before_last(1), inputs, recipe)
        events = papers.targets(data, 1)
        points = papers.requests(data, events, clock=False)
        gaps = data.times[events] - data.times[events - 1]
        found: dict[str, Any] = {
            name: papers.measured(lists, data.items[events], gaps)
            for name, lists in lists_of(stages, recipe, data, inputs, points)
        }
        return {"users": len(events), "seconds": seconds, **found}
    inputs = read_with_holdout(settings)
    data = inputs.data
    holdout = last_sessions(data) if protocol == NEXT_SESSION else replay.hold_out(data, inputs.dataset.holdout)
    stages, seconds = fitted(settings, holdout.past, inputs, recipe)
    points = points_of(holdout)
    found = {}
    for name, lists in lists_of(stages, recipe, holdout.past, inputs, points):
        of_all = np.zeros((holdout.past.n_users, lists.shape[1]), np.int64)
        of_all[points.users] = lists
        values = per_user(holdout.relevance, holdout.judged(of_all))
        found[name] = {metric: float(np.nanmean(values[metric])) for metric in MEASURES if metric in values}
    users = int(np.count_nonzero(np.diff(holdout.relevance.indptr)))
    return {"users": users, "seconds": seconds, **found}


def main(settings: Settings, *, only: Collection[str] = PROTOCOLS) -> None:
    opening = head("make evaluate-sequence", settings, DEFAULT)
    path = figure_of_study(opening, settings, "sequence", part=set(only) < set(PROTOCOLS))
    found = resumed(path, opening, {name: {} for name in PROTOCOLS})
    for protocol in only:
        for recipe in (SEQUENCE, DEFAULT):
            if recipe.name not in found[protocol]:
                log.info("%s: everything is fitted by the recipe %s", protocol, recipe.name)
                found[protocol][recipe.name] = plain(one(settings, protocol, recipe))
                write_figure(path, found, finished=False)
    write_figure(path, found, finished=all(found[protocol] for protocol in PROTOCOLS))
    show(found, recommendations.sequence)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PROTOCOLS, default=PROTOCOLS)
    run(partial(main, only=parser.parse_args().only))
