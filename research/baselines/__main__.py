"""Baselines, tuned and measured as the recipe is: ``make rivals``, after ``make offline``.

Every baseline has the recipe's past, users, candidates and clock: a request sees what happened strictly before
its second. Settings are chosen on the ten ratings before the last ten, with models fitted on what precedes those; then
the chosen setting is fitted on all but the last ten, and measured there. The transformers are RecTools', in an
environment of their own that is made when it is first needed (some gigabytes). Whatever is measured is written at once,
and a run that was ended goes on from there, a training from its last epoch.

Reads:  the artifacts of `make offline`
Writes: pic/figures/rivals.json (of another recipe or data set: with its name); offline/rivals/ in the exchange folder
Run:    python -m research.baselines [--only <rival> ...]
Expect: an hour on MovieLens-1M for all but the transformers, which need days without a GPU
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from data_exchange_center.release_parts import release_of_artifacts
from data_exchange_center.settings import Settings
from data_exchange_center.steps import run
from offline.evaluation import replay, served
from offline.evaluation.evaluate import figure, head
from offline.evaluation.metrics import Floats
from offline.evaluation.replay import Holdout
from offline.readers import read_with_holdout
from research.baselines.classical import classical
from research.baselines.contest import Contest, Report, measured, values
from research.baselines.transformers import FIRST, transformers
from research.experiments.fitted import CHOSEN_ON, before_the_last, digest

RECALL, RANKED = "fused recall", "fused recall and ranker"


def contest(settings: Settings) -> Contest:
    """Both cuts, and the report with the recipe's own rows."""
    release, inputs = release_of_artifacts(settings), read_with_holdout(settings)
    measured_on = replay.hold_out(inputs.data, inputs.dataset.holdout)
    chosen_on = before_the_last(settings).holdout
    opening = {
        **head("make rivals", settings, settings.recipe, measured_on),
        "chosen on": CHOSEN_ON,
        "cuts": digest(chosen_on, measured_on),
    }
    report = Report(figure(opening, settings, "rivals"), opening)
    if report.release != release.release:
        report.refer_to(release.release, *recipes_own(settings, measured_on))
        report.write()
    return Contest(chosen_on, measured_on, report)


def recipes_own(settings: Settings, holdout: Holdout) -> tuple[dict[str, Any], Floats]:
    """The rows of the artifacts, and the NDCG of each user's ranked list."""
    answers = served.answers(settings, holdout)
    rows = {RECALL: measured(holdout, answers.fused), RANKED: measured(holdout, answers.ranked)}
    return rows, values(holdout, answers.ranked)


def main(settings: Settings, only: Sequence[str]) -> None:
    entered = contest(settings)
    quick, slow = classical(), transformers(settings)
    for rivals in (quick, slow):
        for rival in rivals:
            if not only or rival.name in only:
                entered.enter(rival)
        entered.fuse([rival for rival in (*quick, *slow) if entered.report.row(rival.name)])
    show(entered.report.found, Console())


def show(found: Mapping[str, Any], console: Console) -> None:
    """One line a baseline."""
    table = Table(title=f"{found['users']:,} users of {found['dataset']}")
    metrics = list(found["references"][RANKED])
    for name in ("", *metrics, "to the recipe", "trained for", "settings tried"):
        table.add_column(name)
    for name, row in found["references"].items():
        table.add_row(name, *(f"{row[metric]:.4f}" for metric in metrics))
    for name, row in found["rows"].items():
        change = row["to the recipe"]
        tried = f"{row['settings tried']}{'' if row['searched'] else ', not all'}"
        shown = (f"{row[metric]:.4f}" for metric in metrics)
        table.add_row(name, *shown, f"{change['difference']:+.4f}", f"{row['seconds']:.0f} s", tried)
    console.print(table)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = (*(rival.name for rival in classical()), *FIRST)
    parser.add_argument("--only", action="append", default=[], choices=names, help="may be repeated")
    only = parser.parse_args().only
    run(lambda settings: main(settings, only))
