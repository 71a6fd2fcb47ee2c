"""Which release is served: opened when the live pointer names a new one, while the old one serves on."""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import Executor, Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, replace

from online.clients.base import ServiceError
from online.clients.elastic import ElasticItems
from online.clients.redis import RedisUsers, StoredUser, UserQuery
from online.recommend.item_cache import FeatureStore
from online.recommend.open_release import NoReleaseError, OpenRelease, ReleaseReader

log = logging.getLogger(__name__)

KEPT = 2  # releases that stay open, so that going back to the one before takes no time
OPENING_WAIT_S = 3.0  # of a request, for a release that is being opened; it takes about one second
REOPEN_S = 5.0  # after an opening that failed, while another release serves

NOTHING_LIVE = (
    "No release is live yet. Run the steps of offline_to_online (`make sync`); "
    "the last one, release/s1_go_live.py, puts the release live."
)


class OpeningError(NoReleaseError):
    """The release is still being opened, for longer than a request waits."""

    def __init__(self, release: str) -> None:
        super().__init__(f"Release {release} is being opened, which takes a few seconds. Please ask again.")


@dataclass(frozen=True, eq=False)
class _Failure:
    """An opening that failed, and until when (monotonic seconds) it is not tried again."""

    release: str
    until: float
    error: Exception


class Releases:
    """The open releases. Shared by threads; each release is opened once, whoever asks for it meanwhile."""

    def __init__(
        self, users: RedisUsers, items: ElasticItems, features: FeatureStore, background: Executor, ttl_s: float
    ) -> None:
        self._users = users
        self._reader = ReleaseReader(users, items, features, background, ttl_s)
        self._background = background
        self._lock = threading.Lock()
        self._open: dict[str, OpenRelease] = {}  # oldest first
        self._opening: dict[str, Future[OpenRelease]] = {}
        self._current: OpenRelease | None = None
        self._failure: _Failure | None = None

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
        request waits for the new one. One that could not be opened is tried again after `REOPEN_S`.
        Raises NoReleaseError, ServiceError.
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
        try:
            if answer.user is not None and not self._start(answer.live).done():
                return held, answer.user
            opened = self._wait_for(answer.live)
        except (ServiceError, NoReleaseError):
            if answer.user is None:
                raise
            return held, answer.user  # the reason is logged where it happened
        return opened, self._users.call(UserQuery(userid, opened.release)).user

    def instead_of(
        self, failed: OpenRelease, userid: int, *, gone: bool
    ) -> tuple[OpenRelease, StoredUser | None] | None:
        """What may answer where a service has failed on ``failed``: the release that is live by now, or the same one
        with the version of the model that is published by now, if what was asked for is ``gone``. None: nothing may.
        """
        try:
            live = self._users.call(UserQuery(0, None)).live
            if live is None or (live == failed.release and not gone):
                return None
            fresh = self._renewed(failed) if live == failed.release else self._wait_for(live)
            return (fresh, self._users.call(UserQuery(userid, live)).user) if fresh else None
        except (ServiceError, NoReleaseError) as error:
            log.warning("nothing answers instead of release %s: %s", failed.release, error)
            return None

    def _renewed(self, failed: OpenRelease) -> OpenRelease | None:
        """The release with its model as published now; None when that is the one that failed."""
        published = self._users.published(failed.release)
        if published is None:
            return None
        model = (published.triton_model, published.triton_version)
        if model == (failed.model, failed.model_version):
            return None
        fresh = replace(failed, model=model[0], model_version=model[1])
        with self._lock:
            if failed.release in self._open:
                self._open[failed.release] = fresh
            if self._current is not None and self._current.release == failed.release:
                self._current = fresh
        log.info("release %s is scored by %s version %d now", failed.release, *model)
        return fresh

    def _wait_for(self, release: str) -> OpenRelease:
        try:
            opened = self._start(release).result(OPENING_WAIT_S)
        except FutureTimeoutError as error:
            raise OpeningError(release) from error
        self._current = opened
        return opened

    def _start(self, release: str) -> Future[OpenRelease]:
        with self._lock:
            done: Future[OpenRelease] = Future()
            if release in self._open:
                done.set_result(self._open[release])
                return done
            failure = self._failure if self._current is not None else None  # with nothing to serve, try at once
            if failure is not None and failure.release == release and time.monotonic() < failure.until:
                done.set_exception(failure.error)
                return done
            if release not in self._opening:
                self._opening[release] = self._background.submit(self._open_release, release)
            return self._opening[release]

    def _read(self, release: str) -> OpenRelease:
        """Raises ServiceError, NoReleaseError; anything else is damage, which must not end the release before."""
        try:
            return self._reader.read(release)
        except (ServiceError, NoReleaseError) as error:
            log.warning("release %s cannot be opened: %s", release, error)
            raise
        except Exception as error:
            log.exception("release %s cannot be opened", release)
            raise NoReleaseError(
                f"Release {release} is damaged ({type(error).__name__}). Load it again: `make sync`."
            ) from error

    def _open_release(self, release: str) -> OpenRelease:
        try:
            opened = self._read(release)
        except (ServiceError, NoReleaseError) as error:
            with self._lock:
                self._opening.pop(release, None)
                self._failure = _Failure(release, time.monotonic() + REOPEN_S, error)
            raise
        with self._lock:
            self._open[release] = opened
            self._opening.pop(release, None)
            self._failure = None
            for old in list(self._open)[:-KEPT]:
                del self._open[old]
        log.info("release %s is open: %d items", release, len(opened.catalogue))
        return opened
