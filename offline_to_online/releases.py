"""Going live, going back, deleting the releases that are no longer kept, and listing releases.

A manifest says what was released, and whether it passed the check of offline against online. The pointer
`wire.LIVE_KEY` in Redis is the one atomic switch: the server looks at it with every request. Everything that the server
needs of the release is in place before it moves; the names that people use (the alias in Elasticsearch, Feast's plain
service names) follow. The live release and the one before it are kept, so that going back only moves the pointer.

Run:  python -m offline_to_online.releases list
      python -m offline_to_online.releases activate <release>
"""

from __future__ import annotations

import argparse
import logging
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError
from rich.console import Console
from rich.table import Column, Table

from data_exchange_center import plugins, wire
from data_exchange_center.errors import RecsysError
from data_exchange_center.files import written_in_place
from data_exchange_center.manifest import Manifest, ParityRecord, Published, why_unreadable
from data_exchange_center.release_parts import release_of_artifacts
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError, run
from offline_to_online.stores.elasticsearch import ElasticsearchStore
from offline_to_online.stores.feast import FeastStore
from offline_to_online.stores.redis import RedisStore
from offline_to_online.stores.triton import Place, TritonStore

log = logging.getLogger(__name__)
CHECK: str = "offline_to_online/rank/s3_check_offline_and_online.py"


class Stores(NamedTuple):
    """The four stores of a release."""

    redis: RedisStore
    elasticsearch: ElasticsearchStore
    feast: FeastStore
    triton: TritonStore

    @classmethod
    def of(cls, settings: Settings) -> Stores:
        return cls(RedisStore(settings), ElasticsearchStore(settings), FeastStore(settings), TritonStore(settings))


# Manifests, as files.


def manifest_path(settings: Settings, release: str) -> Path:
    return settings.release_dir / release / "manifest.json"


def open_release(settings: Settings) -> Manifest:
    """Identify the release that the artifacts make, and write its manifest without the record of an earlier check.

    Every step that loads or checks a release begins with this, so what is loaded again has to be checked again. Raises
    ArtifactError when a part is missing.
    """
    manifest = release_of_artifacts(settings)
    _write(settings, manifest)
    return manifest


def record_parity(settings: Settings, manifest: Manifest, record: ParityRecord) -> None:
    """Write into the manifest that offline and online agree."""
    _write(settings, manifest.model_copy(update={"parity": record}))


def require_parity(settings: Settings, release: str) -> tuple[Manifest, ParityRecord]:
    """Read a release's manifest and the record of its check. Raises StepError when it has not passed the check."""
    path = manifest_path(settings, release)
    try:
        manifest = Manifest.model_validate_json(path.read_bytes()) if path.is_file() else None
    except ValidationError as error:
        raise StepError(f"{path} cannot be read ({why_unreadable(error)})", f"Run {CHECK} again.") from error
    if manifest is None or manifest.parity is None:
        raise StepError(
            f"release {release} must not go live: it has not passed the check of offline against online since it was "
            f"last loaded (no record in {path})",
            f"Run {CHECK}.",
        )
    return manifest, manifest.parity


def _write(settings: Settings, manifest: Manifest) -> None:
    with written_in_place(manifest_path(settings, manifest.release)) as temporary:
        temporary.write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")


# Going live and back.


def require_loaded(stores: Stores, release: str) -> Place:
    """Require that a release is whole and checked in all four stores, and served. Returns its model's place.

    Raises StepError naming the step to run.
    """
    for store in stores:
        if not store.is_checked(release):
            raise StepError(
                f"release {release} is not in {store.title}, or not wholly, or failed its check: "
                f"run {store.step}, then this step again"
            )
    for store in stores:
        store.wait_until_served(release)
    return stores.triton.place_of(release)


def go_live(settings: Settings, release: str) -> set[str]:
    """Serve a release from now on, and delete those that are no longer kept. Returns the deleted ones.

    A release is deleted from Redis first, its manifest before all, so that it cannot be activated meanwhile; and as a
    request reads Redis first: a server that still has it open finds its user unknown, reads the live pointer again and
    switches, before items or features are missing.

    Raises StepError when the release is not whole, or has not passed the check of offline against online.
    """
    stores = Stores.of(settings)
    manifest, parity = require_parity(settings, release)
    place = Place(parity.triton_model, parity.triton_version)
    _require_place(stores, release, place)
    stores.redis.publish(Published(manifest=manifest, triton_model=place.model, triton_version=place.version))
    _activate(stores, release)
    _, keep = stores.redis.activated()
    held = [store.releases() for store in stores]
    deleted = stores.redis.retire(set().union(*held) - set(keep))  # but not what was activated meanwhile
    for store, releases in zip(stores, held, strict=True):
        store.delete(releases & deleted)
    for store in stores:
        store.settle()
    for name in plugins.find(plugins.RELEASED):  # for example experiments, whose arms may be gone
        plugins.load(plugins.RELEASED, name)(settings, deleted)
    return deleted


