"""The four services on this machine, without Docker: install, up, down, status, logs; and the server: serve.

Run:    python -m stack install|up|down|status|logs|serve [service ...]
Expect: `up` returns once every service answers; `status` exits with 0 when all of them are ready, else with 1.
"""

import argparse
import sys

from data_exchange_center.settings import Settings
from data_exchange_center.steps import run
from stack import commands
from stack.commands import PROGRAMS, SERVICES, by_name
from stack.server import SERVER


def main(settings: Settings) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m stack",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    choices = ("install", "up", "down", "status", "logs", "serve")
    parser.add_argument("command", choices=choices)
    names = ", ".join(service.name for service in PROGRAMS)
    parser.add_argument(
        "services", nargs="*", metavar="service", help=f"some of {names}; default: all"
    )
    given = parser.parse_args()
    chosen = [by_name(name) for name in given.services]
    match given.command:
        case "install":
            commands.install(settings)
        case "up":
            commands.up(settings, chosen or SERVICES)
        case "serve":
            commands.up(settings, [SERVER])
        case "down":
            commands.down(settings, chosen or None)
        case "logs":
            commands.logs(settings, chosen or PROGRAMS)
        case "status":
            sys.exit(not commands.status(settings))


run(main)
