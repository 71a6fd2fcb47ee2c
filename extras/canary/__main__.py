"""Start, stop and show a canary: a published release that a share of the users gets, and that proves itself or goes.

Run     make canary release=<published> share=0.05
        make canary status=1
        make canary stop=1
"""

from __future__ import annotations

import argparse
import time
import uuid
from contextlib import closing

from rich.console import Console
from rich.table import Table

from data_exchange_center import steps
from data_exchange_center.settings import Settings
from extras.canary import state
from extras.canary.decision import CanarySettings
from extras.canary.hook import HEARD_S
from extras.canary.report import CanaryReport, tables
from extras.canary.state import Canaries, CanaryError
from extras.canary.store import CanaryStore, overview
from extras.client import Client, ServerError
from extras.experiments.declaration import published_releases
from extras.experiments.store import ExperimentStore
from online.clients.redis import RedisUsers

SHARE = 0.05


def start(
    settings: Settings, release: str, share: float = SHARE, users: int | None = None
) -> Canaries:
    """Begin a canary. Raises CanaryError, ServiceError."""
    require_none_runs(settings)
    with (
        closing(CanaryStore(settings.redis)) as store,
        closing(RedisUsers(settings.redis)) as released,
    ):
        active, published = published_releases(released)
        known = store.known_users(active) if active else 0
        new_id, now, away_s = (
            uuid.uuid4().hex[:12],
            time.time(),
            CanarySettings.load().away_s + HEARD_S,
        )

        def begun(before: Canaries) -> Canaries:
            return state.started(
                before,
                release,
                active,
                published,
                share=share,
                users=users,
                known=known,
                now=now,
                away_s=away_s,
                new_id=new_id,
            )

        return store.update(begun)


def require_server(settings: Settings) -> None:
    """Raise ServerError unless a server runs that answers a canary's users. Whether it needs a key does not matter."""
    with Client.of(settings.server) as server:
        try:
            server.get("/ml/canary", CanaryReport)
        except ServerError as error:
            if error.status in (0, 404):
                raise


def require_none_runs(settings: Settings) -> None:
    """Raise CanaryError while a canary or an experiment runs, and ServiceError."""
    with (
        closing(CanaryStore(settings.redis)) as store,
        closing(ExperimentStore(settings.redis)) as experiments,
    ):
        if (running := store.canaries().running) is not None:
            raise CanaryError(
                "release",
                f"A canary runs already ({running}): `make canary stop=1` ends it.",
            )
        for each in experiments.call(None):
            if each.runs:
                stop = f"make experiment-stop name={each.name}"
                raise CanaryError(
                    "release",
                    f"Experiment {each.name!r} decides on users' releases: {stop}",
                )


def stop(settings: Settings) -> Canaries:
    """End the canary that runs. Raises CanaryError, ServiceError."""
    with closing(CanaryStore(settings.redis)) as store:
        if (running := store.canaries().running) is None:
            raise CanaryError("stop", "No canary runs.")
        return store.update(
            lambda before: state.ended(before, running, "stopped", now=time.time())
        )


def figures(settings: Settings) -> list[Table | str]:
    """Tables of how the canary that runs does, as the server knows; without a server, why there is none."""
    try:
        with Client.of(settings.server) as server:
            found = server.get("/ml/canary", CanaryReport)
    except ServerError as error:
        return [f"How the canary does is not known: {error}"]
    return [*tables(found.progress)] if found.progress else []


def main(settings: Settings) -> None:
    """Raises CanaryError, ServerError, ServiceError."""
    parser = argparse.ArgumentParser(
        prog="python -m extras.canary",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("status", help="the canary that runs, and those that did")
    commands.add_parser("stop", help="answer everybody from the active release again")
    begin = commands.add_parser(
        "start", help="answer a share of the users from a published release"
    )
    begin.add_argument("release", help="its id, as `make releases` lists it")
    begin.add_argument(
        "--share",
        type=float,
        default=SHARE,
        help="of the users, to begin with; default: %(default)s",
    )
    begin.add_argument(
        "--users",
        type=int,
        help=f"answered in each step; default: {state.USERS}, or as many as fit",
    )
    arguments = parser.parse_args()
    if arguments.command == "start":
        require_server(settings)
        start(settings, arguments.release, arguments.share, arguments.users)
    elif arguments.command == "stop":
        stop(settings)
    console = Console()
    console.print(
        overview(settings)
        or "There was no canary yet: make canary release=<published> share=0.05"
    )
    if arguments.command == "status":
        for each in figures(settings):
            console.print(each)


if __name__ == "__main__":
    steps.run(main)
