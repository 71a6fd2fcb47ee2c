"""Break a service's calls in a running server, for a while; or end all faults.

The server must have been started with RECSYS_SERVER__FAULTS=on.

Run     make fault service=triton kind=down (share=0.5 seconds=60), make fault random=1, make fault off=1
"""

from __future__ import annotations

import argparse
import json
import random
import time
from contextlib import closing, suppress
from typing import Final

from data_exchange_center import steps
from data_exchange_center.errors import RecsysError
from data_exchange_center.settings import Settings
from extras.client import Client
from extras.faults.declaration import KINDS, OFF, SERVICES, Fault, FaultStore
from extras.faults.hook import FaultsView
from online.web.guard import validated

PAUSE_S: Final = (3, 10)  # of a random schedule, between two faults
_EXAMPLE: Final = "for example service=triton kind=down"


class FaultError(RecsysError):
    """No fault can be switched on."""


def require_allowed(settings: Settings) -> None:
    """Raise FaultError unless the running server allows faults, ServerError if none answers."""
    with Client.of(settings.server) as server:
        if not server.get("/ml/faults", FaultsView).allowed:
            raise FaultError(OFF)


def declared(arguments: argparse.Namespace) -> Fault:
    """The fault that the command line names. Raises BadRequestError."""
    given = {
        name: value
        for name in Fault.model_fields
        if (value := getattr(arguments, name)) is not None
    }
    return validated(
        json.dumps(given).encode(), Fault.model_validate_json, f"a fault, {_EXAMPLE}"
    )


def drawn(chance: random.Random) -> Fault:
    """A fault of a random schedule."""
    return Fault(
        service=chance.choice(SERVICES),
        kind=chance.choice(KINDS),
        share=round(chance.uniform(0.3, 1), 2),
        seconds=chance.randint(5, 20),
    )


def run_random(store: FaultStore, seconds: float, chance: random.Random) -> None:
    """Switch random faults on, one after the other, for so many seconds, then end all. Raises ServiceError."""
    until = time.monotonic() + seconds
    try:
        while time.monotonic() < until:
            fault = drawn(chance)
            store.begin(fault)
            print(  # noqa: T201
                f"{fault.service}: {fault.kind}, share {fault.share:g}, for {fault.seconds} s",
                flush=True,
            )
            time.sleep(
                max(
                    0.0,
                    min(
                        fault.seconds + chance.uniform(*PAUSE_S),
                        until - time.monotonic(),
                    ),
                )
            )
    finally:
        store.end()


def main(settings: Settings) -> None:
    """Raises BadRequestError, FaultError, ServerError, ServiceError."""
    parser = _parser()
    arguments = parser.parse_args()
    if (arguments.off or arguments.random) and (ignored := _ignored(arguments)):
        parser.error(f"--off and --random take no --{', --'.join(ignored)}")
    if not arguments.off:  # ending one is possible without a server, too
        require_allowed(settings)
    with closing(FaultStore(settings.redis)) as store:
        if arguments.off:
            store.end()
            print("All faults are off.")  # noqa: T201
        elif arguments.random:
            with suppress(KeyboardInterrupt):
                run_random(store, arguments.seconds or float("inf"), random.Random())  # noqa: S311 (no secret)
        else:
            fault = declared(arguments)
            store.begin(fault)
            print(  # noqa: T201
                f"{fault.service} is {fault.kind} for {fault.seconds} s, in a share of {fault.share:g} of its calls."
            )


def _ignored(arguments: argparse.Namespace) -> list[str]:
    """Options that a command without a declared fault does not take."""
    allowed = {"seconds"} if arguments.random else set()
    return [
        name.replace("_", "-")
        for name in Fault.model_fields
        if name not in allowed and getattr(arguments, name) is not None
    ]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m extras.faults",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for name, kind in (
        ("service", str),
        ("kind", str),
        ("share", float),
        ("seconds", int),
        ("wait_ms", int),
    ):
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            type=kind,
            help=Fault.model_fields[name].description,
        )
    parser.add_argument("--off", action="store_true", help="end all faults")
    parser.add_argument(
        "--random",
        action="store_true",
        help="random faults until Ctrl-C, or for --seconds",
    )
    return parser


if __name__ == "__main__":
    steps.run(main)
