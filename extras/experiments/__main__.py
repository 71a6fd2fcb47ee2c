"""List, start, stop and resize experiments.

Run     make experiments
        make experiment-start name=ranker arms="control=live treatment=<release>"   (and share=, kind=, ...)
        make experiment-share name=ranker share=0.5
        make experiment-stop name=ranker
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Column, Table

from data_exchange_center import steps
from data_exchange_center.settings import Settings
from extras.experiments import declaration
from extras.experiments.declaration import (
    Declaration,
    ExperimentError,
    Experiments,
    ExperimentView,
)
from extras.experiments.store import ExperimentStore
from online.clients.redis import RedisUsers
from online.web.guard import validated

LIVE = "live"  # in place of a release's id


def declared(arguments: argparse.Namespace, live: str | None) -> Declaration:
    """Declaration of an experiment from the command line. Raises BadRequestError."""
    fields = {
        name: value
        for name in Declaration.model_fields
        if (value := getattr(arguments, name)) is not None
    }
    body = json.dumps({**fields, "arms": arms(arguments.arms, live)}).encode()
    return validated(body, Declaration.model_validate_json, "an experiment")


def arms(texts: Sequence[str], live: str | None) -> dict[str, dict[str, Any]]:
    """Parse ``control=live:3``: the live release, weight 3; a text may hold several. Raises ExperimentError."""
    found: dict[str, dict[str, Any]] = {}
    for text in " ".join(texts).split():
        name, equals, rest = text.partition("=")
        release, colon, weight = rest.partition(":")
        if not equals or (colon and not weight.isdecimal()) or name in found:
            wanted = "Write name=release or name=release:weight for each."
            raise ExperimentError(
                "arms", f"{text!r} is no arm, or there twice. {wanted}"
            )
        if release == LIVE and live is None:
            raise ExperimentError(
                "arms", "No release is live. Load one with `make sync`."
            )
        found[name] = {
            "release": live if release == LIVE else release,
            "weight": int(weight) if colon else 1,
        }
    return found


def overview(experiments: Experiments) -> Table:
    """Table of experiments, running ones first, a line an arm."""

    def at(seconds: int) -> str:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M}"

    columns = [
        Column(name, overflow="fold")
        for name in ("experiment", "arm", "release", "share", "from, to (UTC)")
    ]
    columns[2].no_wrap = True
    table = Table(*columns, title="experiments")
    for each in sorted(experiments, key=lambda each: (not each.runs, -each.started)):
        arms = [
            (arm.name, arm.release, f"{arm.share:.1%}")
            for arm in ExperimentView.of(each).arms
        ]
        until = at(each.stopped) if each.stopped is not None else "runs"
        of_arms = ("\n".join(texts) for texts in zip(*arms, strict=True))
        table.add_row(
            f"{each.name}\n{each.kind}", *of_arms, f"{at(each.started)}\n{until}"
        )
    return table


def main(settings: Settings) -> None:
    """Raises BadRequestError, ServiceError."""
    arguments = _parser().parse_args()
    with (
        closing(ExperimentStore(settings.redis)) as store,
        closing(RedisUsers(settings.redis)) as users,
    ):
        now = int(time.time())
        match arguments.command:
            case "start":
                live, published = declaration.published_releases(users)
                wanted = declared(arguments, live)
                there = store.update(
                    lambda before: declaration.started(before, wanted, published, now)
                )
            case "stop":
                there = store.update(
                    lambda before: declaration.stopped(before, arguments.name, now)
                )
            case "share":
                there = store.update(
                    lambda before: declaration.reshared(
                        before, arguments.name, arguments.share
                    )
                )
            case _:
                there = store.call(None)
    Console().print(overview(there))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m extras.experiments",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="those that run, and those that did")
    start = commands.add_parser("start", help="deal users to releases from now on")
    start.add_argument(
        "--arms",
        required=True,
        nargs="+",
        help="name=release or name=live, the control first; :weight",
    )
    for name in (name for name in Declaration.model_fields if name != "arms"):
        more = (
            ""
            if name == "name"
            else f"; default: {Declaration.model_fields[name].default}"
        )
        option = f"--{name.replace('_', '-')}"
        start.add_argument(
            option,
            required=name == "name",
            help=f"{Declaration.model_fields[name].description}{more}",
        )
    share = commands.add_parser(
        "share", help="change an experiment's share of the users"
    )
    share.add_argument("--name", required=True)
    share.add_argument("--share", type=float, required=True)
    stop = commands.add_parser(
        "stop", help="answer everybody from the live release again"
    )
    stop.add_argument("--name", required=True)
    return parser


if __name__ == "__main__":
    steps.run(main)
