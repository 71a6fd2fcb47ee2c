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
from collections.abc import Callable, Mapping
from typing import Final

from data_exchange_center.errors import RecsysError
from online.clients.base import ServiceError
from online.clients.publishing import Control
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
        loaded: by id. Replaced as a whole, never changed.
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
        # of `loaded` and `active`: `replace_each` changes them, too
        self._lock = threading.Lock()
        self.loaded: Mapping[str, Release] = {}
        self.active: Release | None = None
        self._control: Control | None = None  # as Redis said last
        self._redis_failure: ServiceError | None = None  # of the last `follow`
        # release -> monotonic seconds, error
        self._failures: dict[str, tuple[float, RecsysError]] = {}
        self._to_reload: set[str] = set()
        self._reloaded_at = -math.inf  # monotonic seconds

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
        found = self.loaded.get(release or preferred or "")
        if found is None and release is None:
            found = self.active
        if found is not None:
            return found
        control, wanted = self._control, release
        if release is None:
            if self._redis_failure is not None:
                raise LoadingError(failure=self._redis_failure)
            wanted = control.active if control else None
            if control and wanted is None:
                raise NoReleaseError(NONE_ACTIVE)
        elif control and release not in control.published:
            raise UnknownReleaseError(release)
        _, failure = self._failures.get(wanted or "", (0.0, None))
        raise LoadingError(wanted, failure)

    def follow(self, *, only_active: bool = False) -> bool:
        """Load the published releases, the active one first, and drop those that are published no longer.

        ``only_active``: load no other one. Returns whether all of them are loaded. Raises ServiceError.
        """
        with self._following:
            try:
                control = self._control = self._users.control()
            except ServiceError as error:
                self._redis_failure = error
                raise
            self._redis_failure = None
            self._forgot(control.forgotten)
            active = control.active or ""
            wanted = sorted(control.published, key=lambda each: each != active)
            if only_active:
                wanted = wanted[: bool(active)]
            for release in wanted:
                self._load(release)
                with self._lock:
                    self.active = self.loaded.get(active, self.active)
            with self._lock:  # drop what is neither published nor answers
                kept = {*control.published, self.active and self.active.release}
                self.loaded = {
                    name: each for name, each in self.loaded.items() if name in kept
                }
            self._failures = {
                name: each for name, each in self._failures.items() if name in kept
            }
            return all(release in self.loaded for release in wanted)

    def refresh_items(self) -> bool:
        """Fetch the items' features of the loaded releases again, where they are too old."""
        for loaded in self.loaded.values():
            loaded.items.refresh()
        return True

    def _load(self, release: str) -> None:
        """Load a release that is not loaded, or is to be loaded again. One that failed waits for `RETRY_AFTER_S`."""
        if release in self.loaded and release not in self._to_reload:
            return
        failed_at, _ = self._failures.get(release, (-math.inf, None))
        if self.loaded and time.monotonic() < failed_at + RETRY_AFTER_S:
            return
        self._to_reload.discard(release)
        failure: RecsysError
        try:
            loaded = self._load_release(release)
        except (ServiceError, NoReleaseError) as error:
            log.warning("release %s cannot be loaded: %s", release, error)
            failure = error
        except Exception as error:
            log.exception("release %s cannot be loaded", release)
            what = f"It is damaged ({type(error).__name__})"
            failure = NoReleaseError(what, "Load it again: `make sync`.")
        else:
            self._failures.pop(release, None)
            with self._lock:
                self._put(loaded)
            log.info("release %s is loaded: %d items", release, len(loaded.catalogue))
            return
        self._failures[release] = time.monotonic(), failure

    def _put(self, loaded: Release) -> None:
        """Have a release in the place of the one with its id. The caller holds the lock."""
        self.loaded = {**self.loaded, loaded.release: loaded}
        if self.active is not None and self.active.release == loaded.release:
            self.active = loaded

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
        for name, before in self.loaded.items():
            after = view(before)
            with self._lock:
                if self.loaded.get(name) is before:
                    self._put(after)
        return list(self.loaded.values())
