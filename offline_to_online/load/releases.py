"""Which releases there are, and going back to an earlier one.

Run:  python -m offline_to_online.load.releases list
      python -m offline_to_online.load.releases activate <release>
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
from offline_to_online.load import es_index, feast_repo, redis_rows, triton_repo
from offline_to_online.load.activation import go_back, history, live_release
from offline_to_online.load.services import elastic_client, reaching, redis_address, redis_client

_STORES = ("Redis", "Elasticsearch", "Feast", "Triton")


def overview(settings: Settings) -> Table:
    """Every release that any store holds: whether it is live, and where it lies."""
    with reaching("Redis", redis_address(settings)), redis_client(settings) as client:
        live, order = live_release(client), history(client)
        in_redis = redis_rows.releases_in(client)
    with reaching("Elasticsearch", settings.elasticsearch.url), elastic_client(settings) as elastic:
        in_elastic = es_index.releases_in(elastic)
    in_triton = {model.release: place for place, model in triton_repo.versions(settings).items() if model.release}
    places = (in_redis, in_elastic, feast_repo.releases_in(settings), set(in_triton))
    table = Table("release", "state", *_STORES, title="releases")
    known = set().union(*places)
    for release in (*(r for r in order if r in known), *sorted(known - set(order))):
        state = "live" if release == live else "was live" if release in order else "loaded"
        marks = ["yes" if release in place else "-" for place in places[:3]]
        table.add_row(release, state, *marks, str(in_triton[release]) if release in in_triton else "-")
    return table


def main(settings: Settings, command: str, release: str | None) -> None:
    if command == "activate" and release is not None:
        go_back(settings, release)
    Console().print(overview(settings))


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m offline_to_online.load.releases", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="the releases in the stores")
    activate = commands.add_parser("activate", help="serve an earlier release again")
    activate.add_argument("release", help="its id, as `list` shows it")
    return parser.parse_args(argv)


if __name__ == "__main__":
    arguments = _arguments(sys.argv[1:])
    run(partial(main, command=arguments.command, release=getattr(arguments, "release", None)))
