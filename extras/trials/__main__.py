"""List, start, stop and resize experiments; start, stop and show a canary.

Run     make experiments
        make experiment-start name=ranker arms="control=live treatment=<release>"   (and share=, metric=, ...)
        make experiment-share name=ranker share=0.5
        make experiment-stop name=ranker
        make canary release=<published> share=0.05
        make canary status=1
        make canary stop=1
"""

from __future__ import annotations

import argparse
import json
import time
import uuid
from collections.abc import Sequence
from contextlib import closing
from typing import Any

from rich.console import Console
from rich.table import Column, Table

from data_exchange_center import steps
from data_exchange_center.settings import Settings
from extras.client import Client, ServerError
from extras.trials import changes
from extras.trials.hook import ExperimentView
from extras.trials.progress import CanaryReport, GroupReport, Progress
from extras.trials.state import Declaration, TrialError, Trials
from extras.trials.store import Change, TrialStore, published_releases
from online.clients.redis import RedisUsers
from online.web.guard import validated

LIVE = "live"  # in place of a release's id
SHARE = 0.05  # of the users, that a canary begins with


def trials(settings: Settings) -> Trials:
    """Raises ServiceError."""
    with closing(TrialStore(settings.redis)) as store:
        return store.call(None)


def changed(settings: Settings, change: Change) -> Trials:
    """Change the trials. Raises what ``change`` raises, and ServiceError."""
    with closing(TrialStore(settings.redis)) as store:
        return store.update(change)


# --- experiments


def start_experiment(settings: Settings, arguments: argparse.Namespace) -> Trials:
    """Raises BadRequestError, ServiceError."""
    with closing(RedisUsers(settings.redis)) as users:
        live, published = published_releases(users)
    declared = declaration(arguments, live)
    now = int(time.time())
    return changed(
        settings,
        lambda before: changes.start_experiment(before, declared, published, now),
    )


def declaration(arguments: argparse.Namespace, live: str | None) -> Declaration:
    """Declaration of an experiment from the command line. Raises BadRequestError."""
    fields: dict[str, Any] = {"arms": arms(arguments.arms, live)}
    for name in Declaration.model_fields:
        value = getattr(arguments, name)
        if name != "arms" and value is not None:
            fields[name] = value
    body = json.dumps(fields).encode()
    return validated(body, Declaration.model_validate_json, "an experiment")


def arms(texts: Sequence[str], live: str | None) -> dict[str, dict[str, Any]]:
    """Parse ``control=live:3``: the live release, weight 3; a text may hold several. Raises TrialError."""
    found: dict[str, dict[str, Any]] = {}
    for text in " ".join(texts).split():
        name, equals, rest = text.partition("=")
        release, colon, weight = rest.partition(":")
        if not equals or (colon and not weight.isdecimal()) or name in found:
            raise TrialError(
                "arms",
                f"{text!r} is no arm, or there twice. Write name=release or name=release:weight for each.",
            )
        if release == LIVE:
            if live is None:
                raise TrialError(
                    "arms", "No release is live. Load one with `make sync`."
                )
            release = live
        found[name] = {"release": release, "weight": int(weight) if colon else 1}
    return found


def experiments_table(found: Trials) -> Table:
    """Experiments, running ones first, a line an arm."""
    columns = [
        Column("experiment", overflow="fold"),
        Column("arm", overflow="fold"),
        Column("release", no_wrap=True),
        Column("share", overflow="fold"),
        Column("from, to (UTC)", overflow="fold"),
    ]
    table = Table(*columns, title="experiments")
    newest_first = sorted(
        found.experiments, key=lambda each: (not each.runs, -each.started)
    )
    for each in newest_first:
        arms = ExperimentView.of(each).arms
        until = _at(each.stopped) if each.stopped is not None else "runs"
        table.add_row(
            each.name,
            "\n".join(arm.name for arm in arms),
            "\n".join(arm.release for arm in arms),
            "\n".join(f"{arm.share:.1%}" for arm in arms),
            f"{_at(each.started)}\n{until}",
        )
    return table


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
        now, new_id = time.time(), uuid.uuid4().hex[:12]
        return store.update(
            lambda before: changes.start_canary(
                before,
                release,
                active,
                published,
                share=share,
                users=users,
                known=known,
                now=now,
                new_id=new_id,
            )
        )


def stop_canary(settings: Settings) -> Trials:
    """End the canary that runs. Raises TrialError, ServiceError."""
    canary = trials(settings).canary
    if canary is None:
        raise TrialError("stop", "No canary runs.")
    now = time.time()
    return changed(
        settings,
        lambda before: changes.end_canary(before, canary, "stopped", now=now),
    )


def require_no_trial(settings: Settings) -> None:
    """Raise TrialError while a canary or an experiment runs, and ServiceError."""
    changes.require_no_trial(trials(settings))


