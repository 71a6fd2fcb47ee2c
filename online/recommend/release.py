"""Releases: what a process holds of one in memory, and which one answers a request.

The live one answers, or the one before it while the live one is being opened. Item features are encoded once as far as
the request's time is not needed: Feast needs 33 ms for those of 200 items, more than all the rest of a request.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.channels import ChannelSet
from data_exchange_center.dataset import IdKind, OwnId
from data_exchange_center.features import Encoded, FeatureSpec
from data_exchange_center.fusion import Hits
from data_exchange_center.release import Manifest
from data_exchange_center.vocabulary import Vocabulary
from online.clients.base import Asks, Client, ServiceError, StoredError
from online.clients.elastic import CatalogueItem, ElasticItems
from online.clients.feast import FeatureQuery, FeatureRows
from online.clients.redis import WHICH_IS_LIVE, RedisUsers, StoredUser, UserAnswer, UserQuery
from online.recommend.fallback import ExactItems, LastRelease, SavedPopular
from online.recommend.types import NoReleaseError, UnknownReleaseError

log = logging.getLogger(__name__)

KEPT = 2  # releases that stay open, the serving one among them, so that going back takes no time
REOPEN_S = 5.0  # after an opening that failed, while another release serves
OPENING_WAIT_S = 3.0  # of a request with nothing else to answer from; to open a release takes about one second
RENEWED_S = 1.0  # how long it is believed that no other version of a model is published than the one that is gone
Users = Asks[UserQuery, UserAnswer]

NOTHING_LIVE = (
    "No release is live yet. Run the steps of offline_to_online (`make sync`); "
    "the last one, release/s1_go_live.py, puts the release live."
)
# 500 items with the source's 18 features take about 0.1 s, well within the timeout; hundreds of categories are hundreds
# of features.
CHUNK = 500  # items per call at most
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

    def current(self, user: StoredUser, before: int | None) -> StoredUser:
        """A user as a request sees it: `StoredUser.current`."""
        return user.current(self.manifest.dataset, self.numbers, before)

    @property
    def unknown_user(self) -> Encoded:
        """The features of somebody of whom nothing is known."""
        return Encoded.none(self.spec.of("user"), 1)

    @property
    def user_ids(self) -> IdKind:
        return self.manifest.dataset.user_ids


def read_release(
    users: RedisUsers,
    items: ElasticItems,
    features: FeatureStore,
    release: str,
    *,
    background: Executor,
    ttl_s: float,
    exact_items: int,
) -> Release:
    """Read a release: manifest and popular list from Redis, the catalogue from Elasticsearch, items from Feast.

    Args:
        background: where the items' features are refreshed.
        ttl_s: how old those may be, in seconds.
        exact_items: how many can be searched without Elasticsearch: the most popular.

    Raises NoReleaseError, ServiceError.
    """
    published = users.published(release)
    if published is None:
        raise NoReleaseError(
            f"Release {release} is named as live, but its manifest is missing from Redis",
            "Run offline_to_online/release/s1_go_live.py again.",
        )
    spec = published.manifest.feature_spec
    catalogue = items.catalogue(release)
    popular = [(itemid, score) for itemid, score in users.popular(release) if itemid in catalogue]
    itemids = list(catalogue)
    ordered = list(dict.fromkeys([itemid for itemid, _ in popular] + itemids))
    dims = published.manifest.vector_dims
    return Release(
        manifest=published.manifest,
        channels=users.channels(release),
        model=published.triton_model,
        model_version=published.triton_version,
        catalogue=catalogue,
        popular=Hits(
            ids=np.array([itemid for itemid, _ in popular], np.int64),
            scores=np.array([score for _, score in popular], np.float32),
        ),
        items=ItemCache(lambda: fetch_items(features, spec, release, itemids), ttl_s, background),
        exact=ExactItems.of(items.indexed(release, ordered[:exact_items], list(dims)), dims),
    )


@dataclass(frozen=True, eq=False)
class EncodedItems:
    """The features of all items that have every feature."""

    itemids: NDArray[np.int32]  # (n,) ascending
    rows: Encoded  # n

    def find(self, wanted: NDArray[np.integer]) -> tuple[NDArray[np.bool_], Encoded]:
        """Mask of ``wanted`` (m,) that are here, and the rows of those, in the order wanted."""
        codes = Vocabulary(self.itemids).codes(wanted)
        known = codes > 0
        return known, self.rows[codes[known] - 1]


def fetch_items(store: FeatureStore, spec: FeatureSpec, release: str, itemids: Sequence[int]) -> EncodedItems:
    """All items' features from the store, `CHUNK` items and `VALUES` values a call at most. Raises ServiceError."""
    found: list[int] = []
    parts = [Encoded.none(spec.of("item"))]
    missing = 0
    ordered = sorted(itemids)
    size = min(CHUNK, max(1, VALUES // max(1, len(spec.stored("item")))))
    for start in range(0, len(ordered), size):
        answer = store.call(FeatureQuery("item", release, ordered[start : start + size]))
        missing += len(answer.missing)
        if answer.ids:
            found.extend(answer.ids)
            parts.append(spec.encode_items(answer.columns))
    if missing:
        log.warning("release %s: %d of %d items have no features and cannot be ranked", release, missing, len(ordered))
    return EncodedItems(np.array(found, np.int32), Encoded.joined(parts))


class ItemCache:
    """Encoded items, fetched again when older than ``ttl_s``; the stale copy serves until the new one is there."""

    def __init__(
        self,
        fetch: Callable[[], EncodedItems],
        ttl_s: float,
        background: Executor,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Fetches at once. Raises what ``fetch`` raises."""
        self._fetch = fetch
        self._ttl_s = ttl_s
        self._background = background
        self._clock = clock
        self._lock = threading.Lock()
        self._refreshing = False
        self._items = fetch()
        self.fetched_at = time.time()  # Unix seconds, of the copy at hand
        self._stale_at = clock() + ttl_s

    def current(self) -> EncodedItems:
        """The copy at hand; a refresh is started when it is stale."""
        if self._clock() >= self._stale_at:
            with self._lock:
                due = not self._refreshing and self._clock() >= self._stale_at
                self._refreshing = self._refreshing or due
            if due:
                self._background.submit(self._refresh)
        return self._items

    def _refresh(self) -> None:
        wait_s = RETRY_S
        try:
            fresh, held = self._fetch(), self._items
            lost = int((~np.isin(held.itemids, fresh.itemids)).sum())
            if lost:  # of a release nothing is taken away, so the store is at fault
                log.warning(
                    "%d of %d items have lost their features, the copy at hand is kept", lost, len(held.itemids)
                )
            else:
                self._items, wait_s = fresh, self._ttl_s
                self.fetched_at = time.time()
        except ServiceError as error:
            log.warning("item features could not be refreshed, the ones at hand serve on: %s", error)
        except Exception:
            log.exception("item features could not be refreshed, the ones at hand serve on")
        finally:
            with self._lock:
                self._stale_at = self._clock() + wait_s
                self._refreshing = False


@dataclass(frozen=True, eq=False)
class _Failure:
    """An opening that failed, and until when (monotonic seconds) it is not tried again."""

    release: str
    until: float
    error: Exception


class Releases:
    """The releases of a process: which are open, and which one answers a request. Shared by threads.

    A release is in one of four states::

        closed  -> opening   it is requested (`open`)
        opening -> open      all of it was read
        opening -> failed    it could not be read; the next `open` after `REOPEN_S` tries again, or the next at once
                             while no release serves
        open    -> closed    it does not serve, and another one was opened after it that does not serve either

    At most one of the open ones serves (`serve`); requests are answered from it.

    Requests are answered from the one that serves, which is the live one as soon as that is open; every answer of Redis
    says which is live. An experiment, or a request that names it, may have another one answer.
    """

    def __init__(
        self, users: RedisUsers, read: Callable[[str], Release], background: Executor, last: LastRelease | None
    ) -> None:
        """``read`` reads a release from the services, on ``background``; ``last``: where its popular list is kept."""
        self._users = users
        self._read = read
        self._background = background
        self._last = last
        self._lock = threading.Lock()
        self._open: dict[str, Release] = {}  # oldest first
        self._opening: dict[str, Future[Release]] = {}
        self._failure: _Failure | None = None  # the last opening, when it failed
        self._serving: str | None = None  # a key of `_open`
        self._live: str | None = None  # as Redis said last
        self.forgotten = 0  # how often somebody was forgotten, as Redis said last
        self.experiments: bytes | None = None  # those that run, packed, as Redis said last
        self._not_renewed: tuple[str, str, int, float] | None = None  # release, model, version; until when

    # --- which one answers

    @property
    def serving(self) -> Release | None:
        """The release that requests are answered from; None until the first is open."""
        with self._lock:
            return self._open[self._serving] if self._serving is not None else None

    @property
    def saved(self) -> SavedPopular | None:
        """The popular list of the release that was opened last, by this process or one before it."""
        return self._last.saved if self._last else None

    @property
    def something_to_answer_with(self) -> bool:
        return self.serving is not None or self.saved is not None

    def is_live(self, opened: Release) -> bool:
        """Whether this was the live release at the last answer of Redis."""
        return self._live == opened.release

    @property
    def open_count(self) -> int:
        return len(self._open)

    def live(self, users: Users | None = None, wait_s: float | None = None) -> Release:
        """The live release, opened. Raises NoReleaseError, ServiceError."""
        answer = (users or self._users).call(WHICH_IS_LIVE)
        live = self._live = answer.live
        self.experiments = answer.experiments
        if live is None:
            raise NoReleaseError(NOTHING_LIVE)
        return self._served(self.open(live), live, wait_s)

    def for_events(self) -> Release:
        """The live release, whose data set says what an event may be; while it cannot be had, the one that serves, if
        that is of the same data set. Raises NoReleaseError, ServiceError.
        """
        serving, live = self.serving, self._users.call(WHICH_IS_LIVE).live
        if serving is None or live is None or not (live == serving.release or self._stands_for(serving, live)):
            return self.live()
        return serving

    def _stands_for(self, serving: Release, live: str) -> bool:
        """Whether the live release is not open, and of the data set of the one that serves."""
        opening = self.open(live)
        if opening.done() and opening.exception() is None:
            return False
        published = self._users.published(live)
        return published is not None and published.manifest.dataset.base_name == serving.manifest.dataset.base_name

    def named(self, release: str, wait_s: float | None = None) -> Release:
        """A release that need not be live, opened; which one serves does not change. ``wait_s``: as `user`.

        Raises UnknownReleaseError, OpeningError, NoReleaseError, ServiceError.
        """
        if release not in self._open and self._users.published(release) is None:
            raise UnknownReleaseError(release)
        return self._opened(self.open(release), release, wait_s)

    def preferred(self, release: str | None) -> Release | None:
        """A release that is to answer, if it is open; else the one that serves, and that one is being opened."""
        serving = self.serving
        if serving is None or release is None or release == serving.release:
            return serving
        opening = self.open(release)
        return opening.result() if opening.done() and opening.exception() is None else serving

    def user(
        self, userid: OwnId, users: Users, wait_s: float | None = None, preferred: str | None = None
    ) -> tuple[Release, StoredUser | None]:
        """A user's state (None: unknown), and the release: one round trip, unless the live release has changed.

        ``wait_s``: for a release that is being opened, if nothing else can answer; None: `OPENING_WAIT_S`.
        ``preferred``: a release that answers instead of the live one, once it is open and while it is kept.
        Raises NoReleaseError, ServiceError.
        """
        serving = self.serving
        if serving is None:
            return self._with_user(self.live(users, wait_s), userid, users)
        chosen = self.preferred(preferred) or serving
        answer, live = self._state_of(userid, chosen, users)
        if chosen is not serving:
            if live != serving.release:
                self._follow(live)
            if answer.kept:
                return chosen, answer.user
            answer, live = self._state_of(userid, serving, users)
        if live == serving.release:
            if answer.user is None and not answer.kept:  # not a stranger: Redis has lost what it held
                raise StoredError("redis", f"holds release {serving.release} no longer, although it is live")
            return serving, answer.user
        opening = self.open(live)
        return self._switched(live, opening, serving, answer, userid, users, wait_s)

    def _state_of(self, userid: OwnId, opened: Release, users: Users) -> tuple[UserAnswer, str]:
        """A user under a release, and which one is live. Raises NoReleaseError, ServiceError."""
        answer = users.call(UserQuery.of(userid, opened.manifest))
        self._live, self.forgotten, self.experiments = answer.live, answer.forgotten, answer.experiments
        if answer.live is None:
            raise NoReleaseError(NOTHING_LIVE)
        return answer, answer.live

    def _follow(self, live: str) -> None:
        """Have the new live release opened, and serve once it is."""
        opening = self.open(live)
        if opening.done() and opening.exception() is None:
            self._served(opening, live, 0.0)

    def _switched(
        self,
        live: str,
        opening: Future[Release],
        old: Release,
        answer: UserAnswer,
        userid: OwnId,
        users: Users,
        wait_s: float | None,
    ) -> tuple[Release, StoredUser | None]:
        """The new live release once it is open; until then, and where it cannot be opened, the old one.

        Once the old one is deleted from Redis there is nothing else to answer from, so the request waits for the new
        one, and fails where that cannot be opened.
        """
        old_answers = answer.kept or answer.user is not None
        if old_answers and not opening.done():
            return old, answer.user
        try:
            opened = self._served(opening, live, wait_s)
        except (ServiceError, NoReleaseError):  # the reason is logged where it happened
            if old_answers:
                return old, answer.user
            raise
        return self._with_user(opened, userid, users)

    def instead_of(
        self, failed: Release, userid: OwnId, users: Users, *, gone: bool, wait_s: float | None
    ) -> tuple[Release, StoredUser | None] | None:
        """Find a release to answer after a service has failed on ``failed``; None: there is none.

        The release that is live by now; or the same one with the version of the model that is published by now, when
        what was requested is ``gone``.
        """
        try:
            live = users.call(WHICH_IS_LIVE).live
            if live is None or (live == failed.release and not gone):
                return None
            fresh = self._renewed(failed) if live == failed.release else self._served(self.open(live), live, wait_s)
            return self._with_user(fresh, userid, users) if fresh else None
        except (ServiceError, NoReleaseError) as error:
            log.warning("nothing answers instead of release %s: %s", failed.release, error)
            return None

    def may_be_renewed(self, opened: Release) -> bool:
        """False while it is known that a release is published with no other version of its model."""
        if self._not_renewed is None:
            return True
        *what, until = self._not_renewed
        return what != [opened.release, opened.model, opened.model_version] or time.monotonic() >= until

    def _renewed(self, failed: Release) -> Release | None:
        """The release with its model as published now; None when that is the one that failed."""
        published = self._users.published(failed.release)
        if published is None:
            return None
        model = (published.triton_model, published.triton_version)
        if model == (failed.model, failed.model_version):
            self._not_renewed = (failed.release, *model, time.monotonic() + RENEWED_S)
            return None
        return self.renew(failed.release, *model)

    def _served(self, opening: Future[Release], release: str, wait_s: float | None) -> Release:
        """Wait for a release that is being opened, and answer from it from now on."""
        opened = self._opened(opening, release, wait_s)
        if self._last is not None:
            self._background.submit(self._last.keep, opened)
        return self.serve(opened)

    def _opened(self, opening: Future[Release], release: str, wait_s: float | None) -> Release:
        """Wait for a release that is being opened."""
        try:
            return opening.result(OPENING_WAIT_S if wait_s is None else wait_s)
        except FutureTimeoutError as error:
            raise OpeningError(release) from error

    def _with_user(self, opened: Release, userid: OwnId, users: Users) -> tuple[Release, StoredUser | None]:
        return opened, users.call(UserQuery.of(userid, opened.manifest)).user

    # --- from one state to another

    def open(self, release: str) -> Future[Release]:
        """The release once it is open, or why it cannot be: ServiceError, NoReleaseError. Returns at once."""
        with self._lock:
            if release in self._open:
                return _done(self._open[release])
            if self._serving is not None and (error := self._recent_failure(release)) is not None:
                return _failed(error)
            if release not in self._opening:
                self._opening[release] = self._background.submit(self._open_release, release)
            return self._opening[release]

    def serve(self, opened: Release) -> Release:
        """Answer from this release from now on. Returns it as it is now: another thread may have renewed it."""
        with self._lock:
            current = self._open.setdefault(opened.release, opened)
            self._serving = opened.release
            return current

    def renew(self, release: str, model: str, version: int) -> Release | None:
        """Have an open release scored by another version of its model. None: it is not open any more."""
        with self._lock:
            if release not in self._open:
                return None
            fresh = self._open[release] = replace(self._open[release], model=model, model_version=version)
        log.info("release %s is scored by %s version %d now", release, model, version)
        return fresh

    def _recent_failure(self, release: str) -> Exception | None:
        failure = self._failure
        if failure is None or failure.release != release or time.monotonic() >= failure.until:
            return None
        return failure.error

    def _open_release(self, release: str) -> Release:
        try:
            opened = self._whole(release)
        except (ServiceError, NoReleaseError) as error:
            with self._lock:
                del self._opening[release]
                self._failure = _Failure(release, time.monotonic() + REOPEN_S, error)
            raise
        with self._lock:
            del self._opening[release]
            self._failure = None
            self._open[release] = opened
            idle = [each for each in self._open if each != self._serving]
            for old in idle[: len(idle) - (KEPT - 1)]:
                del self._open[old]
        log.info("release %s is open: %d items", release, len(opened.catalogue))
        return opened

    def _whole(self, release: str) -> Release:
        """Raises ServiceError, NoReleaseError; anything else is damage, which must not end the release before."""
        try:
            return self._read(release)
        except (ServiceError, NoReleaseError) as error:
            log.warning("release %s cannot be opened: %s", release, error)
            raise
        except Exception as error:
            log.exception("release %s cannot be opened", release)
            raise NoReleaseError(
                f"Release {release} is damaged ({type(error).__name__})", "Load it again: `make sync`."
            ) from error


def _done(opened: Release) -> Future[Release]:
    future: Future[Release] = Future()
    future.set_result(opened)
    return future


def _failed(error: Exception) -> Future[Release]:
    future: Future[Release] = Future()
    future.set_exception(error)
    return future
