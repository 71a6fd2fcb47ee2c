"""Start, stop, resize and report experiments; start, stop and show a canary; measure quality over time.

Run     make experiments
        make experiment-start name=ranker arms="control=live treatment=<release>"   (and share=, horizon=, users=)
        make experiment-share name=ranker share=0.5
        make experiment-stop name=ranker
        make experiment name=ranker
        make canary release=<published> share=0.05
        make canary status=1
        make canary stop=1
        make quality
"""

from __future__ import annotations

import argparse
import json
import time
from contextlib import closing
from typing import Any

from rich.console import Console
from rich.table import Table

from data_exchange_center import steps
from data_exchange_center.settings import Settings
from extras.client import Client, ServerError
from extras.trials import changes, measure_quality
from extras.trials.hook import ExperimentView
from extras.trials.progress import CanaryReport, GroupReport, Progress
from extras.trials.quality import QualitySettings
from extras.trials.report import report, table
from extras.trials.state import Declaration, TrialError, Trials
from extras.trials.store import Change, TrialStore, published_releases
from online.clients.redis import RedisUsers
from online.web.guard import validated

LIVE = "live"  # in place of a release's id
SHARE = 0.05  # of the users, that a canary begins with
EXPERIMENTS = ("list", "start", "stop", "share")
CANARIES = ("canaries", "canary", "canary-stop")


def trials(settings: Settings) -> Trials:
    """Raises ServiceError."""
    with closing(TrialStore(settings.redis)) as store:
        return store.call(None)


def changed(settings: Settings, change: Change) -> Trials:
    """Change the trials. Raises what ``change`` raises, and ServiceError."""
    with closing(TrialStore(settings.redis)) as store:
        return store.update(change)


def require_no_trial(settings: Settings) -> None:
    """Raise TrialError while a canary or an experiment runs, and ServiceError."""
    changes.require_no_trial(trials(settings))


# --- experiments


def start_experiment(settings: Settings, arguments: argparse.Namespace) -> Trials:
    """Raises BadRequestError, ServiceError."""
    with closing(RedisUsers(settings.redis)) as users:
        live, published = published_releases(users)
    declared = declaration(arguments, live)
    return changed(
        settings, lambda before: changes.start_experiment(before, declared, published)
    )


def declaration(arguments: argparse.Namespace, live: str | None) -> Declaration:
    """Declaration of an experiment from the command line. Raises BadRequestError."""
    fields = {name: getattr(arguments, name) for name in Declaration.model_fields}
    fields["arms"] = arms(arguments.arms, live)
    given = {name: value for name, value in fields.items() if value is not None}
    body = json.dumps(given).encode()
    return validated(body, Declaration.model_validate_json, "an experiment")


def arms(text: str, live: str | None) -> dict[str, dict[str, Any]]:
    """Parse ``control=live:3``: the live release, weight 3; and so on. Raises TrialError."""
    found: dict[str, dict[str, Any]] = {}
    for each in text.split():
        name, equals, rest = each.partition("=")
        release, colon, weight = rest.partition(":")
        if not equals or (colon and not weight.isdecimal()) or name in found:
            raise TrialError(
                "arms",
                f"{each!r} is no arm, or there twice. Write name=release or name=release:weight for each.",
            )
        if release == LIVE:
            if live is None:
                raise TrialError(
                    "arms", "No release is live. Load one with `make sync`."
                )
            release = live
        found[name] = {"release": release, "weight": int(weight or 1)}
    return found


def experiments_table(found: Trials) -> Table:
    """Experiments, running ones first, a line an arm."""
    newest_first = sorted(
        found.experiments, key=lambda each: (not each.runs, -each.started)
    )
    rows = []
    for each in newest_first:
        until = _at(each.stopped) if each.stopped is not None else "runs"
        for arm in ExperimentView.of(each).arms:
            share = f"{arm.share:.1%}"
            rows.append(
                (each.name, arm.name, arm.release, share, _at(each.started), until)
            )
    columns = ("experiment", "arm", "release", "share", "from (UTC)", "to (UTC)")
    return table("experiments", columns, rows)


# --- canaries


