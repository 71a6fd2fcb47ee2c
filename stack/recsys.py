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
from typing import Final

from data_exchange_center import VERSION

COMMANDS: Final = {  # name -> the module that carries it out, its fixed arguments, what ``--help`` says
    "status": (
        "stack",
        ["status"],
        "list the running services: version, ports, memory, readiness",
    ),
    "up": (
        "stack",
        ["up"],
        "start the four services, or those named, and wait until they answer",
    ),
    "down": (
        "stack",
        ["down"],
        "stop the services and the server, or those named; the data stays",
    ),
    "serve": (
        "stack",
        ["serve"],
        "start the server, or replace its workers by new ones",
    ),
    "logs": ("stack", ["logs"], "print the end of the logs"),
    "releases": (
        "stack.releases",
        ["list"],
        "list the releases: live, published, or just loaded",
    ),
    "publish": (
        "stack.releases",
        ["publish"],
        "publish the loaded and checked release: requests may name it",
    ),
    "activate": (
        "stack.releases",
        ["activate"],
        "have a published release, new or earlier, answer by default",
    ),
    "doctor": (
        "extras.doctor",
        [],
        "report what is done, stale or down, and the command to run next",
    ),
    "import": (
        "extras.own_data.proposal",
        [],
        "propose a dataset.toml for ratings or purchases in a folder",
    ),
}


def _exists(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # its package is removed
        return False


def parser() -> argparse.ArgumentParser:
    """The parser of the commands whose modules exist."""
    there = {
        name: about for name, (module, _, about) in COMMANDS.items() if _exists(module)
    }
    listed = "\n".join(f"  {name:10}{about}" for name, about in there.items())
    found = argparse.ArgumentParser(
        prog="recsys",
        description="Operate the recommender of this checkout.",
        epilog=f"commands:\n{listed}\n\nmake help lists the targets that train, test and measure.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    found.add_argument("--version", action="version", version=f"recsys {VERSION}")
    found.add_argument("command", choices=there, metavar="command")
    found.add_argument(
        "arguments", nargs=argparse.REMAINDER, help="of the command; --help says which"
    )
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    given = parser().parse_args(arguments)
    module, fixed, _ = COMMANDS[given.command]
    sys.argv = [f"recsys {given.command}", *fixed, *given.arguments]
    runpy.run_module(module, run_name="__main__")
