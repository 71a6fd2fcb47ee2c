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
from extras.experiments.always_valid import (
    ALPHA,
    Path,
    difference_path,
    mean_path,
    sample_ratio_p_value,
)
from extras.experiments.always_valid import FIRST as FEWEST
from extras.experiments.declaration import Experiment, ExperimentView, named
from extras.experiments.outcomes import BOTH, Outcomes, outcomes_of
from extras.experiments.store import ExperimentStore
from extras.published import readable
from offline.evaluation.metrics import plain
from offline_to_online.stores.base import TIMEOUT_S
from online.clients.redis import RedisUsers

SPLIT_METRICS: Final = ("hit", "hits", "gain")
SUSPICIOUS: Final = 0.01  # p-value of the arms' sizes
OFTEN: Final = 0.01  # share of the answers that are not what the experiment requested
_POINTS: Final = 200  # of a path that is kept
SHADES: Final = (
    "#1f4e8c",
    "#d1622b",
    "#3a8f5c",
    "#7a4fa3",
    "#9aa3ad",
    "#b8860b",
    "#444444",
)
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


# ---------------------------------------------------------------------------------------------------------- report


def found_by(experiment: Experiment, outcomes: Outcomes) -> dict[str, Any]:
    """The report: users, means, differences with their intervals, and warnings."""
    split = experiment.kind == "split"
    arms = list(experiment.arms) if split else [BOTH]
    users = {arm or "both": int((outcomes.arms == arm).sum()) for arm in arms}
    warnings: list[str] = []
    found: dict[str, Any] = {
        "experiment": ExperimentView.of(experiment).model_dump(),
        "exposures": outcomes.exposures,
        "users": users,
        "watched": sum(outcomes.watched.values()),
        "warnings": warnings,
    }
    if outcomes.not_as_dealt > OFTEN * outcomes.exposures:
        warnings.append(
            f"{outcomes.not_as_dealt:,} of {outcomes.exposures:,} answers are not what the experiment requested: an "
            "arm's release could not answer. They still count for the arm, so the difference looks smaller than it is"
        )
    if outcomes.in_several:
        warnings.append(
            f"{outcomes.in_several:,} users were in several arms, and are left out"
        )

    if not split:
        preference = outcomes.values["preference"]
        first, second = experiment.arms
        wins = {
            first: (preference < 0).sum(),
            second: (preference > 0).sum(),
            "neither": (preference == 0).sum(),
        }
        path = mean_path(preference, experiment.planned_users)
        return found | {
            "preference": _as_json(path),
            "wins": {name: int(count) for name, count in wins.items()},
        }

    everybody = np.array([users[arm] + outcomes.watched.get(arm, 0) for arm in arms])
    weights = np.array([experiment.arms[arm].weight for arm in arms], np.float64)
    p_value = sample_ratio_p_value(everybody, weights)
    if p_value < SUSPICIOUS:
        warnings.append(
            f"the arms have {', '.join(f'{n:,}' for n in everybody)} users, which does not fit their weights "
            f"(p = {p_value:.2g}): users of an arm are being lost, so do not trust the differences below"
        )
    values = {metric: outcomes.values[metric] for metric in SPLIT_METRICS}
    means = {
        metric: {
            arm: float(np.mean(of_users[outcomes.arms == arm]))
            for arm in arms
            if users[arm]
        }
        for metric, of_users in values.items()
    }
    # each arm against the control; alpha is divided by their number (Bonferroni)
    differences: dict[str, dict[str, Any]] = {}
    for arm in arms[1:]:
        two = np.isin(outcomes.arms, (experiment.control, arm))
        treated, alpha = outcomes.arms[two] == arm, ALPHA / (len(arms) - 1)
        differences[arm] = {
            metric: _as_json(
                difference_path(of_users[two], treated, experiment.planned_users, alpha)
            )
            for metric, of_users in values.items()
        }
    return found | {
        "sample ratio p": p_value,
        "means": means,
        "differences": differences,
    }


