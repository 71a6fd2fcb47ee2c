"""What the services said last of the users who were here lately, for the moments in which they say nothing."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from data_exchange_center.features import Encoded
from data_exchange_center.own_ids import OwnId
from online.clients.redis import StoredUser


@dataclass(slots=True)
class _Known:
    state: StoredUser
    at: float  # when the state was read
    features: Encoded | None = None  # of one user


class KnownUsers:
    """At most ``size`` users of a release each; who was here longest ago is forgotten first. Shared by threads."""

    def __init__(self, size: int, state_max_age_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._size = size
        self._max_age_s = state_max_age_s
        self._clock = clock
        self._lock = threading.Lock()
        self._forgotten = 0
        self._users: OrderedDict[tuple[str, OwnId], _Known] = OrderedDict()  # by release and userid

    @property
    def forgotten(self) -> int:
        """How often somebody was forgotten, as far as `follow` was told."""
        return self._forgotten

    def follow(self, forgotten: int) -> None:
        """Where somebody was forgotten since, by whichever process, nothing is known of anybody."""
        if forgotten > self._forgotten:
            with self._lock:
                self._forgotten = max(forgotten, self._forgotten)
                self._users.clear()

    def keep_state(self, release: str, userid: OwnId, state: StoredUser, forgotten: int = 0) -> None:
        """Remember a state that was just read; ``forgotten``: before it was. Not where somebody was forgotten since."""
        key = (release, userid)
        with self._lock:
            if forgotten < self._forgotten:
                return
            before = self._users.get(key)
            self._users[key] = _Known(state, self._clock(), before.features if before else None)
            self._users.move_to_end(key)
            while len(self._users) > self._size:
                self._users.popitem(last=False)

    def keep_features(self, release: str, userid: OwnId, features: Encoded) -> None:
        """Remember the features of a user whose state is remembered."""
        with self._lock:
            if (known := self._users.get((release, userid))) is not None:
                known.features = features

    def forget(self, userid: OwnId, release: str | None = None) -> None:
        """Nothing is known of a user any more, under a release or (None) any."""
        with self._lock:
            gone = [(release, userid)] if release else [key for key in self._users if key[1] == userid]
            for key in gone:
                self._users.pop(key, None)

    def state(self, release: str, userid: OwnId) -> StoredUser | None:
        """The state as it was read last; None: never, or too long ago."""
        known = self._users.get((release, userid))
        return known.state if known and self._clock() - known.at <= self._max_age_s else None

    def features(self, release: str, userid: OwnId) -> Encoded | None:
        """The features as they were read last, however long ago: within a release only counts change."""
        known = self._users.get((release, userid))
        return known.features if known else None

    def __len__(self) -> int:
        return len(self._users)
