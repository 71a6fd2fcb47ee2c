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
from data_exchange_center.settings import Settings
from extras.client import Client
from extras.faults.declaration import OFF, Fault, FaultStore
from extras.faults.hook import FaultsView
from online.web.guard import validated

_EXAMPLE: Final = "for example service=triton kind=down"


def main(settings: Settings) -> None:
    """Raises BadRequestError, StepError where the server allows no faults, ServerError, ServiceError."""
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
    with closing(FaultStore(settings.redis)) as store:
        if off:  # possible without a server, too
            store.end()
            print("All faults are off.")  # noqa: T201
            return
        with Client.of(settings.server) as server:
            if not server.get("/ml/faults", FaultsView).allowed:
                raise steps.StepError(OFF)
        text = json.dumps(declared).encode()
        fault = validated(text, Fault.model_validate_json, f"a fault, {_EXAMPLE}")
        store.begin(fault)
        print(  # noqa: T201
            f"{fault.service} is {fault.kind} for {fault.seconds} s, in a share of {fault.share:g} of its calls."
        )


if __name__ == "__main__":
    steps.run(main)