def _as_json(path: Path) -> dict[str, Any]:
    """The current interval, and its path over users."""
    if not (n := len(path["users"])):
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
    control, *others = (arm["name"] for arm in experiment["arms"])
    if experiment["kind"] == "interleaved":
        (second,) = others
        table = _table(
            "preferred", "users", title=f"{second} against {control}, interleaved"
        )
        for name, users in found["wins"].items():
            table.add_row(name, f"{users:,}")
        console.print(table)
        concluded = verdict(second, found["preference"], f"{2 * FEWEST} in all")
        console.print(
            f"preference for {second}: {_interval(found['preference'])}. {concluded}"
        )
        return
    decisive = experiment["metric"]
    for arm, metrics in found["differences"].items():
        table = _table(
            "metric, a user",
            control,
            arm,
            "difference, 95 % at any time",
            title=f"{arm} against {control}",
        )
        for metric, difference in metrics.items():
            means = found["means"][metric]
            shown = (
                f"{means[each]:.4f}" if each in means else "-"
                for each in (control, arm)
            )
            table.add_row(
                f"[bold]{metric}[/]" if metric == decisive else metric,
                *shown,
                _interval(difference),
            )
        console.print(table)
        console.print(verdict(arm, metrics[decisive]))


def _table(*columns: str, title: str) -> Table:
    """A table that a narrow terminal, or none, folds instead of cutting."""
    return Table(*(Column(name, overflow="fold") for name in columns), title=title)


def verdict(
    arm: str, difference: Mapping[str, Any], needed: str = f"{FEWEST} of each arm"
) -> str:
    """Conclusion so far."""
    if not np.isfinite(difference["low"]):
        return f"Too few users yet: {needed} are needed."
    if difference["low"] > 0:
        return f"{arm} is better."
    if difference["high"] < 0:
        return f"{arm} is worse."
    return "No difference is found so far."


def _interval(difference: Mapping[str, Any]) -> str:
    if not difference["path"]:
        return "no users yet"
    if not np.isfinite(difference["low"]):
        return f"{difference['estimate']:+.4f} (too few users for an interval)"
    return f"{difference['estimate']:+.4f} ({difference['low']:+.4f} to {difference['high']:+.4f})"


def over_time(axes: Axes, found: Mapping[str, Any]) -> None:
    """Draw the difference of each arm, by the metric that decides, user by user, where its interval is finite."""
    experiment = found["experiment"]
    control, *others = (arm["name"] for arm in experiment["arms"])
    if experiment["kind"] == "interleaved":
        paths, what = {others[0]: found["preference"]}, "preference"
    else:
        paths = {arm: found["differences"][arm][experiment["metric"]] for arm in others}
        what = f"difference in {experiment['metric']}"
    for (arm, difference), shade in zip(paths.items(), SHADES, strict=False):
        if path := difference["path"]:
            columns = {
                name: np.array(path[name], np.float64)
                for name in ("users", "estimate", "low", "high")
            }
            there = np.isfinite(columns["low"])
            users, estimate, low, high = (column[there] for column in columns.values())
            axes.plot(users, estimate, color=shade, label=f"{arm} against {control}")
            axes.fill_between(users, low, high, color=shade, alpha=0.2, linewidth=0)
    axes.axhline(0, color="#333333", linewidth=1)
    axes.set(
        title=f"{experiment['name']}: {what}, with its 95 % interval at any time",
        xlabel="users",
    )
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False)


def main(settings: Settings) -> None:
    """Raises ExperimentError, ServiceError, StepError."""
    parser = argparse.ArgumentParser(
        prog="python -m extras.experiments.report",
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
        closing(ExperimentStore(settings.redis, TIMEOUT_S)) as store,
        closing(RedisUsers(settings.redis)) as users,
    ):
        experiment = named(store.call(None), name)
        dataset, is_cut = (
            dataset_of(experiment, users),
            store.is_cut(experiment.started),
        )
        outcomes = outcomes_of(store, experiment, dataset, time.time())
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
