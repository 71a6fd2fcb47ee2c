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
from online.clients.redis import RedisUsers
from online.recommend.item_cache import RETRY_AFTER_S
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
        active: what answers: the active release, or the one before it until that is loaded; None: none was loaded yet.
    """

    def __init__(
        self,
        users: RedisUsers,
        load: Callable[[str], Release],
        forgot: Callable[[int], None],
    ) -> None:
        """``load`` reads a release from the services; ``forgot`` hears how many users were forgotten so far."""
        self._users = users
        self._load_release = load
        self._forgot = forgot
        self._following = threading.Lock()  # held by the thread that loads
        # of `_loaded` and `active`: `replace_each` changes them, too
        self._lock = threading.Lock()
        self._loaded: dict[str, Release] = {}
        self._published: Sequence[str] | None = None  # None: Redis has not said yet
        self._active_id: str | None = None  # as Redis said last
        # release -> monotonic seconds, error
        self._failures: dict[str, tuple[float, RecsysError]] = {}
        self._to_reload: set[str] = set()
        self._reloaded_at = -math.inf  # monotonic seconds
        self._redis_failure: ServiceError | None = None  # of the last `follow`
        self.active: Release | None = None

    @property
    def loaded_count(self) -> int:
        return len(self._loaded)

    def loaded(self, release: str) -> Release | None:
        """The release, if it is loaded."""
        return self._loaded.get(release)

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
        found = self.loaded(release or preferred or "")
        if found is None and release is None:
            found = self.active
        if found is not None:
            return found
        if release is None:
            if self._redis_failure is not None:
                raise LoadingError(failure=self._redis_failure)
            if self._published is not None and self._active_id is None:
                raise NoReleaseError(NONE_ACTIVE)
        elif self._published is not None and release not in self._published:
            raise UnknownReleaseError(release)
        wanted = release or self._active_id
        _, failure = self._failures.get(wanted or "", (0.0, None))
        raise LoadingError(wanted, failure)

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
        self._forgot(control.forgotten)
        self._published = control.published
        self._active_id = control.active
        if control.active is not None:
            self._load(control.active)
            with self._lock:
                self.active = self._loaded.get(control.active, self.active)
        if only_active:
            return self.active is not None
        for release in control.published:
            self._load(release)
        self._drop_others(control.published)
        return all(release in self._loaded for release in control.published)

    def refresh_items(self) -> bool:
        """Fetch the items' features of the loaded releases again, where they are too old."""
        for loaded in list(self._loaded.values()):
            loaded.items.refresh()
        return True

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
        self._replace(release, loaded)
        log.info("release %s is loaded: %d items", release, len(loaded.catalogue))

    def _replace(self, name: str, loaded: Release) -> None:
        with self._lock:
            self._loaded = {**self._loaded, name: loaded}
            if self.active is not None and self.active.release == name:
                self.active = loaded

    def _drop_others(self, published: Sequence[str]) -> None:
        """Drop what is neither published nor answers."""
        with self._lock:
            active = [self.active.release] if self.active is not None else []
            named = {*published, *active}
            self._loaded = {
                name: each for name, each in self._loaded.items() if name in named
            }
        self._failures = {
            name: each for name, each in self._failures.items() if name in named
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
                if self._loaded.get(name) is not before:
                    continue
                self._loaded = {**self._loaded, name: after}
                if self.active is before:
                    self.active = after
        return list(self._loaded.values())
