"""Report what an experiment has found so far: each arm against the control, with an interval that holds at any time.

It may be run as often as one likes, and the experiment stopped as soon as the interval excludes zero: over all those
looks, a difference that is not there is found in at most 5 % of the experiments.

A user is measured from the first answer on, for the experiment's horizon, by liked items that were on an answered list.
Only after that does the user enter the comparison, once and with one value that no longer changes, as the intervals
require. Everybody assigned to an arm counts for it, whatever release answered (intention to treat): leaving out those
that an arm could not answer would compare different populations.

Reads   the experiment, its log of exposures and users' events in Redis; the release's declaration of its data set
Writes  data_exchange_center/online/experiments/<name>.json, and <name>.png: the interval over time
Run     make experiment name=ranker
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from contextlib import closing
from math import inf, nan
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Column, Table

from data_exchange_center import steps
from data_exchange_center.dataset import Dataset
from data_exchange_center.files import write_json, written_in_place
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from extras.published import readable
from extras.trials.always_valid import (
    ALPHA,
    FIRST,
    Path,
    difference_path,
    sample_ratio_p_value,
)
from extras.trials.hook import ExperimentView
from extras.trials.outcomes import METRICS, Outcomes, outcomes_of
from extras.trials.state import Experiment
from extras.trials.store import TrialStore
from offline.evaluation.metrics import plain
from offline_to_online.stores.base import TIMEOUT_S
from online.clients.redis import RedisUsers

SUSPICIOUS: Final = 0.01  # p-value of the arms' sizes
OFTEN: Final = 0.01  # share of the answers that are not of the arm's release
_POINTS: Final = 200  # of a path that is kept
STYLE: Final[Any] = {
    "font.size": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "axes.titlesize": 14,
    "axes.titlelocation": "left",
}  # matplotlib's rc parameters


def dataset_of(experiment: Experiment, users: RedisUsers) -> Dataset:
    """The data set, by a published release of it. Raises ServiceError, StepError."""
    for published in readable(users, users.listed()[1]):
        if published.manifest.dataset.base_name == experiment.dataset:
            return published.manifest.dataset
    raise StepError(
        f"No release of data set {experiment.dataset} is published that says what the events mean.",
        "Load one with `make sync`.",
    )


# --- the report


def found_by(experiment: Experiment, outcomes: Outcomes) -> dict[str, Any]:
    """The report: users, means, differences with their intervals, and warnings."""
    users = {arm: int((outcomes.arms == arm).sum()) for arm in experiment.arms}
    everybody = np.array(
        [count + outcomes.watched.get(arm, 0) for arm, count in users.items()]
    )
    weights = np.array([arm.weight for arm in experiment.arms.values()], np.float64)
    p_value = sample_ratio_p_value(everybody, weights)
    warnings = _warnings(outcomes)
    if p_value < SUSPICIOUS:
        warnings.append(
            f"the arms have {', '.join(f'{n:,}' for n in everybody)} users, which does not fit their weights "
            f"(p = {p_value:.2g}): users of an arm are being lost, so do not trust the differences below"
        )
    return {
        "experiment": ExperimentView.of(experiment).model_dump(),
        "exposures": outcomes.exposures,
        "users": users,
        "watched": sum(outcomes.watched.values()),
        "warnings": warnings,
        "sample ratio p": p_value,
        "means": {
            metric: {
                arm: float(outcomes.values[metric][outcomes.arms == arm].mean())
                for arm, count in users.items()
                if count
            }
            for metric in METRICS
        },
        "differences": {
            arm: {
                metric: _difference(experiment, outcomes, arm, metric)
                for metric in METRICS
            }
            for arm in list(users)[1:]
        },
    }


def _warnings(outcomes: Outcomes) -> list[str]:
    warnings = []
    if outcomes.not_as_dealt > OFTEN * outcomes.exposures:
        warnings.append(
            f"{outcomes.not_as_dealt:,} of {outcomes.exposures:,} answers are not what the experiment requested: an "
            "arm's release could not answer. They still count for the arm, so the difference looks smaller than it is"
        )
    if outcomes.in_several:
        warnings.append(
            f"{outcomes.in_several:,} users were in several arms, and are left out"
        )
    return warnings


def _difference(
    experiment: Experiment, outcomes: Outcomes, arm: str, metric: str
) -> dict[str, Any]:
    """An arm against the control: the current interval, and its path over users."""
    of_both = np.isin(outcomes.arms, (experiment.control, arm))
    path: Path = difference_path(
        outcomes.values[metric][of_both],
        outcomes.arms[of_both] == arm,
        experiment.planned_users,
        ALPHA / (len(experiment.arms) - 1),  # Bonferroni
    )
    n = len(path["users"])
    if not n:
        return {"estimate": nan, "low": -inf, "high": inf, "path": {}}
    some = np.unique(np.linspace(0, n - 1, min(_POINTS, n)).astype(int))
    now = {name: float(path[name][-1]) for name in ("estimate", "low", "high")}
    return now | {
        "path": {name: values[some].tolist() for name, values in path.items()}
    }


def show(found: Mapping[str, Any], console: Console) -> None:
    """Render a report as tables, and in a sentence."""
    experiment = found["experiment"]
    for warning in found["warnings"]:
        console.print(f"[bold red]WARNING: {warning}.[/]")
    console.print(
        f"{experiment['name']}: {found['exposures']:,} answers, {sum(found['users'].values()):,} users, "
        f"and {found['watched']:,} who are still watched ({experiment['horizon_s']:,} s since their first answer)"
    )
    control, decisive = experiment["arms"][0]["name"], experiment["metric"]
    for arm, differences in found["differences"].items():
        columns = ("metric, a user", control, arm, "difference, 95 % at any time")
        table = Table(
            *(Column(name, overflow="fold") for name in columns),
            title=f"{arm} against {control}",
        )
        for metric, difference in differences.items():
            means = found["means"][metric]
            table.add_row(
                f"[bold]{metric}[/]" if metric == decisive else metric,
                *(f"{means[n]:.4f}" if n in means else "-" for n in (control, arm)),
                _interval(difference),
            )
        console.print(table)
        console.print(verdict(arm, differences[decisive]))


def verdict(arm: str, difference: Mapping[str, Any]) -> str:
    """Conclusion so far."""
    if not np.isfinite(difference["low"]):
        return f"Too few users yet: {FIRST} of each arm are needed."
    if difference["low"] > 0:
        return f"{arm} is better."
    if difference["high"] < 0:
        return f"{arm} is worse."
    return "No difference is found so far."


def _interval(difference: Mapping[str, Any]) -> str:
    if not difference["path"]:
        return "no users yet"
    estimate = f"{difference['estimate']:+.4f}"
    if not np.isfinite(difference["low"]):
        return f"{estimate} (too few users for an interval)"
    return f"{estimate} ({difference['low']:+.4f} to {difference['high']:+.4f})"


def over_time(axes: Axes, found: Mapping[str, Any]) -> None:
    """Draw the difference of each arm, by the metric that decides, user by user, where its interval is finite."""
    experiment = found["experiment"]
    control, metric = experiment["arms"][0]["name"], experiment["metric"]
    for arm, differences in found["differences"].items():
        path = {
            name: np.array(values, np.float64)
            for name, values in differences[metric]["path"].items()
        }
        if not path:
            continue
        there = np.isfinite(path["low"])
        users, low, high = path["users"], path["low"], path["high"]
        label = f"{arm} against {control}"
        (line,) = axes.plot(users[there], path["estimate"][there], label=label)
        axes.fill_between(
            users[there], low[there], high[there], color=line.get_color(), alpha=0.2
        )
    axes.axhline(0, color="#333333", linewidth=1)
    axes.set(
        title=f"{experiment['name']}: difference in {metric}, with its 95 % interval at any time",
        xlabel="users",
    )
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False)


def main(settings: Settings) -> None:
    """Raises TrialError, ServiceError, StepError."""
    parser = argparse.ArgumentParser(
        prog="python -m extras.trials.report",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--name",
        required=True,
        help="of the experiment, as `make experiments` lists it",
    )
    name = parser.parse_args().name
    with (
        closing(TrialStore(settings.redis, TIMEOUT_S)) as store,
        closing(RedisUsers(settings.redis)) as users,
    ):
        experiment = store.call(None).named(name)
        outcomes = outcomes_of(
            store.exposures(name),
            lambda users: store.events_of(experiment.dataset, users),
            dataset_of(experiment, users),
            experiment.horizon_s,
            time.time(),
            inf if experiment.stopped is None else experiment.stopped,
        )
        is_cut = store.is_cut(experiment.started)
    found = found_by(experiment, outcomes)
    if is_cut:
        found["warnings"].append(
            "the log of exposures is full and keeps the oldest no longer; users may be missing"
        )
    console = Console()
    show(found, console)
    folder = settings.service_dir("experiments")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / f"{name}.json", plain(found))
    with (
        mpl.rc_context(STYLE),
        written_in_place(folder / f"{name}.png", mode=0o644) as temporary,
    ):
        figure = Figure(figsize=(9, 4.5), layout="constrained")
        over_time(figure.subplots(), found)
        figure.savefig(temporary, dpi=110, format="png", metadata={"Software": None})
    console.print(f"written: {folder / name}.json, {name}.png")


if __name__ == "__main__":
    steps.run(main)
