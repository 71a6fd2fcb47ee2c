"""Experiments: those that there are, starting one, stopping it, changing its share of the users.

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
from typing import Any, get_args

from rich.console import Console
from rich.table import Table

from data_exchange_center import steps
from data_exchange_center.settings import Settings
from extras.experiments.declaration import (
    EXPECTED,
    Declaration,
    ExperimentError,
    Experiments,
    ExperimentView,
    Kept,
    Kind,
    Metric,
    reshared,
    started,
    stopped,
)
from extras.experiments.store import ExperimentStore
from online.clients.redis import RedisUsers
from online.web.guard import validated

LIVE = "live"  # in place of a release's id


def declared(arguments: argparse.Namespace, kept: Kept) -> Declaration:
    """Declaration of an experiment from the command line. Raises BadRequestError."""
    given = ("name", "kind", "share", "metric", "horizon_s", "planned_users")
    fields = {name: value for name in given if (value := getattr(arguments, name)) is not None}
    body = json.dumps({**fields, "arms": arms(arguments.arms, kept)}).encode()
    return validated(body, Declaration.model_validate_json, EXPECTED, "")


def arms(texts: Sequence[str], kept: Kept) -> dict[str, dict[str, Any]]:
    """``control=live:3`` -> the release that is live, with weight 3; a text may be several. Raises ExperimentError."""
    found: dict[str, dict[str, Any]] = {}
    for text in " ".join(texts).split():
        name, equals, rest = text.partition("=")
        release, colon, weight = rest.partition(":")
        if not equals or (colon and not weight.isdecimal()) or name in found:
            raise ExperimentError(
                "arms", f"{text!r} is no arm, or there twice", "Write name=release or name=release:weight for each."
            )
        if release == LIVE and kept.live is None:
            raise ExperimentError("arms", "No release is live", "Load one with `make sync`.")
        found[name] = {"release": kept.live if release == LIVE else release, "weight": int(weight) if colon else 1}
    return found


def overview(experiments: Experiments) -> Table:
    """Table of experiments, running ones first, a line an arm."""
    table = Table("experiment", "arm", "release", "share", "from, to (UTC)", title="experiments")
    for column in table.columns:
        column.overflow = "fold"
    table.columns[2].no_wrap = True
    for each in sorted(experiments, key=lambda each: (not each.runs, -each.started)):
        arms = ExperimentView.of(each).arms
        columns = ("\n".join(texts) for texts in ((arm.name for arm in arms), (arm.release for arm in arms)))
        shares = "\n".join(f"{arm.share:.1%}" for arm in arms)
        until = _at(each.stopped) if each.stopped is not None else "runs"
        table.add_row(f"{each.name}\n{each.kind}", *columns, shares, f"{_at(each.started)}\n{until}")
    return table


def _at(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M}"


def main(settings: Settings) -> None:
    """Raises BadRequestError, ServiceError."""
    arguments = _parser().parse_args()
    with closing(ExperimentStore(settings.redis)) as store, closing(RedisUsers(settings.redis)) as users:
        now = int(time.time())
        if arguments.command == "start":
            kept = Kept.by(users)
            wanted = declared(arguments, kept)
            there = store.update(lambda before: started(before, wanted, kept, now))
        elif arguments.command == "stop":
            there = store.update(lambda before: stopped(before, arguments.name, now))
        elif arguments.command == "share":
            there = store.update(lambda before: reshared(before, arguments.name, arguments.share))
        else:
            there = store.call(None)
    Console().print(overview(there))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m extras.experiments", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="those that run, and those that did")
    start = commands.add_parser("start", help="deal users to releases from now on")
    start.add_argument("--name", required=True, help="of the experiment; never used before")
    start.add_argument("--arms", required=True, nargs="+", help="name=release or name=live, the control first; :weight")
    start.add_argument("--kind", choices=get_args(Kind), help="default: split")
    start.add_argument("--share", type=float, help="of all users; default: 1")
    start.add_argument("--metric", choices=get_args(Metric), help="by which it is decided; default: gain")
    start.add_argument("--horizon-s", type=int, help="how long a user is watched, in seconds; default: a day")
    start.add_argument("--planned-users", type=int, help="for how many the interval is narrowest; default: 1000")
    share = commands.add_parser("share", help="change an experiment's share of the users")
    share.add_argument("--name", required=True)
    share.add_argument("--share", type=float, required=True)
    stop = commands.add_parser("stop", help="answer everybody from the live release again")
    stop.add_argument("--name", required=True)
    return parser


if __name__ == "__main__":
    steps.run(main)
