"""List the releases; publish the one that the files make; have a published one answer by default.

Run:  python -m stack.releases list
      python -m stack.releases publish
      python -m stack.releases activate <release>
"""

import argparse
import logging
import time
from contextlib import suppress
from functools import partial

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


def main(settings: Settings, command: str, release: str | None = None) -> None:
    """Publish the release that the artifacts make, or activate one, or neither; then list the releases."""
    if command == "publish":
        release = release_of_artifacts(settings).release
        releases.publish(settings, release)
        deleted = ", ".join(sorted(releases.retire(settings))) or "none"
        log.info(
            "release %s is published: make activate release=%s; deleted: %s",
            release,
            release,
            deleted,
        )
    elif release is not None:
        releases.activate(settings, release)
    Console().print(overview(settings))
    if command == "activate" and release:
        warn_of_other_files(settings, release)


def overview(settings: Settings) -> Table:
    """Every release that any store holds: its state (live, published or loaded), what it is made of, where it lies.

    The time is that of its last load and check by this machine.
    """
    stores = releases.Stores.of(settings)
    active, published = stores.redis.listed()
    held = {store.title: store.releases() for store in stores}
    whole = (Column(name, no_wrap=True) for name in ("release", "state"))
    folded = (
        Column(name, overflow="fold")
        for name in ("data set", "recipe", "loaded (UTC)", "stores")
    )
    # a narrow terminal cuts nothing off
    table = Table(*whole, *folded, title="releases", box=box.SIMPLE)
    known = set().union(*held.values())
    for release in (
        *(each for each in published if each in known),
        *sorted(known.difference(published)),
    ):
        state = (
            "live"
            if release == active
            else "published"
            if release in published
            else "loaded"
        )
        where = [title for title, there in held.items() if release in there]
        stored = "all" if len(where) == len(held) else ", ".join(where)
        data_set, recipe = (
            made_of(stores.redis, release) if release in published else ("-", "-")
        )
        table.add_row(
            release, state, data_set, recipe, loaded_at(settings, release), stored
        )
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
    try:
        written = releases.manifest_path(settings, release).stat().st_mtime
    except FileNotFoundError:
        return "-"
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(written))


def warn_of_other_files(settings: Settings, release: str) -> None:
    """Say so where the artifacts that the live release was made of are gone, or are those of a later training."""
    manifest = RedisStore(settings).published(release).manifest
    settings = settings.made_of(manifest.dataset.base_name, manifest.recipe)
    with suppress(RecsysError):
        if release_of_artifacts(settings).release == release:
            return
    log.warning(
        "Release %s answers from now on; its files are not in %s. `make evaluate` needs them: "
        "RECSYS_RECIPE=%s make offline, with the same RECSYS_DATA, makes them again.",
        release,
        settings.artifacts_dir,
        manifest.recipe.name,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m stack.releases",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="the releases in the stores")
    commands.add_parser(
        "publish",
        help="have requests that name it answered from the release that the files make",
    )
    activation = commands.add_parser(
        "activate", help="have a published release answer all other requests, too"
    )
    activation.add_argument("release", help="its id, as `list` shows it")
    run(partial(main, **vars(parser.parse_args())))
