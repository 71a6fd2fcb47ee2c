"""Going live, going back, and deleting the releases that are no longer kept.

The pointer `wire.LIVE_KEY` in Redis is the one atomic switch: the server looks at it with every request. Everything
that the server needs of the release is in place before it moves; the names that people use (the alias in
Elasticsearch, Feast's plain service names) follow. The live release and the one before it are kept, so that going back
only moves the pointer.
"""

from __future__ import annotations

import logging

from data_exchange_center.release import Published
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from offline_to_online.manifests import require_parity
from offline_to_online.stores.catalogue import Stores
from offline_to_online.stores.triton_server import Place

log = logging.getLogger(__name__)


def require_loaded(stores: Stores, release: str) -> Place:
    """The release is whole in all four stores, passed each store's check, and is served. Returns its model's place.

    Raises StepError naming the step to run.
    """
    for store in stores.all:
        if not store.is_checked(release):
            raise StepError(
                f"release {release} is not in {store.title}, or not wholly, or failed its check: "
                f"run {store.step}, then this step again"
            )
    for store in stores.all:
        store.wait_until_served(release)
    return stores.triton.place_of(release)


def go_live(settings: Settings, release: str) -> set[str]:
    """Serve a release from now on, and delete those that are no longer kept. Returns the deleted ones.

    A release is deleted in the order in which a request asks the stores, Redis first: a server that still holds it open
    finds its user unknown and looks at the pointer, before it could miss an item or a feature.

    Raises StepError when the release is not whole, or has not passed the check of offline against online.
    """
    stores = Stores.of(settings)
    manifest, parity = require_parity(settings, release)
    place = Place(parity.triton_model, parity.triton_version)
    _require_place(stores, release, place)
    stores.redis.publish(Published(manifest=manifest, triton_model=place.model, triton_version=place.version))
    _activate(stores, release)
    keep = set(stores.redis.history())
    deleted: set[str] = set()
    for store in stores.all:
        old = store.releases() - keep
        store.delete(old)
        deleted |= old
    _settle(stores)
    _tell_of_experiments(stores, deleted)
    return deleted


def _tell_of_experiments(stores: Stores, deleted: set[str]) -> None:
    """An arm whose release is gone is answered from the live one, which makes the experiment pointless."""
    for experiment, arms in stores.redis.running_experiments().items():
        for name in [name for name, release in arms.items() if release in deleted]:
            log.warning(
                "experiment %s runs, and the release of its arm %s is kept no longer: the live one answers instead. "
                "Stop it: make experiment-stop name=%s", experiment, name, experiment,
            )  # fmt: skip


def go_back(settings: Settings, release: str) -> None:
    """Serve an earlier release again; nothing is deleted.

    Raises StepError when it was never live, is not whole any more, or was loaded again and not checked since.
    """
    stores = Stores.of(settings)
    published = stores.redis.published(release)
    require_parity(settings, release)
    _require_place(stores, release, Place(published.triton_model, published.triton_version))
    _activate(stores, release)
    _settle(stores)


def _require_place(stores: Stores, release: str, checked: Place) -> None:
    if (place := require_loaded(stores, release)) != checked:
        raise StepError(f"release {release} was checked with {checked} in Triton, and is {place} now: sync it again")


def _activate(stores: Stores, release: str) -> None:
    for store in stores.all:
        store.activate(release)
    log.info("release %s is live", release)


def _settle(stores: Stores) -> None:
    for store in stores.all:
        store.settle()
