"""The releases that this process has loaded, and which of them answers a request.

A release is *published* when all four stores hold it and Redis has its manifest, *loaded* when this process holds its
catalogue, channels and item features, and *active* when it answers the requests that name no other one.

A background thread calls `Releases.follow` twice a second: it loads what is published, and notes which release is
active. A request takes what is loaded (`Releases.get`) and never waits for a release.
"""

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from data_exchange_center.errors import RecsysError
from online.clients.base import ServiceError
from online.clients.feast import RETRY_AFTER_S
from online.clients.redis import RedisUsers
from online.recommend.known_users import KnownUsers
from online.recommend.loaded_release import Release
from online.recommend.outcomes import LoadingError, NoReleaseError, UnknownReleaseError

log = logging.getLogger(__name__)

NONE_ACTIVE: Final = (
    "No release is live yet. Run the steps of offline_to_online (`make sync`); "
    "the last one, release/s1_go_live.py, puts the release live."
)


class Releases:
    """The loaded releases. Shared by threads.

    Attributes:
        experiments: the running experiments, serialized, as Redis said last.
    """

    def __init__(
        self, users: RedisUsers, load: Callable[[str], Release], known_users: KnownUsers
    ) -> None:
        """``load`` reads a release from the services; ``known_users`` are dropped when somebody was forgotten."""
        self._users = users
        self._load_release = load
        self._known_users = known_users
        self._following = threading.Lock()  # held by the thread that loads
        self._lock = threading.Lock()  # of `_loaded`: `replace_each` changes it, too
        self._loaded: dict[str, Release] = {}
        self._answering = ""  # the release that answers: the active one, or the one before it until that is loaded
        self._published: Sequence[str] | None = None  # None: Redis has not said yet
        self._failures: dict[
            str, tuple[float, RecsysError]
        ] = {}  # release -> monotonic seconds, error
        self._to_reload: set[str] = set()
        self._reloaded_at = -math.inf  # monotonic seconds
        self._active_id: str | None = None  # as Redis said last
        self._redis_failure: ServiceError | None = None  # of the last `follow`

    @property
    def active(self) -> Release | None:
        """What answers: the active release, or the one before it until that is loaded; None: none was loaded yet."""
        return self._loaded.get(self._answering)

    @property
    def loaded_count(self) -> int:
        return len(self._loaded)

    def get(self, release: str | None = None, preferred: str | None = None) -> Release:
        """The release that answers a request.

        Args:
            release: named by the request, which no other one may answer.
            preferred: answers instead of the active one, if it is loaded.

        Raises:
            UnknownReleaseError: the named release is not published.
            LoadingError: it is not loaded yet, or no release is.
            NoReleaseError: no release was ever activated.
        """
        if release is not None:
            return self._named(release)
        found = self.loaded(preferred) if preferred else None
        if found is None:
            found = self.active
        if found is None:
            raise self._why_none()
        return found

    def _why_none(self) -> NoReleaseError:
        """Why no release answers."""
        if self._redis_failure is not None:
            return LoadingError(failure=self._redis_failure)
        if self._published is not None and self._active_id is None:
            return NoReleaseError(NONE_ACTIVE)
        return LoadingError(self._active_id, self._failure_of(self._active_id))

    def _named(self, release: str) -> Release:
        found = self.loaded(release)
        if found is not None:
            return found
        if self._published is not None and release not in self._published:
            raise UnknownReleaseError(release)
        raise LoadingError(release, self._failure_of(release))

    def loaded(self, release: str) -> Release | None:
        """The release, if it is loaded."""
        return self._loaded.get(release)

    def follow(self, *, only_active: bool = False) -> bool:
        """Load the published releases, the active one first, and drop those that are published no longer.

        ``only_active``: load no other one. Returns whether all of them are loaded. Raises ServiceError.
        """
        with self._following:
            return self._follow(only_active=only_active)

    def _follow(self, *, only_active: bool) -> bool:
        try:
            control = self._users.control()
        except ServiceError as error:
            self._redis_failure = error
            raise
        self._redis_failure = None
        self._known_users.follow(control.forgotten)
        self._published = control.published
        self._active_id = control.active
        if control.active is not None:
            self._load(control.active)
            if control.active in self._loaded:
                self._answering = control.active
        if only_active:
            return self.active is not None
        for release in control.published:
            self._load(release)
        self._drop_others([*control.published, self._answering])
        return all(release in self._loaded for release in control.published)

    def _load(self, release: str) -> None:
        """Load a release that is not loaded, or is to be loaded again. One that failed waits for `RETRY_AFTER_S`."""
        if release in self._loaded and release not in self._to_reload:
            return
        failed_at, _ = self._failures.get(release, (-math.inf, None))
        if self._loaded and time.monotonic() < failed_at + RETRY_AFTER_S:
            return
        self._to_reload.discard(release)
        try:
            loaded = self._load_release(release)
        except (ServiceError, NoReleaseError) as error:
            log.warning("release %s cannot be loaded: %s", release, error)
            self._failures[release] = time.monotonic(), error
            return
        except Exception as error:
            log.exception("release %s cannot be loaded", release)
            damaged = NoReleaseError(
                f"It is damaged ({type(error).__name__})", "Load it again: `make sync`."
            )
            self._failures[release] = time.monotonic(), damaged
            return
        self._failures.pop(release, None)
        with self._lock:
            self._loaded = {**self._loaded, release: loaded}
        log.info("release %s is loaded: %d items", release, len(loaded.catalogue))

    def _failure_of(self, release: str | None) -> RecsysError | None:
        """Why a release could not be loaded the last time."""
        _, failure = self._failures.get(release or "", (0.0, None))
        return failure

    def _drop_others(self, releases: Sequence[str]) -> None:
        with self._lock:
            self._loaded = {
                name: loaded
                for name, loaded in self._loaded.items()
                if name in releases
            }
        self._failures = {
            name: failure
            for name, failure in self._failures.items()
            if name in releases
        }

    def reload(self, release: str) -> None:
        """Have a release loaded again, at most every `RETRY_AFTER_S`: a store no longer has what was loaded of it."""
        now = time.monotonic()
        if now >= self._reloaded_at + RETRY_AFTER_S:
            self._reloaded_at = now
            self._to_reload.add(release)

    def replace_each(self, view: Callable[[Release], Release]) -> list[Release]:
        """Replace each loaded release by ``view`` of it. Returns those that are loaded now.

        Views are computed without the lock; a release that was loaded again meanwhile stays.
        """
        for name, before in list(self._loaded.items()):
            after = view(before)
            with self._lock:
                if self._loaded.get(name) is before:
                    self._loaded = {**self._loaded, name: after}
        return list(self._loaded.values())