def consequences(redis: RedisStore, manifest: Manifest) -> str:
    """What going live will replace and delete, as a sentence; empty where it is neither."""
    live, order = redis.activated()
    others = [release for release in order if release != manifest.release]
    deleted = others[wire.KEPT_RELEASES - 1 :]
    if live in (None, manifest.release) and not deleted:
        return ""
    name = manifest.dataset.name
    replaced = [f"replaces release {live}" if live != manifest.release else ""]
    with suppress(StepError):  # the manifest of the live release is gone
        if live and (other := redis.published(live).manifest.dataset).base_name != manifest.dataset.base_name:
            replaced = [f"replaces release {live} of another data set, {other.name}"]
    replaced += [f"deletes {', '.join(deleted)}"] if deleted else []
    what = " and ".join(filter(None, replaced))
    return f"going live with release {manifest.release} ({name}) {what}; until then Ctrl-C leaves all as it is"


def files_of_another(settings: Settings, release: str) -> str:
    """Where the artifacts make another release than the one that serves, say so, and what to run; else empty."""
    try:
        made = release_of_artifacts(settings).release
        what = f"the files in {settings.offline_dir} make release {made}"
    except RecsysError as error:
        made, what = None, f"the files in {settings.offline_dir} make no release ({error.problem})"
    if made == release:
        return ""
    recipe = Stores.of(settings).redis.published(release).manifest.recipe.name
    return (
        f"Release {release} (recipe {recipe}) answers from now on; {what}. `make evaluate`, `make doctor` and "
        f"`make sync` go by the files: RECSYS_RECIPE={recipe} make offline, with the same RECSYS_DATA, makes its own."
    )


def go_back(settings: Settings, release: str) -> None:
    """Serve an earlier release again; nothing is deleted.

    Raises StepError when it was never live, is not whole any more, or was loaded again and not checked since.
    """
    stores = Stores.of(settings)
    published = stores.redis.published(release)
    require_parity(settings, release)
    _require_place(stores, release, Place(published.triton_model, published.triton_version))
    _activate(stores, release)
    for store in stores:
        store.settle()


def _require_place(stores: Stores, release: str, checked: Place) -> None:
    if (place := require_loaded(stores, release)) != checked:
        raise StepError(f"release {release} was checked with {checked} in Triton, and is {place} now: sync it again")


def _activate(stores: Stores, release: str) -> None:
    for store in stores:
        store.activate(release)
    log.info("release %s is live", release)


# The commands.


def overview(settings: Settings) -> Table:
    """Every release that any store holds: whether it is live, and where it lies."""
    stores = Stores.of(settings)
    live, order = stores.redis.activated()
    held = {store.title: store.releases() for store in stores}
    columns = (Column(name, overflow="fold") for name in ("release", "state", *held))  # whole in a narrow terminal
    table = Table(*columns, title="releases")
    known = set().union(*held.values())
    for release in (*(r for r in order if r in known), *sorted(known - set(order))):
        state = "live" if release == live else "was live" if release in order else "loaded"
        where = ["yes" if release in releases else "-" for releases in held.values()]
        if (place := stores.triton.find(release)) is not None:
            where[-1] = str(place)  # Triton is the last
        table.add_row(release, state, *where)
    return table


def main(settings: Settings, release: str | None) -> None:
    """List the releases; first serve ``release`` again, where one is given."""
    if release is not None:
        go_back(settings, release)
    Console().print(overview(settings))
    if release is not None and (note := files_of_another(settings, release)):
        log.warning("%s", note)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m offline_to_online.releases",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="the releases in the stores")
    activate = commands.add_parser("activate", help="serve an earlier release again")
    activate.add_argument("release", help="its id, as `list` shows it")
    run(partial(main, release=getattr(parser.parse_args(), "release", None)))
