"""Releases: what a process holds of one in memory, and which one answers a request.

The live one answers, or the one before it while the live one is being opened. Item features are cached, encoded but for
what depends on a request's time: Feast needs 33 ms for those of 200 items, more than all the rest of a request.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.candidates import ExactItems, StoredUser
from data_exchange_center.channels import ChannelSet
from data_exchange_center.dataset import IdKind, OwnId
from data_exchange_center.features import Encoded, FeatureSpec
from data_exchange_center.fusion import Hits, Vocabulary
from data_exchange_center.release import Manifest
from data_exchange_center.settings import ServerSettings
from online.clients.base import Caller, Client, ServiceError, StoredError
from online.clients.elastic import CatalogueItem, ElasticItems
from online.clients.feast import FeatureQuery, FeatureRows
from online.clients.redis import WHICH_IS_LIVE, RedisUsers, UserAnswer, UserQuery
from online.recommend.fallback import LastRelease, SavedPopular
from online.recommend.types import NoReleaseError, UnknownReleaseError

log = logging.getLogger(__name__)

REOPEN_S = 5.0  # pause after a failed opening while another release serves, and between rereads of the one that serves
OPENING_WAIT_S = 3.0  # how long a request with nothing else to answer from waits; opening takes about one second
Users = Caller[UserQuery, UserAnswer]

NOTHING_LIVE = (
    "No release is live yet. Run the steps of offline_to_online (`make sync`); "
    "the last one, release/s1_go_live.py, puts the release live."
)
CHUNK = 500  # items per call at most; with the source's 18 features they take about 0.1 s, well within the timeout
VALUES = 18 * CHUNK  # features times items per call
RETRY_S = 10.0  # after a refresh that failed

FeatureStore = Client[FeatureQuery, FeatureRows]


class OpeningError(NoReleaseError):
    """The release is still being opened, for longer than a request waits."""

    def __init__(self, release: str) -> None:
        super().__init__(f"Release {release} is being opened, which takes a few seconds. Please ask again.")


@dataclass(frozen=True, eq=False)
class Release:
    """A release that is ready to answer requests."""

    manifest: Manifest
    channels: ChannelSet
    model: str  # the ranking model, in Triton
    model_version: int
    catalogue: dict[int, CatalogueItem]  # by number
    popular: Hits  # best first
    items: ItemCache
    exact: ExactItems  # searched while Elasticsearch is away

    @property
    def release(self) -> str:
        return self.manifest.release

    @property
    def spec(self) -> FeatureSpec:
        return self.manifest.feature_spec

    @cached_property
    def numbers(self) -> dict[OwnId, int]:
        """Own id of an item -> number."""
        return {item.own_id: number for number, item in self.catalogue.items()}

    @cached_property
    def by_popularity(self) -> Hits:
        """All items of the catalogue: the popular list, then the others by number, with score 0."""
        others = np.setdiff1d(np.array(list(self.catalogue), np.int64), self.popular.ids)
        scores = np.concatenate([self.popular.scores, np.zeros(len(others), np.float32)])
        return Hits(np.concatenate([self.popular.ids, others]), scores)

    def known(self, own_ids: Iterable[OwnId]) -> NDArray[np.int64]:
        """Numbers of items, of those that the release knows."""
        return np.array([self.numbers[own] for own in own_ids if own in self.numbers], np.int64)

    def current(self, user: StoredUser, before: int | None) -> StoredUser:
        """A user as a request sees it: `StoredUser.current`."""
        return user.current(self.manifest.dataset, self.numbers, before)

    @property
    def user_ids(self) -> IdKind:
        return self.manifest.dataset.user_ids


def read_release(
    users: RedisUsers, items: ElasticItems, features: FeatureStore, server: ServerSettings, background: Executor,
    release: str,
) -> Release:  # fmt: skip
    """Read a release: manifest and popular list from Redis, the catalogue from Elasticsearch, items from Feast.

    ``background``: where the items' features are refreshed. Raises NoReleaseError, ServiceError.
    """
    published = users.published(release)
    if published is None:
        raise NoReleaseError(
            f"Release {release} is named as live, but its manifest is missing from Redis",
            "Run offline_to_online/release/s1_go_live.py again.",
        )
    spec, dims = published.manifest.feature_spec, published.manifest.vector_dims
    catalogue = items.catalogue(release)
    popular = {itemid: score for itemid, score in users.popular(release) if itemid in catalogue}
    exact = list(popular | dict.fromkeys(catalogue))[: server.exact_items]  # the most popular
    fetch = partial(fetch_items, features, spec, release, list(catalogue))
    return Release(
        manifest=published.manifest,
        channels=users.channels(release),
        model=published.triton_model,
        model_version=published.triton_version,
        catalogue=catalogue,
        popular=Hits(np.array(list(popular), np.int64), np.array(list(popular.values()), np.float32)),
        items=ItemCache(fetch, server.item_cache_ttl_s, background),
        exact=ExactItems.of(items.indexed(release, exact, list(dims)), dims),
    )


@dataclass(frozen=True, eq=False)
class EncodedItems:
    """The features of all items that have every feature."""

    itemids: NDArray[np.int32]  # (n,) ascending
    rows: Encoded  # (n,)

    def find(self, wanted: NDArray[np.integer]) -> tuple[NDArray[np.bool_], Encoded]:
        """Mask of ``wanted`` (m,) that are here, and the rows of those, in the order wanted."""
        codes = Vocabulary(self.itemids).codes(wanted)
        known = codes > 0
        return known, self.rows[codes[known] - 1]


def fetch_items(store: FeatureStore, spec: FeatureSpec, release: str, itemids: Sequence[int]) -> EncodedItems:
    """Fetch and encode items' features, at most `CHUNK` items and `VALUES` values per call. Raises ServiceError."""
    found: list[int] = []
    parts = [Encoded.none(spec.of("item"))]
    ordered = sorted(itemids)
    size = min(CHUNK, max(1, VALUES // max(1, len(spec.stored("item")))))
    for start in range(0, len(ordered), size):
        rows = store.call(FeatureQuery("item", release, ordered[start : start + size]))
        if rows.ids:
            found.extend(rows.ids)
            parts.append(spec.encode_items(rows.columns))
    if missing := len(ordered) - len(found):
        log.warning("release %s: %d of %d items have no features and cannot be ranked", release, missing, len(ordered))
    return EncodedItems(np.array(found, np.int32), Encoded.joined(parts))


class ItemCache:
    """Encoded items, fetched again when older than ``ttl_s``; the stale copy serves until the new one is there."""

    def __init__(
        self, fetch: Callable[[], EncodedItems], ttl_s: float, background: Executor,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        """Fetches at once. Raises what ``fetch`` raises."""
        self._fetch, self._ttl_s, self._background, self._clock = fetch, ttl_s, background, clock
        self._refreshing = threading.Lock()
        self._items = fetch()
        self.fetched_at = time.time()  # Unix seconds, of the copy at hand
        self._stale_at = clock() + ttl_s

    def current(self) -> EncodedItems:
        """The copy at hand; a refresh is started when it is stale."""
        if self._clock() >= self._stale_at and self._refreshing.acquire(blocking=False):
            self._background.submit(self._refresh)
        return self._items

    def _refresh(self) -> None:
        wait_s = RETRY_S
        try:
            fresh, held = self._fetch(), self._items
            lost = int((~np.isin(held.itemids, fresh.itemids)).sum())
            if lost:  # a release never loses items, so the store is at fault
                log.warning("%d of %d items have lost their features, which are kept", lost, len(held.itemids))
            else:
                self._items, self.fetched_at, wait_s = fresh, time.time(), self._ttl_s
        except Exception:
            log.exception("item features could not be refreshed, the ones at hand serve on")
        finally:
            self._stale_at = self._clock() + wait_s
            self._refreshing.release()


class Releases:
    """The releases of a process: which are open, and which one answers a request. Shared by threads.

    Requests are answered from ``serving``, which is the live one as soon as that is open; every answer of Redis says
    which is live. An experiment, or a request that names it, may have another one answer. The one that serves and the
    one that was opened last stay open, so that going back takes no time.

    Attributes:
        serving: what answers; None until the first is open.
        live, forgotten, experiments: what Redis said last: the live release, how often somebody was forgotten, and
            the experiments that run, packed.
    """

    def __init__(
        self, users: RedisUsers, read: Callable[[str], Release], background: Executor, last: LastRelease | None
    ) -> None:
        """``read`` reads a release from the services, on ``background``; ``last``: where its popular list is kept."""
        self._users, self._read_release, self._background, self._last = users, read, background, last
        self._lock = threading.Lock()
        self._openings: dict[str, Future[Release]] = {}  # being opened, open, or failed
        self._failed_at = self._read_again_at = -math.inf  # monotonic seconds
        self.serving: Release | None = None
        self.live: str | None = None
        self.forgotten = 0
        self.experiments: bytes | None = None

    @property
    def saved(self) -> SavedPopular | None:
        """The popular list of the release that was opened last, by this process or one before it."""
        return self._last.saved if self._last else None

    @property
    def disk(self) -> Path | None:
        """Folder of what is kept for the time when nothing answers; None: nothing is."""
        return self._last.path.parent if self._last else None

    @property
    def something_to_answer_with(self) -> bool:
        return self.serving is not None or self.saved is not None

    @property
    def open_count(self) -> int:
        return sum(_is_open(opening) for opening in list(self._openings.values()))

    # --- which one answers

    def release_and_user(
        self, userid: OwnId, users: Users, wait_s: float | None = None, preferred: str | None = None
    ) -> tuple[Release, StoredUser | None]:
        """The release that answers, and the user's state (None: unknown): one round trip, unless another is live now.

        ``wait_s``: for a release that is being opened, if nothing else can answer; None: `OPENING_WAIT_S`.
        ``preferred``: a release that answers instead of the live one, once it is open and while it is kept.
        Raises NoReleaseError, ServiceError.
        """
        serving = self.serving or self.open_live(users, wait_s)
        chosen = self.open_or_serving(preferred) or serving
        answer, live = self._call(UserQuery.of(userid, chosen.manifest), users)
        kept = answer.kept or answer.user is not None
        # 1. The usual case: the live one, or the one that is preferred.
        if live == chosen.release:
            if not kept:  # not a stranger: Redis has lost what it held
                raise StoredError("redis", f"holds release {live} no longer, although it is live")
            if chosen is not serving:
                self.serve(chosen)
            return chosen, answer.user
        if chosen is not serving:
            if live != serving.release and _is_open(opening := self.begin_opening(live)):
                self.serve(opening.result())
            return (chosen, answer.user) if answer.kept else self.release_and_user(userid, users, wait_s)
        # 2. Another one has gone live. Until it is open, or if it cannot be opened, the old one answers. Once Redis has
        #    deleted the old one, the request has to wait for the new one, and may fail.
        opening = self.begin_opening(live)
        if kept and not opening.done():
            return serving, answer.user
        try:
            opened = self.serve(self._wait_for(live, wait_s))
            return opened, users.call(UserQuery.of(userid, opened.manifest)).user
        except (ServiceError, NoReleaseError):  # the reason is logged where it happened
            if kept:
                return serving, answer.user
            raise

    def open_live(self, users: Users | None = None, wait_s: float | None = None) -> Release:
        """The live release, opened. Raises NoReleaseError, ServiceError."""
        _, live = self._call(WHICH_IS_LIVE, users or self._users)
        return self.serve(self._wait_for(live, wait_s))

    def open_or_serving(self, release: str | None) -> Release | None:
        """The named release if it is open; else the one that serves, while the named one opens in the background."""
        if self.serving is None or release is None or release == self.serving.release:
            return self.serving
        opening = self.begin_opening(release)
        return opening.result() if _is_open(opening) else self.serving

    def is_open(self, release: str) -> bool:
        if self.serving is not None and self.serving.release == release:
            return True
        return (opening := self._openings.get(release)) is not None and _is_open(opening)

    def open(self, release: str | None = None) -> Release:
        """Open the named release, as `open_kept`; None: the one that serves, or the live one where none does yet."""
        if release is not None:
            return self.open_kept(release)
        return self.serving or self.open_live()

    def open_kept(self, release: str, wait_s: float | None = None) -> Release:
        """Open a release, live or not, without serving it to others. ``wait_s``: as in `release_and_user`.

        Raises UnknownReleaseError, OpeningError, NoReleaseError, ServiceError.
        """
        known = release in self._openings or (self.serving is not None and self.serving.release == release)
        if not known and self._users.published(release) is None:
            raise UnknownReleaseError(release)
        return self._wait_for(release, wait_s)

    def _call(self, query: UserQuery, users: Users) -> tuple[UserAnswer, str]:
        """Redis's answer, and which release is live. Raises NoReleaseError, ServiceError."""
        answer = users.call(query)
        self.live, self.forgotten, self.experiments = answer.live, answer.forgotten, answer.experiments
        if answer.live is None:
            raise NoReleaseError(NOTHING_LIVE)
        return answer, answer.live

    def serve(self, opened: Release) -> Release:
        """Answer from this release from now on."""
        if opened is not self.serving:
            self.serving = opened
            if self._last is not None:
                self._background.submit(self._last.keep, opened)
        return opened

    def replace_each(self, view: Callable[[Release], Release]) -> list[Release]:
        """Replace each open release by ``view`` of it. Returns those that are open now."""
        view = cache(view)  # one call for a release that is held twice
        with self._lock:
            for name, opening in self._openings.items():
                if _is_open(opening) and (shown := view(opening.result())) is not opening.result():
                    self._openings[name] = Future()
                    self._openings[name].set_result(shown)
            if self.serving is not None:
                self.serve(view(self.serving))
            opened = [opening.result() for opening in self._openings.values() if _is_open(opening)]
            return opened if self.serving is None or self.serving in opened else [self.serving, *opened]

    # --- from closed to open

    def begin_opening(self, release: str) -> Future[Release]:
        """Start to open a release. Returns its future at once, which may raise ServiceError, NoReleaseError.

        One that could not be read is tried again after `REOPEN_S`, or at once while no release serves.
        """
        with self._lock:
            opening = self._openings.get(release)
            retry = self.serving is None or time.monotonic() >= self._failed_at + REOPEN_S
            if opening is None or (retry and opening.done() and opening.exception() is not None):
                opening = self._openings[release] = self._background.submit(self._read, release)
            return opening

    def read_again(self, release: str) -> None:
        """Read a release again, in the background and at most every `REOPEN_S`: its model version may have changed."""
        with self._lock:
            if not self.read_again_lately:
                self._read_again_at = time.monotonic()
                self._background.submit(self._read, release)

    @property
    def read_again_lately(self) -> bool:
        return time.monotonic() < self._read_again_at + REOPEN_S

    def _wait_for(self, release: str, wait_s: float | None) -> Release:
        """Wait for a release that is being opened. Raises OpeningError, NoReleaseError, ServiceError."""
        if self.serving is not None and self.serving.release == release:
            return self.serving
        try:
            return self.begin_opening(release).result(OPENING_WAIT_S if wait_s is None else wait_s)
        except FutureTimeoutError as error:
            raise OpeningError(release) from error

    def _read(self, release: str) -> Release:
        """Read a release and keep it open. Raises ServiceError, NoReleaseError (any other error: it is damaged)."""
        try:
            opened = self._read_release(release)
        except Exception as error:
            self._failed_at = time.monotonic()
            if isinstance(error, (ServiceError, NoReleaseError)):
                log.warning("release %s cannot be opened: %s", release, error)
                raise
            log.exception("release %s cannot be opened", release)
            damaged = f"Release {release} is damaged ({type(error).__name__})"
            raise NoReleaseError(damaged, "Load it again: `make sync`.") from error
        with self._lock:
            serving = self.serving.release if self.serving else None
            if serving == release:  # it was read again
                self.serving = opened
            kept = (release, serving)
            self._openings = {name: each for name, each in self._openings.items() if name in kept or not each.done()}
        log.info("release %s is open: %d items", release, len(opened.catalogue))
        return opened


def _is_open(opening: Future[Release]) -> bool:
    return opening.done() and opening.exception() is None
