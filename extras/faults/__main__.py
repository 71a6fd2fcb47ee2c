"""Break a service's calls in a running server, for a while; or end all faults.

The server must have been started with RECSYS_SERVER__FAULTS=on.

Run     make fault service=triton kind=down (share=0.5 seconds=60), make fault off=1
"""

from __future__ import annotations

import argparse
import json
from contextlib import closing
from typing import Final

from data_exchange_center import steps
from data_exchange_center.errors import RecsysError
from data_exchange_center.settings import Settings
from extras.client import Client
from extras.faults.declaration import OFF, Fault, FaultStore
from extras.faults.hook import FaultsView
from online.web.guard import validated

_EXAMPLE: Final = "for example service=triton kind=down"


class FaultError(RecsysError):
    """No fault can be switched on."""


def main(settings: Settings) -> None:
    """Raises BadRequestError, FaultError, ServerError, ServiceError."""
    parser = argparse.ArgumentParser(
        prog="python -m extras.faults",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    numbers = {"share": float, "seconds": int, "wait_ms": int}
    for name, field in Fault.model_fields.items():
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, type=numbers.get(name, str), help=field.description)
    parser.add_argument("--off", action="store_true", help="end all faults")
    given = vars(parser.parse_args())
    off = given.pop("off")
    declared = {name: value for name, value in given.items() if value is not None}
    if off and declared:
        parser.error(f"--off takes no {', '.join(declared)}")
    with closing(FaultStore(settings.redis)) as store:
        if off:  # possible without a server, too
            store.end()
            print("All faults are off.")  # noqa: T201
            return
        require_allowed(settings)
        text = json.dumps(declared).encode()
        fault = validated(text, Fault.model_validate_json, f"a fault, {_EXAMPLE}")
        store.begin(fault)
        print(  # noqa: T201
            f"{fault.service} is {fault.kind} for {fault.seconds} s, in a share of {fault.share:g} of its calls."
        )


def require_allowed(settings: Settings) -> None:
    """Raise FaultError unless the running server allows faults, ServerError if none answers."""
    with Client.of(settings.server) as server:
        if not server.get("/ml/faults", FaultsView).allowed:
            raise FaultError(OFF)


if __name__ == "__main__":
    steps.run(main)