def start_canary(
    settings: Settings, release: str, share: float = SHARE, users: int | None = None
) -> Trials:
    """Raises TrialError, ServiceError."""
    with (
        closing(TrialStore(settings.redis)) as store,
        closing(RedisUsers(settings.redis)) as released,
    ):
        active, published = published_releases(released)
        known = store.known_users(active) if active else 0
        return store.update(
            lambda before: changes.start_canary(
                before,
                release,
                active,
                published,
                share=share,
                users=users,
                known=known,
            )
        )


def canary_report(settings: Settings) -> CanaryReport:
    """How the canary does, as the server knows. Raises ServerError."""
    with Client.of(settings.server) as server:
        return server.get("/ml/canary", CanaryReport)


def require_server(settings: Settings) -> None:
    """Raise ServerError unless a server runs that answers a canary's users. Whether it needs a key does not matter."""
    try:
        canary_report(settings)
    except ServerError as error:
        if error.status in (0, 404):
            raise


def show_canaries(settings: Settings, console: Console) -> None:
    """Print all canaries, the newest last, and how the one that runs does. Raises ServiceError."""
    found = trials(settings)
    for each in reversed(found.ended):
        console.print(f"{_at(each.ended)} UTC: {each}")
    if found.canary is None:
        console.print(
            "No canary runs: make canary release=<published> share=0.05 begins one."
        )
        return
    console.print(f"{found.canary}, against {found.canary.active}")
    try:
        progress = canary_report(settings).progress
    except ServerError as error:
        console.print(f"How the canary does is not known: {error}")
        return
    if progress is not None:
        show_progress(progress, console)


def show_progress(found: Progress, console: Console) -> None:
    """Print the groups, the guardrails, and what comes next."""
    values = (
        (name, *(getattr(group, name) for group in found.groups))
        for name in GroupReport.model_fields
    )
    console.print(table("groups, in this step", ("", "canary", "active"), values))
    console.print(f"overlap: {_percent(found.overlap)} of {found.compared:,} lists")
    guardrails = (
        (each.name, each.counts, *map(_percent, (each.value, each.certain, each.bound)))
        for each in found.guardrails
    )
    columns = ("guardrail", "counts", "value", "certain", "bound")
    console.print(table("guardrails", columns, guardrails))
    console.print(
        "The release is rolled back once `certain`, an end of the value's interval, is beyond the bound."
    )
    at = f" (about {_at(found.next_at)} UTC)" if found.next_at else ""
    console.print(f"next: {found.next}{at}")


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.2%}"


def _at(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(seconds))


def main(settings: Settings) -> None:
    """Raises BadRequestError, ServerError, ServiceError, StepError."""
    parser, console = _parser(), Console()
    given = parser.parse_args()
    match given.command:
        case "start":
            start_experiment(settings, given)
        case "stop":
            changed(
                settings, lambda before: changes.stop_experiment(before, given.name)
            )
        case "share":
            changed(
                settings,
                lambda before: changes.reshare(before, given.name, given.share),
            )
        case "report":
            report(settings, given.name, console)
        case "canary":
            require_server(settings)
            share = SHARE if given.share is None else given.share
            start_canary(settings, given.release, share, given.users)
        case "canary-stop":
            changed(settings, changes.stop_canary)
        case "quality":
            if given.window < 1:
                parser.error("--window must be at least 1 second")
            measured = measure_quality.measure(settings, given.window, time.time())
            measure_quality.show(*measured, console)
    if given.command in EXPERIMENTS:
        console.print(experiments_table(trials(settings)))
    elif given.command in CANARIES:
        show_canaries(settings, console)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m extras.trials",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "command", choices=(*EXPERIMENTS, *CANARIES, "report", "quality")
    )
    parser.add_argument("--name", help="of an experiment: letters, digits, - and _")
    parser.add_argument("--arms", default="", help="name=release:weight, of each arm")
    parser.add_argument("--release", help="of a canary: its id")
    parser.add_argument("--share", type=float, help="of the users")
    parser.add_argument("--users", type=int, help="answered in each step of a canary")
    parser.add_argument("--horizon-s", help="that an experiment watches a user")
    parser.add_argument("--planned-users", help="where an interval is narrowest")
    window_s = QualitySettings.load().window_s
    parser.add_argument("--window", type=int, default=window_s, help="in seconds")
    return parser


if __name__ == "__main__":
    steps.run(main)
