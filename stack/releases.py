"""List the releases; publish the one that the files make; have a published one answer by default.

Run:  python -m stack.releases list
      python -m stack.releases publish
      python -m stack.releases activate <release>
"""

import argparse
import logging
import time

from rich import box
from rich.console import Console
from rich.table import Column, Table

from data_exchange_center.errors import RecsysError
from data_exchange_center.release_parts import release_of_artifacts
from data_exchange_center.settings import Settings
from data_exchange_center.steps import run
from offline_to_online import releases
from offline_to_online.stores.redis import RedisStore

log = logging.getLogger(__name__)


def main(settings: Settings) -> None:
    """Carry a command out; then list the releases."""
    parser = argparse.ArgumentParser(
        prog="python -m stack.releases",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=("list", "publish", "activate"))
    parser.add_argument("release", nargs="?", default="", help="as `list` shows it")
    given = parser.parse_args()
    if given.command == "publish":
        publish(settings)
    if given.command == "activate":
        releases.activate(settings, given.release)
    Console().print(overview(settings))


def publish(settings: Settings) -> None:
    """Have requests that name the release of the artifacts answered from it."""
    release = release_of_artifacts(settings).release
    releases.publish(settings, release)
    deleted = ", ".join(sorted(releases.retire(settings))) or "none"
    said = "release %s is published: make activate release=%s; deleted: %s"
    log.info(said, release, release, deleted)


def overview(settings: Settings) -> Table:
    """Every release that any store holds: its state (live, published or loaded), and what it is made of.

    The time is that of its last load and check by this machine.
    """
    stores = releases.Stores.of(settings)
    active, published = stores.redis.listed()
    known = set().union(*(store.releases() for store in stores))
    listed = [release for release in published if release in known]
    headings = ("release", "state", "data set", "recipe", "loaded (UTC)")
    # a narrow terminal cuts nothing off
    columns = (Column(heading, overflow="fold") for heading in headings)
    table = Table(*columns, title="releases", box=box.SIMPLE)
    for release in (*listed, *sorted(known.difference(listed))):
        state = "published" if release in published else "loaded"
        if release == active:
            state = "live"
        made = made_of(stores.redis, release) if state != "loaded" else ("-", "-")
        table.add_row(release, state, *made, loaded_at(settings, release))
    return table


def made_of(redis: RedisStore, release: str) -> tuple[str, str]:
    """Names of a published release's data set and recipe; "-" where its manifest cannot be read."""
    try:
        manifest = redis.published(release).manifest
    except RecsysError:
        return "-", "-"
    return manifest.dataset.name, manifest.recipe.name


def loaded_at(settings: Settings, release: str) -> str:
    """When this machine loaded and checked a release last, by its manifest in the exchange folder; "-": never."""
    manifest = releases.manifest_path(settings, release)
    if not manifest.is_file():
        return "-"
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(manifest.stat().st_mtime))


if __name__ == "__main__":
    run(main)
