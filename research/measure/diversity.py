"""What diversity costs and gives: the server's own code over the running services, at every strength.

Every user, or some, is asked for at the moment of the first held-out rating, without diversity and at eleven
strengths. Beside what the lists are worth stands how long re-ranking takes, with one request at a time. Which strength
costs less than 1 % of the NDCG was found out on other ratings, by `make tune-diversity`; here is what it costs.

Reads   the live release in the services; data_exchange_center/offline (the held-out ratings); what
        `make tune-diversity` has written
Writes  pic/figures/diversity.json (another recipe's or data set's: with its name)
Run     make evaluate-diversity, after make up sync; users=1000: of so many users, drawn at random with a fixed seed
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from data_exchange_center import steps
from data_exchange_center.dataset import OwnId
from data_exchange_center.machine import machine
from data_exchange_center.release_parts import read_own_ids, release_of_artifacts
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError, progress
from extras.diversity.hook import STAGE, DiversityRequest
from offline.evaluation import replay
from offline.evaluation.evaluate import figure, write
from offline.evaluation.metrics import Lists
from offline.evaluation.replay import Holdout
from offline.evaluation.report import plain
from offline.evaluation.served import ExactIndex
from offline.readers import read_with_holdout
from online.recommend.recommend import Recommender
from online.recommend.types import MAX_BUDGET_MS, Stopwatch
from research.measure.degraded import recommender_of
from research.measure.list_diversity import Kinds, lost, measures, summary
from research.measure.some_users import parse_users, sample

ASKED = 75  # items: more than the fifty that are judged, as what is neither known nor a target is taken off
STRENGTHS = tuple(n / 10 for n in range(11))


@dataclass(frozen=True, eq=False)
class Asked:
    """What the server answers at one strength: (users, `ASKED`) lists, and seconds of re-ranking, one a request."""

    lists: Lists
    seconds: NDArray[np.float64]


def asked(
    recommender: Recommender, diversity: float, holdout: Holdout, userids: Sequence[OwnId], rows: NDArray[np.intp]
) -> Asked:
    """Lists are 0 for users who are not asked for. Raises ServiceError: requests are strict."""
    lists = np.zeros((holdout.past.n_users, ASKED), dtype=np.int64)
    seconds = []
    for user in progress(rows, total=len(rows), desc=f"diversity {diversity:g}", unit="user"):
        request = DiversityRequest(
            userid=userids[user],
            size=ASKED,
            timestamp=int(holdout.times[user]),
            budget_ms=MAX_BUDGET_MS,
            strict=True,
            diversity=diversity,
        )
        watch = Stopwatch()
        answer, opened = recommender.recommend(request, watch), recommender.releases.serving
        ids = [opened.numbers[each] for each in answer.itemids] if opened is not None else []
        lists[user, : len(ids)] = np.searchsorted(holdout.past.itemids, ids) + 1
        if STAGE in watch.stages:
            seconds.append(watch.stages[STAGE].seconds)
    return Asked(lists, np.array(seconds))


def measure(
    recommender: Recommender,
    holdout: Holdout,
    kinds: Kinds,
    userids: Sequence[OwnId],
    rows: NDArray[np.intp],
    strengths: Sequence[float],
) -> dict[str, Any]:
    """Strength -> summary, and the milliseconds of re-ranking. The first strength is 0."""
    first = asked(recommender, strengths[0], holdout, userids, rows)
    without = measures(holdout, first.lists, kinds)
    found = {f"{strengths[0]:g}": summary(holdout, first.lists, kinds, without)}
    seconds: list[NDArray[np.float64]] = []
    for strength in strengths[1:]:
        answered = asked(recommender, strength, holdout, userids, rows)
        found[f"{strength:g}"] = summary(holdout, answered.lists, kinds, without)
        seconds.append(answered.seconds)
    took = np.concatenate(seconds) * 1e3
    return {
        "diversity": found,
        "ms": {f"p{percent}": float(np.percentile(took, percent)) for percent in (50, 99)},
    }


def chosen(settings: Settings, dataset: str) -> float:
    """The strength that costs less than 1 %, by validation. Raises StepError where that was not measured."""
    path = figure({"recipe": settings.recipe.name, "dataset": dataset}, settings, "tune_diversity")
    if not path.is_file():
        raise StepError(f"{path} is missing, which says what diversity may cost.", "Run `make tune-diversity`.")
    return float(json.loads(path.read_text(encoding="utf-8"))["chosen"])


def show(found: dict[str, Any], console: Console) -> None:
    first = found["diversity"]["0"]
    names = [name for name in first if name != "change"]
    table = Table("diversity", *names, "cost", title=f"{found['users']:,} users of {found['dataset']}")
    for strength, row in found["diversity"].items():
        values = (row[name]["mean"] if isinstance(row[name], dict) else row[name] for name in names)
        table.add_row(strength, *(f"{value:.4f}" for value in values), f"{lost(row, first):.1%}")
    console.print(table)
    console.print(f"Chosen by validation: {found['chosen']:g}. Re-ranking takes {found['ms']['p50']:.2f} ms.")


def main(settings: Settings) -> None:
    parser = argparse.ArgumentParser(prog="python -m research.measure.diversity", description=__doc__)
    size = parse_users(parser)
    inputs, release = read_with_holdout(settings), release_of_artifacts(settings)
    best = chosen(settings, release.dataset.name)
    holdout = replay.hold_out(inputs.data, inputs.dataset.holdout)
    index = ExactIndex.read(settings.exchange_dir, settings.recipe.recall, holdout.past)
    own_ids, rows = read_own_ids(settings.exchange_dir).users, sample(holdout.past.n_users, size)
    userids = [own_ids[number] for number in holdout.past.userids.tolist()]
    with closing(recommender_of(settings, 0, release.release)) as recommender:
        kinds = Kinds(index.vectors, index.genres)
        measured = measure(recommender, holdout, kinds, userids, rows, sorted({*STRENGTHS, best}))
    found = plain(
        {
            "command": f"make evaluate-diversity{f' users={size}' if size else ''}",
            "machine": machine(),
            "dataset": release.dataset.name,
            "recipe": settings.recipe.name,
            "release": release.release,
            "users": len(rows),
            "asked": ASKED,
            "chosen": best,
            **measured,
        }
    )
    write(found, settings, "diversity")
    show(found, Console())


if __name__ == "__main__":
    steps.run(main)
