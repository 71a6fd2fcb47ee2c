"""Known users: the state and features of recent users, for requests while Redis or Feast does not answer."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from data_exchange_center.candidates import StoredUser
from data_exchange_center.dataset import OwnId
from data_exchange_center.features import Encoded


@dataclass(slots=True)
class _Known:
    state: StoredUser
    read_at: float  # seconds of the cache's clock
    features: Encoded | None = None  # of one user


class KnownUsers:
    """Cache of recent users' state and features, as last read from the services. Shared by threads.

    At most ``size`` pairs of release and user; the one whose state was read longest ago is dropped first.

    Attributes:
        forgotten: how many users were forgotten (`wire.FORGOTTEN_COUNT_KEY`), as of the last `follow`.
    """

    def __init__(
        self,
        size: int,
        state_max_age_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._size = size
        self._max_age_s = state_max_age_s
        self._clock = clock
        self._lock = threading.Lock()
        self._users: OrderedDict[tuple[str, OwnId], _Known] = (
            OrderedDict()
        )  # by release and userid
        self.forgotten = 0

    def follow(self, forgotten: int) -> None:
        """Drop everything if a user was forgotten since, by any process; ``forgotten``: the current count."""
        with self._lock:
            if forgotten > self.forgotten:
                self.forgotten = forgotten
                self._users.clear()

    def keep_state(
        self, release: str, userid: OwnId, state: StoredUser, forgotten: int = 0
    ) -> None:
        """Cache a state that was just read, unless a user was forgotten since.

        Args:
            forgotten: the count before the state was read.
        """
        with self._lock:
            if forgotten < self.forgotten:
                return
            before = self._users.get((release, userid))
            features = before.features if before else None
            self._users[release, userid] = _Known(state, self._clock(), features)
            self._users.move_to_end(
                (release, userid)
            )  # never absent in between: readers take no lock
            while len(self._users) > self._size:
                self._users.popitem(last=False)

    def keep_features(self, release: str, userid: OwnId, features: Encoded) -> None:
        """Cache the features of a user whose state is cached."""
        known = self._users.get((release, userid))
        if known is not None:
            known.features = features

    def forget(self, userid: OwnId, release: str | None = None) -> None:
        """Drop a user, under one release or (None) all."""
        with self._lock:
            for key in list(self._users):
                if key[1] == userid and release in (None, key[0]):
                    del self._users[key]

    def state(self, release: str, userid: OwnId) -> StoredUser | None:
        """The state as it was read last; None: never, or too long ago."""
        known = self._users.get((release, userid))
        if known is None or self._clock() - known.read_at > self._max_age_s:
            return None
        return known.state

    def features(self, release: str, userid: OwnId) -> Encoded | None:
        """The features as they were read last, however long ago: within a release only counts change."""
        known = self._users.get((release, userid))
        return known.features if known else None
