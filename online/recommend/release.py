"""Which release is served: opened when the live pointer names a new one, while the old one serves on."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.features import FeatureSpec
from data_exchange_center.recipes import RecallRecipe
from online.clients.base import ServiceError
from online.clients.elastic import ElasticItems
from online.clients.redis import RedisUsers, StoredUser, UserQuery
from online.recommend.item_cache import FeatureStore, ItemCache, fetch_items
from online.recommend.types import ShownItem

log = logging.getLogger(__name__)

KEPT = 2  # releases that stay open, so that going back to the one before takes no time

NOTHING_LIVE = (
    "No release is live yet. Run the steps of offline_to_online (`make sync`); "
    "the last one, rank/s3_check_offline_and_online.py, puts the release live."
)


class NoReleaseError(Exception):
    """Nothing can be served, as no release was ever put live, or the live one cannot be found. Says what to do."""


@dataclass(frozen=True, eq=False)
class OpenRelease:
    """All that a server holds of a release."""

    release: str
    spec: FeatureSpec
    recall: RecallRecipe
    vector_dim: int
    model: str  # the ranking model, in Triton
    model_version: int
    catalogue: dict[int, ShownItem]
    popular: NDArray[np.int32]  # (n,) best first
    popularity: NDArray[np.float32]  # (n,)
    items: ItemCache


class Releases:
    """The open releases. Shared by threads; each release is opened once, whoever asks for it meanwhile."""

    def __init__(
        self, users: RedisUsers, items: ElasticItems, features: FeatureStore, background: Executor, ttl_s: float
    ) -> None:
        self._users = users
        self._items = items
        self._features = features
        self._background = background
        self._ttl_s = ttl_s
        self._lock = threading.Lock()
        self._open: dict[str, OpenRelease] = {}  # oldest first
        self._opening: dict[str, Future[OpenRelease]] = {}
        self._current: OpenRelease | None = None

    @property
    def current(self) -> OpenRelease | None:
        return self._current

    def live(self) -> OpenRelease:
        """The live release, opened. Raises NoReleaseError, ServiceError."""
        live = self._users.call(UserQuery(0, None)).live
        if live is None:
            raise NoReleaseError(NOTHING_LIVE)
        return self._wait_for(live)

    def user(self, userid: int) -> tuple[OpenRelease, StoredUser | None]:
        """A user's state, and the release it belongs to: one round trip, unless the live release has changed.

        When it has, the old one answers until the new one is open. Should the old one be pruned already, the
        request waits for the new one. Raises NoReleaseError, ServiceError.
        """
        held = self._current
        if held is None:
            opened = self.live()
            return opened, self._users.call(UserQuery(userid, opened.release)).user
        answer = self._users.call(UserQuery(userid, held.release))
        if answer.live is None:
            raise NoReleaseError(NOTHING_LIVE)
        if answer.live == held.release:
            return held, answer.user
        opening = self._start(answer.live)
        if answer.user is not None and not opening.done():
            return held, answer.user
        try:
            opened = opening.result()
        except (ServiceError, NoReleaseError):
            if answer.user is None:
                raise
            return held, answer.user  # the reason is logged where it happened
        self._current = opened
        return opened, self._users.call(UserQuery(userid, opened.release)).user

    def _wait_for(self, release: str) -> OpenRelease:
        opened = self._start(release).result()
        self._current = opened
        return opened

    def _start(self, release: str) -> Future[OpenRelease]:
        with self._lock:
            if release in self._open:
                done: Future[OpenRelease] = Future()
                done.set_result(self._open[release])
                return done
            if release not in self._opening:
                self._opening[release] = self._background.submit(self._open_release, release)
            return self._opening[release]

    def _open_release(self, release: str) -> OpenRelease:
        try:
            opened = self._read(release)
        except Exception as error:
            log.warning("release %s cannot be opened: %s", release, error)
            with self._lock:
                self._opening.pop(release, None)
            raise
        with self._lock:
            self._open[release] = opened
            self._opening.pop(release, None)
            for old in list(self._open)[:-KEPT]:
                del self._open[old]
        log.info("release %s is open: %d items", release, len(opened.catalogue))
        return opened

    def _read(self, release: str) -> OpenRelease:
        published = self._users.published(release)
        if published is None:
            raise NoReleaseError(
                f"Release {release} is named as live, but its manifest is missing from Redis. "
                "Run offline_to_online/rank/s3_check_offline_and_online.py again."
            )
        spec = published.manifest.feature_spec
        catalogue = {
            itemid: ShownItem(item.title, _names(spec, item.genres))
            for itemid, item in self._items.catalogue(release).items()
        }
        popular = [(itemid, score) for itemid, score in self._users.popular(release) if itemid in catalogue]
        itemids = list(catalogue)
        return OpenRelease(
            release=release,
            spec=spec,
            recall=published.manifest.recipe.recall,
            vector_dim=published.manifest.vector_dim,
            model=published.triton_model,
            model_version=published.triton_version,
            catalogue=catalogue,
            popular=np.array([itemid for itemid, _ in popular], np.int32),
            popularity=np.array([score for _, score in popular], np.float32),
            items=ItemCache(lambda: fetch_items(self._features, spec, release, itemids), self._ttl_s, self._background),
        )


def _names(spec: FeatureSpec, codes: Sequence[int]) -> tuple[str, ...]:
    return tuple(spec.genres[code - 1] for code in codes)
