"""List the releases; publish the one that the files make; have a published one answer by default.

Run:  python -m stack.releases list
      python -m stack.releases publish
      python -m stack.releases activate <release>
"""

import argparse
import logging
import time
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
        log.info("release %s is published: make activate release=%s; deleted: %s", release, release, deleted)
    elif release is not None:
        releases.activate(settings, release)
    Console().print(overview(settings))
    if command == "activate" and release and (note := files_of_another(settings, release)):
        log.warning("%s", note)


def overview(settings: Settings) -> Table:
    """Every release that any store holds: its state (live, published or loaded), what it is made of, where it lies.

    The time is that of its last load and check by this machine.
    """
    stores = releases.Stores.of(settings)
    active, published = stores.redis.listed()
    held = {store.title: store.releases() for store in stores}
    whole = (Column(name, no_wrap=True) for name in ("release", "state"))
    folded = (Column(name, overflow="fold") for name in ("data set", "recipe", "loaded (UTC)", "stores"))
    table = Table(*whole, *folded, title="releases", box=box.SIMPLE)  # a narrow terminal cuts nothing off
    known = set().union(*held.values())
    for release in (*(each for each in published if each in known), *sorted(known.difference(published))):
        state = "live" if release == active else "published" if release in published else "loaded"
        where = [title for title, there in held.items() if release in there]
        stored = "all" if len(where) == len(held) else ", ".join(where)
        data_set, recipe = made_of(stores.redis, release) if release in published else ("-", "-")
        table.add_row(release, state, data_set, recipe, loaded_at(settings, release), stored)
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


def files_of_another(settings: Settings, release: str) -> str:
    """Where the artifacts make another release than the active one, say so, and what to run; else empty."""
    try:
        made = release_of_artifacts(settings).release
        what = f"the files in {settings.offline_dir} make release {made}"
    except RecsysError as error:
        made, what = None, f"the files in {settings.offline_dir} make no release ({error.problem})"
    if made == release:
        return ""
    recipe = RedisStore(settings).published(release).manifest.recipe.name
    return (
        f"Release {release} (recipe {recipe}) answers from now on; {what}. `make evaluate`, `make doctor` and "
        f"`make sync` go by the files: RECSYS_RECIPE={recipe} make offline, with the same RECSYS_DATA, makes its own."
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m stack.releases",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="the releases in the stores")
    commands.add_parser("publish", help="have requests that name it answered from the release that the files make")
    activation = commands.add_parser("activate", help="have a published release answer all other requests, too")
    activation.add_argument("release", help="its id, as `list` shows it")
    run(partial(main, **vars(parser.parse_args())))
