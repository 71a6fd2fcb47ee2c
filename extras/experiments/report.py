"""What an experiment's outcomes say: users and means of each arm, differences, and what is wrong, if anything is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from rich.console import Console
from rich.table import Table

from extras.experiments.always_valid import ALPHA, FIRST, Path, difference_path, mean_path, sample_ratio_p_value
from extras.experiments.declaration import Experiment, told
from extras.experiments.outcomes import BOTH, Outcomes

SPLIT_METRICS: Final = ("hit", "hits", "gain")
SUSPICIOUS: Final = 0.01  # p-value of the arms' sizes
OFTEN: Final = 0.01  # share of the answers that were not as dealt
_POINTS: Final = 200  # of a path that is kept


def found_by(experiment: Experiment, outcomes: Outcomes) -> dict[str, Any]:
    """The report: users, means, differences with their intervals, and warnings."""
    arms = [BOTH] if experiment.kind == "interleaved" else list(experiment.arms)
    users = {arm or "both": int((outcomes.arms == arm).sum()) for arm in arms}
    found: dict[str, Any] = {
        "experiment": told(experiment),
        "exposures": outcomes.exposures,
        "users": users,
        "watched": sum(outcomes.watched.values()),
        "warnings": _warnings(outcomes),
    }
    if experiment.kind == "interleaved":
        return found | _preferences(experiment, outcomes)
    everybody = np.array([users[arm] + outcomes.watched.get(arm, 0) for arm in arms])
    weights = np.array([experiment.arms[arm].weight for arm in arms], np.float64)
    p_value = sample_ratio_p_value(everybody, weights)
    if p_value < SUSPICIOUS:
        found["warnings"].append(
            f"the arms have {', '.join(f'{n:,}' for n in everybody)} users, which does not fit their weights "
            f"(p = {p_value:.2g}): something loses users of an arm, and no difference below is to be trusted"
        )
    means = {
        metric: {arm: float(np.mean(values[outcomes.arms == arm])) for arm in arms if users[arm]}
        for metric, values in outcomes.values.items()
        if metric in SPLIT_METRICS
    }
    return found | {"sample ratio p": p_value, "means": means, "differences": _differences(experiment, outcomes)}


def _warnings(outcomes: Outcomes) -> list[str]:
    warnings = []
    if outcomes.not_as_dealt > OFTEN * outcomes.exposures:
        warnings.append(
            f"{outcomes.not_as_dealt:,} of {outcomes.exposures:,} answers were not as dealt: an arm's release could "
            "not answer. They count for the arm all the same, so that the difference seems smaller than it is"
        )
    if outcomes.in_several:
        warnings.append(f"{outcomes.in_several:,} users were in several arms, and are left out")
    return warnings


def _preferences(experiment: Experiment, outcomes: Outcomes) -> dict[str, Any]:
    preference = outcomes.values["preference"]
    wins = {name: int((sign * preference > 0).sum()) for sign, name in zip((-1, 1), experiment.arms, strict=True)}
    path = mean_path(preference, experiment.planned_users)
    return {"preference": _as_json(path), "wins": {**wins, "neither": int((preference == 0).sum())}}


def _differences(experiment: Experiment, outcomes: Outcomes) -> dict[str, dict[str, Any]]:
    """Arm -> metric -> against the control. Several arms share the error that one would have (Bonferroni)."""
    others = [arm for arm in experiment.arms if arm != experiment.control]
    found: dict[str, dict[str, Any]] = {}
    for arm in others:
        two = np.isin(outcomes.arms, (experiment.control, arm))
        treated = outcomes.arms[two] == arm
        found[arm] = {
            metric: _as_json(
                difference_path(outcomes.values[metric][two], treated, experiment.planned_users, ALPHA / len(others))
            )
            for metric in SPLIT_METRICS
        }
    return found


def _as_json(path: Path) -> dict[str, Any]:
    """The interval by now, and how it came to be."""
    estimate, low, high = path.last
    some = np.unique(np.linspace(0, len(path.users) - 1, min(_POINTS, len(path.users))).astype(int))
    over = {name: getattr(path, name)[some].tolist() for name in ("users", "estimate", "low", "high")}
    return {"estimate": estimate, "low": low, "high": high, "path": over if len(path.users) else {}}


def show(found: Mapping[str, Any], console: Console) -> None:
    """As tables, and in a sentence."""
    experiment = found["experiment"]
    for warning in found["warnings"]:
        console.print(f"[bold red]WARNING: {warning}.[/]")
    console.print(
        f"{experiment['name']}: {found['exposures']:,} answers, {sum(found['users'].values()):,} users, "
        f"and {found['watched']:,} who are still watched ({experiment['horizon_s']:,} s since their first answer)"
    )
    decisive = experiment["metric"]
    if experiment["kind"] == "interleaved":
        first, second = (arm["name"] for arm in experiment["arms"])
        table = Table("preferred", "users", title=f"{second} against {first}, interleaved")
        for name, users in found["wins"].items():
            table.add_row(name, f"{users:,}")
        console.print(table)
        concluded = verdict(second, found["preference"], f"{2 * FIRST} in all")
        console.print(f"preference for {second}: {_interval(found['preference'])}. {concluded}")
        return
    for arm, metrics in found["differences"].items():
        control = experiment["arms"][0]["name"]
        table = Table("metric, a user", control, arm, "difference, 95 % at any time", title=f"{arm} against {control}")
        for metric, difference in metrics.items():
            means = found["means"][metric]
            shown = (f"{means[each]:.4f}" if each in means else "-" for each in (control, arm))
            table.add_row(f"[bold]{metric}[/]" if metric == decisive else metric, *shown, _interval(difference))
        console.print(table)
        console.print(verdict(arm, metrics[decisive]))


def verdict(arm: str, difference: Mapping[str, Any], needed: str = f"{FIRST} of each arm") -> str:
    """What may be concluded by now."""
    if not np.isfinite(difference["low"]):
        return f"Too few users yet: {needed} are needed."
    if difference["low"] > 0:
        return f"{arm} is better."
    if difference["high"] < 0:
        return f"{arm} is worse."
    return "No difference is found so far."


def _interval(difference: Mapping[str, Any]) -> str:
    return f"{difference['estimate']:+.4f} ({difference['low']:+.4f} to {difference['high']:+.4f})"
