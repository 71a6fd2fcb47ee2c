"""Which releases there are, and going back to an earlier one.

Run:  python -m offline_to_online.releases list
      python -m offline_to_online.releases activate <release>
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial

from rich.console import Console
from rich.table import Table

from data_exchange_center.settings import Settings
from data_exchange_center.steps import run
from offline_to_online.activation import go_back
from offline_to_online.stores.catalogue import Stores


def overview(settings: Settings) -> Table:
    """Every release that any store holds: whether it is live, and where it lies."""
    stores = Stores.of(settings)
    live, order = stores.redis.live(), stores.redis.history()
    held = {store.title: store.releases() for store in stores.all}
    table = Table("release", "state", *held, title="releases")
    known = set().union(*held.values())
    for release in (*(r for r in order if r in known), *sorted(known - set(order))):
        state = "live" if release == live else "was live" if release in order else "loaded"
        where = {title: "yes" if release in releases else "-" for title, releases in held.items()}
        if release in held[stores.triton.title]:
            where[stores.triton.title] = str(stores.triton.place_of(release))
        table.add_row(release, state, *where.values())
    return table


def main(settings: Settings, command: str, release: str | None) -> None:
    if command == "activate" and release is not None:
        go_back(settings, release)
    Console().print(overview(settings))


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m offline_to_online.releases", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="the releases in the stores")
    activate = commands.add_parser("activate", help="serve an earlier release again")
    activate.add_argument("release", help="its id, as `list` shows it")
    return parser.parse_args(argv)


if __name__ == "__main__":
    arguments = _arguments(sys.argv[1:])
    run(partial(main, command=arguments.command, release=getattr(arguments, "release", None)))
