"""Registry of the releases that this process has loaded, and which of them answers a request.

A release is *published* when all four stores hold it and Redis has its manifest, *loaded* when this process holds its
catalogue, channels and item features, and *active* when it answers the requests that name no other one. Loading takes
about a second and happens in the background: a thread polls `Registry.follow`, which loads what is published. A request
only looks up which loaded release is its own (`Registry.find`); what it does not find is loaded from then on.
"""

import logging
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from concurrent.futures import TimeoutError as FutureTimeoutError

from data_exchange_center import candidates, dataset
from online.clients import base
from online.clients.feast import RETRY_AFTER_S
from online.clients.redis import WHICH_IS_LIVE, RedisUsers, UserAnswer, UserQuery
from online.recommend import last_release, outcomes, types
from online.recommend.loaded_release import Release

log = logging.getLogger(__name__)

LOADING_WAIT_S = 3.0  # at most, of a request that only a release that is being loaded can answer
NONE_ACTIVE = (
    "No release is live yet. Run the steps of offline_to_online (`make sync`); "
    "the last one, release/s1_go_live.py, puts the release live."
)

Users = base.Caller[UserQuery, UserAnswer]


class Registry:
    """The loaded releases. Shared by threads.

    Attributes:
        active: what answers: the active release, or the one before it until that is loaded; None: none was loaded yet.
        last: the popular list of the release that was active last, in this process or an earlier one.
        active_id, forgotten, experiments: as Redis said last: the active release, how many users were forgotten, and
            the running experiments, serialized.
    """

    def __init__(
        self, users: RedisUsers, load: Callable[[str], Release], background: Executor, last: last_release.LastRelease
    ) -> None:
        """``load`` reads a release from the services, on ``background``."""
        self._users, self._load_release, self._background, self.last = users, load, background, last
        self._lock, self._keeping = threading.Lock(), threading.Lock()
        self._loaded: dict[str, Release] = {}
        self._loading: dict[str, Future[Release]] = {}  # those that have failed, too
        self._failures: dict[str, tuple[float, Exception]] = {}  # release -> monotonic seconds, error
        self._reloaded_at = -math.inf  # monotonic seconds
        self.active: Release | None = None
        self.active_id: str | None = None
        self.forgotten = 0
        self.experiments: bytes | None = None

    @property
    def can_serve(self) -> bool:
        return self.active is not None or self.last.saved is not None

    @property
    def loaded_count(self) -> int:
        return len(self._loaded)

    def find(
        self, userid: dataset.OwnId, users: Users, named: str | None = None, preferred: str | None = None
    ) -> tuple[Release, candidates.StoredUser | None]:
        """The release that answers, and the user's state (None: unknown), in one round trip unless another is active.

        ``users``: the client with the request's limits; ``named``: the release that the request wants and no other;
        ``preferred``: one that answers if it is loaded and Redis still holds it. Raises LoadingError if the request's
        release is not loaded, NoReleaseError, UnknownReleaseError, WrongIdError for a named release, ServiceError.
        """
        if named is not None:
            opened = self.get(named, 0, users)
            types.check_userid(userid, opened.user_ids)
        else:
            opened = (self.loaded(preferred) if preferred else None) or self.active or self.get_active(0, users)
        answer = users.call(UserQuery(userid, opened.release, opened.dataset))
        if named is not None:
            if not answer.kept:
                raise outcomes.UnknownReleaseError(named)
            return opened, answer.user
        active_id = self._note(answer)
        if opened.release != active_id:
            can_answer = answer.kept and types.is_of_kind(userid, opened.user_ids)
            active = None if can_answer and opened.release == preferred else self.loaded(active_id)
            if active is None and can_answer:  # while Redis holds the former release, it answers
                return opened, answer.user
            if active is None:
                raise outcomes.LoadingError(active_id)
            opened, answer = active, users.call(UserQuery(userid, active.release, active.dataset))
        if not answer.kept:
            raise base.StoredError("redis", f"lacks the data of release {opened.release}, which is active")
        return opened, answer.user

    def get(self, release: str | None = None, wait_s: float | None = None, users: Users | None = None) -> Release:
        """The named release, or the active one, once it is loaded, after ``wait_s`` (None: `LOADING_WAIT_S`) at most.

        ``users``: the client with a request's limits. Raises UnknownReleaseError for one that is not published,
        LoadingError, NoReleaseError, ServiceError.
        """
        if release is None:
            return self.active or self.get_active(wait_s, users)
        loading = self._loading.get(release)
        known = release in self._loaded or (loading is not None and not loading.done())
        if not known and not (users or self._users).call(UserQuery(0, release, "")).kept:
            raise outcomes.UnknownReleaseError(release)
        return self.wait_for(release, wait_s)

    def get_active(self, wait_s: float | None = None, users: Users | None = None) -> Release:
        """The release that Redis says is active. Otherwise as `get`."""
        return self.wait_for(self._note((users or self._users).call(WHICH_IS_LIVE)), wait_s)

    def loaded(self, release: str) -> Release | None:
        """The release; None: it is not loaded, and is being loaded from now on."""
        if (found := self._loaded.get(release)) is None:
            self._begin(release)
        return found

    def wait_for(self, release: str, wait_s: float | None = None) -> Release:
        """The release, once it is loaded. Raises LoadingError, and what loading it has raised."""
        if (found := self._loaded.get(release)) is not None:
            return found
        try:
            return self._begin(release).result(LOADING_WAIT_S if wait_s is None else wait_s)
        except FutureTimeoutError as error:
            raise outcomes.LoadingError(release, self._failures.get(release, (0, None))[1]) from error

    def _note(self, answer: UserAnswer) -> str:
        """Note what Redis said of all users. Returns the active release. Raises NoReleaseError."""
        self.forgotten, self.experiments = answer.forgotten, answer.experiments
        if answer.live != self.active_id or self.active is None or self.active.release != answer.live:
            self.active_id = answer.live
            self._switch()
        if answer.live is None:
            raise outcomes.NoReleaseError(NONE_ACTIVE)
        return answer.live

    def follow(self) -> bool:
        """Load the published releases, and drop those that are published no longer. Raises ServiceError."""
        self.active_id, published = self._users.listed()
        self._switch()
        for release in sorted(published, key=lambda each: each != self.active_id):  # the active one first
            self.loaded(release)
        with self._lock:
            kept, now = {*published, self.active.release if self.active else None}, time.monotonic()
            self._loaded = {name: each for name, each in self._loaded.items() if name in kept}
            self._failures = {name: each for name, each in self._failures.items() if now < each[0] + RETRY_AFTER_S}
            # what has been loaded is in `_loaded` alone; a failure is remembered until it may be tried again
            self._loading = {
                name: each for name, each in self._loading.items() if not each.done() or name in self._failures
            }
        return True

    def reload(self, release: str) -> None:
        """Load a release again, in the background and at most every `RETRY_AFTER_S`: its model may have changed."""
        with self._lock:
            if not self.recently_reloaded:
                self._reloaded_at = time.monotonic()
                self._background.submit(self._load, release)

    @property
    def recently_reloaded(self) -> bool:
        return time.monotonic() < self._reloaded_at + RETRY_AFTER_S

    def replace_each(self, view: Callable[[Release], Release]) -> list[Release]:
        """Replace each loaded release by ``view`` of it. Returns those that are loaded now.

        Views are computed without the lock, which requests need; a release that was loaded again meanwhile stays.
        """
        for name, before in list(self._loaded.items()):
            after = view(before)
            with self._lock:
                if self._loaded.get(name) is before:
                    self._loaded = {**self._loaded, name: after}
        self._switch()
        return list(self._loaded.values())

    def _switch(self) -> None:
        """Answer from the active release; while it is not loaded, from the former one as it is loaded now."""
        former = self.active.release if self.active is not None else ""
        opened = self._loaded.get(self.active_id or "") or self._loaded.get(former)
        if opened is not None and opened is not self.active:
            self.active = opened
            self._background.submit(self._keep_active)

    def _keep_active(self) -> None:
        """Keep the popular list of what answers when this runs: after two switches, these may run in any order."""
        with self._keeping:
            if self.active is not None:
                self.last.keep(self.active)

    def _begin(self, release: str) -> Future[Release]:
        """Begin to load a release; one that failed again after `RETRY_AFTER_S`, or at once while none can answer."""
        with self._lock:
            loading = self._loading.get(release)
            failed_at = self._failures.get(release, (-math.inf, None))[0]
            retry = self.active is None or time.monotonic() >= failed_at + RETRY_AFTER_S
            if loading is None or (retry and loading.done() and release not in self._loaded):
                loading = self._loading[release] = self._background.submit(self._load, release)
            return loading

    def _load(self, release: str) -> Release:
        """Load a release. Raises ServiceError, NoReleaseError (any other error: it is damaged)."""
        try:
            opened = self._load_release(release)
        except Exception as error:
            with self._lock:
                self._failures[release] = time.monotonic(), error
            if isinstance(error, (base.ServiceError, outcomes.NoReleaseError)):
                log.warning("release %s cannot be loaded: %s", release, error)
                raise
            log.exception("release %s cannot be loaded", release)
            damaged = f"Release {release} is damaged ({type(error).__name__})"
            raise outcomes.NoReleaseError(damaged, "Load it again: `make sync`.") from error
        with self._lock:
            self._loaded = {**self._loaded, release: opened}
        self._switch()
        log.info("release %s is loaded: %d items", release, len(opened.catalogue))
        return opened
