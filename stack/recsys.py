"""``recsys``: the commands that somebody types by hand, under one name and from any folder.

Each runs what a make target runs (`make help` has those that train, test and measure, too). Where an extension is
removed, its command is gone.

Run     .venv/bin/recsys --help
"""

from __future__ import annotations

import argparse
import runpy
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Final, NamedTuple

from data_exchange_center import VERSION


class Command(NamedTuple):
    """A command: the module that carries it out, its fixed arguments, and what ``--help`` says."""

    module: str
    fixed: tuple[str, ...]
    help: str
    argument: str = ""  # name of the one that it takes
    required: bool = False
    about: str = ""  # that argument, in words


_SERVICE: Final = "redis, elasticsearch, feast, triton or server; default: all"
COMMANDS: Final = {
    "status": Command("stack", ("status",), "list the running services: version, ports, memory, readiness"),
    "up": Command("stack", ("up",), "start the four services, and wait until they answer", "service", about=_SERVICE),
    "down": Command("stack", ("down",), "stop the services and the server; the data stays", "service", about=_SERVICE),
    "serve": Command("stack", ("serve",), "start the server, or replace its workers by new ones"),
    "logs": Command("stack", ("logs",), "print the end of the logs", "service", about=_SERVICE),
    "releases": Command("stack.releases", ("list",), "list the releases: live, published, or just loaded"),
    "publish": Command(
        "stack.releases", ("publish",), "publish the loaded and checked release: requests may name it"
    ),
    "activate": Command(
        "stack.releases", ("activate",), "have a published release, new or earlier, answer by default",
        "release", required=True, about="its id, as `recsys releases` lists it",
    ),
    "doctor": Command("extras.doctor", (), "report what is done, stale or down, and the command to run next"),
    "import": Command(
        "extras.own_data.proposal", (), "propose a dataset.toml for ratings or purchases of your own",
        "folder", required=True, about="where the CSV, TSV or Parquet files are",
    ),
}  # fmt: skip


def _exists(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # its package is removed
        return False


def parser() -> argparse.ArgumentParser:
    """The parser of the commands whose modules exist."""
    found = argparse.ArgumentParser(
        prog="recsys",
        description="Operate the recommender of this checkout.",
        epilog="make help lists the targets that train, test and measure.",
    )
    found.add_argument("--version", action="version", version=f"recsys {VERSION}")
    commands = found.add_subparsers(dest="command", required=True, metavar="command")
    for name, command in COMMANDS.items():
        if _exists(command.module):
            one = commands.add_parser(
                name, help=command.help, description=f"{command.help[0].upper()}{command.help[1:]}."
            )
            if command.argument:
                one.add_argument(
                    "argument", nargs=None if command.required else "*", metavar=command.argument, help=command.about
                )
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    given = parser().parse_args(arguments)
    command = COMMANDS[given.command]
    argument = getattr(given, "argument", [])
    rest = [argument] if isinstance(argument, str) else argument
    sys.argv = [f"recsys {given.command}", *command.fixed, *rest]
    runpy.run_module(command.module, run_name="__main__")