def require_server(settings: Settings) -> None:
    """Raise ServerError unless a server runs that answers a canary's users. Whether it needs a key does not matter."""
    try:
        report(settings)
    except ServerError as error:
        if error.status in (0, 404):
            raise


def report(settings: Settings) -> CanaryReport:
    """How the canary does, as the server knows. Raises ServerError."""
    with Client.of(settings.server) as server:
        return server.get("/ml/canary", CanaryReport)


def canaries_table(found: Trials) -> Table:
    """Canaries, newest first."""
    columns = ("canary", "until (UTC)", "state")
    table = Table(*(Column(name, overflow="fold") for name in columns))
    if (running := found.canary) is not None:
        until = "waits" if running.waiting else "runs"
        table.add_row(running.release, until, f"{running}, against {running.active}")
    for each in found.ended:
        table.add_row(each.release, _at(each.ended), each.result)
    return table


def show_canaries(settings: Settings, console: Console) -> None:
    """Print all canaries, and how the one that runs does. Raises ServiceError."""
    found = trials(settings)
    if found.canary is None and not found.ended:
        console.print(
            "There was no canary yet: make canary release=<published> share=0.05"
        )
    else:
        console.print(canaries_table(found))
    if found.canary is None:
        return
    try:
        progress = report(settings).progress
    except ServerError as error:
        console.print(f"How the canary does is not known: {error}")
        return
    for table in progress_tables(progress) if progress else ():
        console.print(table)


def progress_tables(found: Progress) -> list[Table]:
    """The groups, the guardrails, and what comes next."""
    groups = Table("", "canary", "active", title="groups, in this step")
    for name in GroupReport.model_fields:
        values = (getattr(group, name) for group in found.groups)
        groups.add_row(name, *("-" if each is None else str(each) for each in values))
    groups.add_row("overlap", f"{_percent(found.overlap)} of {found.compared:,} lists")
    columns = ("guardrail", "counts", "value", "certain", "bound")
    bounds = Table(
        *(Column(name, overflow="fold") for name in columns),
        title="guardrails",
        caption="The release is rolled back once `certain`, an end of the value's interval, is beyond the bound.",
    )
    for each in found.guardrails:
        numbers = map(_percent, (each.value, each.certain, each.bound))
        bounds.add_row(each.name, each.counts, *numbers)
    coming = Table("next", "when (UTC)", title="next step")
    coming.add_row(found.next, _at(found.next_at) if found.next_at else "")
    return [groups, bounds, coming]


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.2%}"


def _at(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(seconds))


def main(settings: Settings) -> None:
    """Raises BadRequestError, ServerError, ServiceError."""
    arguments, console = _parser().parse_args(), Console()
    now = int(time.time())
    match arguments.command:
        case "canary":
            require_server(settings)
            start_canary(settings, arguments.release, arguments.share, arguments.users)
            show_canaries(settings, console)
        case "canary-stop":
            stop_canary(settings)
            show_canaries(settings, console)
        case "canaries":
            show_canaries(settings, console)
        case "start":
            console.print(experiments_table(start_experiment(settings, arguments)))
        case "stop":
            found = changed(
                settings,
                lambda before: changes.stop_experiment(before, arguments.name, now),
            )
            console.print(experiments_table(found))
        case "share":
            found = changed(
                settings,
                lambda before: changes.reshare(before, arguments.name, arguments.share),
            )
            console.print(experiments_table(found))
        case _:
            console.print(experiments_table(trials(settings)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m extras.trials",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="the experiments that run, and those that did")
    start = commands.add_parser("start", help="start an experiment")
    start.add_argument("--arms", required=True, nargs="+", help="name=release:weight")
    start.add_argument("--name", required=True, help="of letters, digits, - and _")
    for name in ("share", "metric", "horizon_s", "planned_users"):
        field = Declaration.model_fields[name]
        option = f"--{name.replace('_', '-')}"
        start.add_argument(
            option, help=f"{field.description}; default: {field.default}"
        )
    share = commands.add_parser("share", help="change an experiment's share of users")
    share.add_argument("--name", required=True)
    share.add_argument("--share", type=float, required=True)
    stop = commands.add_parser("stop", help="stop an experiment")
    stop.add_argument("--name", required=True)
    commands.add_parser("canaries", help="the canary that runs, and those that did")
    commands.add_parser("canary-stop", help="end the canary that runs")
    canary = commands.add_parser("canary", help="start a canary of a published release")
    canary.add_argument("release", help="its id, as `make releases` lists it")
    canary.add_argument("--share", type=float, default=SHARE, help="of the users")
    canary.add_argument("--users", type=int, help="answered in each step")
    return parser


if __name__ == "__main__":
    steps.run(main)
