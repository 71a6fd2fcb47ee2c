"""Start, stop, resize and report experiments; start, stop and show a canary; measure quality over time.

Run     make experiments
        make experiment-start name=ranker arms="control=live treatment=<release>"   (and share=, horizon=)
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
from functools import partial
from typing import Any

from rich.console import Console

from data_exchange_center import steps
from data_exchange_center.settings import Settings
from extras.client import Client
from extras.trials import changes, measure_quality
from extras.trials.report import report, table
from extras.trials.serving import CanaryReport
from extras.trials.state import Declaration, TrialError, Trials
from extras.trials.store import Change, TrialStore, published_releases
from online.web.guard import validated

LIVE = "live"  # in place of a release's id
SHARE = 0.05  # of the users, that a canary begins with
REQUESTS = 1_000  # that end one of its steps
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


# --- experiments


def start_experiment(settings: Settings, given: argparse.Namespace) -> Trials:
    """Raises BadRequestError, ServiceError."""
    live, published = published_releases(settings)
    declared = declaration(given, live)
    new = partial(changes.start_experiment, declared=declared, published=published)
    return changed(settings, new)


def declaration(arguments: argparse.Namespace, live: str | None) -> Declaration:
    """Declaration of an experiment from the command line. Raises BadRequestError."""
    given = {
        name: value
        for name, value in vars(arguments).items()
        if name in Declaration.model_fields and value is not None
    }
    given["arms"] = arms(arguments.arms, live)
    body = json.dumps(given).encode()
    return validated(body, Declaration.model_validate_json, "an experiment")


def arms(text: str, live: str | None) -> dict[str, dict[str, Any]]:
    """Parse ``control=live:3``: the live release, weight 3; and so on. Raises TrialError."""
    found: dict[str, dict[str, Any]] = {}
    for each in text.split():
        name, _, rest = each.partition("=")
        release, _, weight = rest.partition(":")
        if name in found:
            raise TrialError("arms", f"There are two arms {name!r}.")
        found[name] = {
            "release": live if release == LIVE else release,
            "weight": weight or 1,
        }
    return found


def show_experiments(found: Trials, console: Console) -> None:
    """Print a table of each, the newest last."""
    for each in found.experiments:
        until = "it runs" if each.stopped is None else f"until {_at(each.stopped)}"
        title = f"{each.name}, {each.share:.1%} of the users, from {_at(each.started)} UTC, {until}"
        rows = [{"arm": name, **arm.model_dump()} for name, arm in each.arms.items()]
        console.print(table(title, rows))


# --- canaries


def start_canary(
    settings: Settings, release: str, share: float = SHARE, requests: int = REQUESTS
) -> Trials:
    """Raises TrialError, ServiceError."""
    active, published = published_releases(settings)
    new = partial(
        changes.start_canary,
        release=release,
        active=active,
        published=published,
        share=share,
        requests=requests,
    )
    return changed(settings, new)


def show_canaries(settings: Settings, console: Console) -> None:
    """Print all canaries, the newest last, and how the one that runs does, as the server knows. Raises ServerError."""
    with Client.of(settings.server) as server:
        found = server.get("/ml/canary", CanaryReport)
    for each in reversed(found.ended):
        console.print(f"{_at(each.ended)} UTC: {each}")
    console.print(f"{found.running or 'No canary runs.'}")
    if found.running is not None and found.progress is not None:
        asked = found.progress.requests
        title = f"this step: {asked}, of {found.running.requests:,} requests; `certain` above `bound` rolls back"
        rows = [each.model_dump() for each in found.progress.guardrails]
        console.print(table(title, rows))


def _at(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(seconds))


def main(settings: Settings) -> None:
    """Raises BadRequestError, ServerError, ServiceError, StepError."""
    console, given = Console(), _parser().parse_args()
    match given.command:
        case "start":
            start_experiment(settings, given)
        case "stop":
            changed(settings, partial(changes.stop_experiment, name=given.name))
        case "share":
            change = partial(changes.reshare, name=given.name, share=given.share)
            changed(settings, change)
        case "report":
            report(settings, given.name, console)
        case "canary":
            share, requests = given.share or SHARE, given.requests
            begun = start_canary(settings, given.release, share, requests)
            console.print(f"{begun.canary}")
        case "canary-stop":
            console.print(f"{changed(settings, changes.stop_canary).ended[0]}")
        case "canaries":
            show_canaries(settings, console)
        case "quality":
            measured = measure_quality.measure(settings, time.time())
            measure_quality.show(*measured, console)
    if given.command in EXPERIMENTS:
        show_experiments(trials(settings), console)


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
    parser.add_argument("--requests", type=int, default=REQUESTS, help="of each step")
    parser.add_argument("--horizon-s", help="that an experiment watches a user")
    return parser


if __name__ == "__main__":
    steps.run(main)
