"""The recipe on a split at one moment for all users: ``make evaluate-global``, after ``make offline``.

The split per user lets a model learn from what other users did later. Here everything is fitted on ratings before one
time T; targets are the first ten ratings from T on of each user who had rated something before.

Reads:  the artifacts of `make offline`, for the figures of the split per user
Writes: pic/figures/evaluation_global.json (of another recipe than the default: with its name)
Run:    python -m research.experiments.global_time
Expect: ten minutes on MovieLens-1M
"""

from __future__ import annotations

from typing import Any

import numpy as np
from rich.console import Console

from data_exchange_center.as_of import happened
from data_exchange_center.release_parts import release_of_artifacts
from data_exchange_center.settings import Settings
from data_exchange_center.steps import run
from offline.data.sequences import Sequences
from offline.evaluation import replay, served
from offline.evaluation.evaluate import head, show, write
from offline.evaluation.replay import SHOWN, Holdout
from offline.evaluation.report import EVERYBODY, SITTING, clock_table, later, plain, summary
from offline.evaluation.served import baselines
from offline.models.stages import fit_stages, ranker_of_lists
from offline.readers import read_with_holdout
from research.experiments.fitted import EvalRequests, systems

BEFORE = 0.9  # share of all ratings that lie before T


def holdout_at(data: Sequences, time: int, horizon: int) -> Holdout:
    """Everything before ``time``, and the next ``horizon`` events of those who had rated something by then."""
    before = happened(data.times, time)
    known = data.select(before).lengths
    first = np.repeat(known, data.lengths)  # position of each user's first event from the time on
    later = ~before & (first > 0) & (data.positions < first + horizon)
    return replay.holdout_of(data.select(before), data.select(later))


def measure(settings: Settings) -> dict[str, Any]:
    """Both splits' table, and the gap between them."""
    inputs, recipe = read_with_holdout(settings), settings.recipe
    data, rule = inputs.data, inputs.dataset.holdout
    per_user = replay.hold_out(data, rule)
    answers = served.answers(settings, per_user)
    one = {**baselines(per_user, SHOWN), "recall": answers.fused, "ranked": answers.ranked}
    time = int(np.quantile(data.times, BEFORE))
    holdout = holdout_at(data, time, rule.longest)
    stages = fit_stages(holdout.past, inputs, recipe)
    fitted = systems(stages, EvalRequests(holdout, inputs), recipe)
    other = {**baselines(holdout, SHOWN), **fitted}
    asked = {when: (at, systems(stages, EvalRequests(at, inputs), recipe)) for when, at in later(holdout).items()}
    tables = [
        {name: summary(cut, lists) for name, lists in found.items()}
        for cut, found in ((per_user, one), (holdout, other))
    ]
    return {
        **head("make evaluate-global", settings, recipe, holdout),
        "time": time,
        "ratings before": int(happened(data.times, time).sum()),
        "returning users": int((holdout.slices["returning"] & (np.diff(holdout.relevance.indptr) > 0)).sum()),
        "clock": {EVERYBODY: clock_table({SITTING: (holdout, fitted), **asked})[EVERYBODY]},
        "table": tables[1],
        "per user": tables[0],
        "gap": {
            name: {metric: tables[1][name][metric] - value for metric, value in row.items()}
            for name, row in tables[0].items()
        },
    }


def main(settings: Settings) -> None:
    ranker_of_lists(settings.recipe), release_of_artifacts(settings)  # before minutes are spent
    found = plain(measure(settings))
    write(found, settings, "evaluation_global")
    show(found, Console())


if __name__ == "__main__":
    run(main)
