"""The life of a release: publish, activate, retire.

A release is *loaded* when all four stores hold it. `publish`, which requires that it passed the check of offline
against online, writes its manifest into Redis: servers load it, and answer from it the requests that name it (previews,
arms of experiments). `activate` has it answer all others, too: the pointer `wire.LIVE_KEY` in Redis is the one atomic
switch, which each worker of a server reads twice a second. `retire` deletes all but the active release and the last
others that were published or active, ``RECSYS_KEPT_RELEASES`` in all; going back to one of them only moves the pointer.

`stack.releases` has the commands.
"""

import logging
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from data_exchange_center import files, release_parts
from data_exchange_center.errors import RecsysError
from data_exchange_center.manifest import (
    Manifest,
    ParityRecord,
    Published,
    why_unreadable,
)
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from offline_to_online.stores.elasticsearch import ElasticsearchStore
from offline_to_online.stores.feast import FeastStore
from offline_to_online.stores.redis import RedisStore
from offline_to_online.stores.triton import Place, TritonStore
from online.clients.publishing import kept_releases

log = logging.getLogger(__name__)
CHECK: str = "offline_to_online/rank/s3_check_offline_and_online.py"


class Stores(NamedTuple):
    """The four stores of a release."""

    redis: RedisStore
    elasticsearch: ElasticsearchStore
    feast: FeastStore
    triton: TritonStore

    @classmethod
    def of(cls, settings: Settings) -> "Stores":
        return cls(
            RedisStore(settings),
            ElasticsearchStore(settings),
            FeastStore(settings),
            TritonStore(settings),
        )


def manifest_path(settings: Settings, release: str) -> Path:
    return settings.release_dir / release / "manifest.json"


def open_release(settings: Settings) -> Manifest:
    """Identify the release that the artifacts make, and write its manifest without the record of an earlier check.

    Every step that loads or checks a release begins with this, so what is loaded again has to be checked again. Raises
    ArtifactError when a part is missing.
    """
    manifest = release_parts.release_of_artifacts(settings)
    record_parity(settings, manifest, None)
    print(  # noqa: T201 (the account of a step)
        f"release {manifest.release}: read {len(manifest.parts)} files of one run in {settings.artifacts_dir}"
    )
    return manifest


def record_parity(
    settings: Settings, manifest: Manifest, record: ParityRecord | None
) -> None:
    """Write the manifest, with the record that offline and online agree, or None."""
    recorded = manifest.model_copy(update={"parity": record})
    path = manifest_path(settings, manifest.release)
    files.write_text(path, recorded.model_dump_json(indent=2) + "\n")


def require_parity(settings: Settings, release: str) -> tuple[Manifest, ParityRecord]:
    """Read a release's manifest and the record of its check. Raises StepError when it has not passed the check."""
    path = manifest_path(settings, release)
    try:
        manifest = (
            Manifest.model_validate_json(path.read_bytes()) if path.is_file() else None
        )
    except ValidationError as error:
        raise StepError(
            f"{path} cannot be read ({why_unreadable(error)})", f"Run {CHECK} again."
        ) from error
    if manifest is None or manifest.parity is None:
        raise StepError(
            f"release {release} must not be published: it has not passed the check of offline against online since it "
            f"was last loaded (no record in {path})",
            f"Run {CHECK}.",
        )
    return manifest, manifest.parity


def require_loaded(stores: Stores, release: str, checked: Place | None = None) -> Place:
    """Require that a release is whole and checked in all four stores, and served. Returns its model's place.

    ``checked``: the place that it must have. Raises StepError naming the step to run.
    """
    for store in stores:
        if not store.is_checked(release):
            raise StepError(
                f"release {release} is not in {store.title}, or not wholly, or failed its check: "
                f"run {store.step}, then this step again"
            )
    for store in stores:
        store.wait_until_served(release)
    place = stores.triton.find(release)
    if place is None or (checked is not None and place != checked):
        raise StepError(
            f"release {release} was checked with {checked} in Triton, and is {place} now: sync it again"
        )
    return place


def publish(settings: Settings, release: str) -> None:
    """Have servers answer from a release the requests that name it. Which release answers the others stays the same.

    Raises StepError when the release is not whole, or has not passed the check of offline against online.
    """
    stores = Stores.of(settings)
    manifest, parity = require_parity(settings, release)
    place = require_loaded(
        stores, release, Place(parity.triton_model, parity.triton_version)
    )
    stores.redis.publish(
        Published(
            manifest=manifest, triton_model=place.model, triton_version=place.version
        )
    )


def activate(settings: Settings, release: str, *, apply_pending: bool = True) -> None:
    """Have a published release answer by default from now on. Nothing is deleted.

    Raises StepError when it is not published, is not whole any more, or was loaded again and not checked since.

    Args:
        apply_pending: apply it to Feast's plain services, which takes seconds; False if `retire` follows and does that.
    """
    stores = Stores.of(settings)
    published = stores.redis.published(release)
    require_parity(settings, release)
    require_loaded(
        stores, release, Place(published.triton_model, published.triton_version)
    )
    for store in stores:
        store.activate(release)
    log.info("release %s is live", release)
    if apply_pending:
        stores.feast.apply_pending()


def retire(settings: Settings) -> set[str]:
    """Delete the releases that are not kept, and what interrupted loads have left behind. Returns their ids.

    A release is deleted from Redis first, its manifest before all, so that it cannot be activated meanwhile. A server
    that still has it loaded finds in Redis, before items or features are missing, that it is gone.
    """
    stores = Stores.of(settings)
    held = [store.releases() for store in stores]
    gone = stores.redis.retire(set().union(*held))
    for store, releases in zip(stores, held, strict=True):
        store.delete(releases & gone)
    stores.feast.apply_pending()
    return gone


def settings_of_live(settings: Settings) -> Settings:
    """The settings of the artifacts that the live release was made of.

    Returns ``settings`` where RECSYS_RECIPE names a recipe, no release is live, Redis does not answer, or the
    artifacts are not in this exchange folder.
    """
    if "recipe_name" in settings.model_fields_set:
        return settings
    redis = RedisStore(settings)
    try:
        live, _ = redis.listed()
        if live is None:
            return settings
        manifest = redis.published(live).manifest
    except RecsysError:
        return settings
    found = settings.made_of(manifest.dataset.base_name, manifest.recipe)
    return found if found.artifacts_dir.is_dir() else settings


def consequences(settings: Settings, manifest: Manifest) -> str:
    """Describe what publishing a release will delete, and what activating it will replace; empty: nothing."""
    redis = RedisStore(settings)
    release = manifest.release
    active, published = redis.listed()
    kept = kept_releases(
        active, list(dict.fromkeys([release, *published])), settings.kept_releases
    )
    parts = []
    if deleted := [each for each in published if each not in {release, *kept}]:
        parts.append(f"publishing it deletes {', '.join(deleted)}")
    if active not in (None, release):
        replaced = f"activating it replaces release {active}"
        with suppress(StepError):  # the manifest of the active release is gone
            other = redis.published(active).manifest.dataset
            if other.base_name != manifest.dataset.base_name:
                replaced += f" of another data set, {other.name}"
        parts.append(replaced)
    what = f"release {release} ({manifest.dataset.name}): {' and '.join(parts)}"
    return f"{what}; until then Ctrl-C leaves all as it is" if parts else ""
