"""Fallbacks: what an answer is made of while a service is down.

| down | instead |
|---|---|
| Redis | the user's state as it was last read here; else the popular list of the release that serves |
| Elasticsearch | an exact search over the server's own copy of the vectors |
| Feast | the user's features as they were last read here; else recall's order |
| Triton | recall's order |
| any of the first three, before a release is open | the popular list of the last one, on the server's disk |

Every answer says what it lacks. A strict request gets the error instead, and so does the first try for a release that
is gone: a newer one may be there to answer, which is better than doing without.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ValidationError

from data_exchange_center.candidates import Candidates, StoredUser
from data_exchange_center.dataset import OwnId
from data_exchange_center.features import Encoded
from data_exchange_center.files import written_in_place
from online.clients.base import ServiceError, StoredError
from online.recommend.recall import completed, recall
from online.recommend.types import MAX_SIZE, Degradation, Item, NoReleaseError, Outcome, items_of

if TYPE_CHECKING:
    from online.recommend.release import Release

log = logging.getLogger(__name__)


def degradation_of(error: ServiceError | NoReleaseError, outcome: Outcome) -> Degradation:
    """Describe what an answer lacks because of an error. A missing release is reported as Redis's."""
    if isinstance(error, ServiceError):
        return Degradation.of(outcome, error.service, error.what)
    return Degradation.of(outcome, "redis", f"names no release that can answer ({error.problem.rstrip('.')})")


def exact_search(
    error: ServiceError, opened: Release, user: StoredUser, timestamp: int, fewest: int, degraded: list[Degradation]
) -> Candidates:
    """Search the server's copy of the vectors; if the user's state is unusable, return popular unseen items."""
    try:
        candidates = recall(opened.exact, opened, user, timestamp, fewest)
    except StoredError as unusable:
        degraded.append(degradation_of(unusable, Outcome.NO_RECALL))
        return completed(opened, user)
    degraded.append(degradation_of(error, Outcome.EXACT_SEARCH))
    return candidates


@dataclass(slots=True)
class _Known:
    state: StoredUser
    at: float  # when the state was read
    features: Encoded | None = None  # of one user


class KnownUsers:
    """Cache of recent users' state and features, as last read from the services. Shared by threads.

    At most ``size`` pairs of release and user; the one whose state was read longest ago is dropped first.
    """

    def __init__(self, size: int, state_max_age_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._size, self._max_age_s, self._clock = size, state_max_age_s, clock
        self._lock = threading.Lock()
        self.forgotten = 0  # how many users were forgotten (`wire.FORGOTTEN_COUNT_KEY`), as of the last `follow`
        self._users: OrderedDict[tuple[str, OwnId], _Known] = OrderedDict()  # by release and userid

    def follow(self, forgotten: int) -> None:
        """Drop everything if a user was forgotten since, by any process; ``forgotten``: the current count."""
        if forgotten > self.forgotten:
            with self._lock:
                self.forgotten = max(forgotten, self.forgotten)
                self._users.clear()

    def keep_state(self, release: str, userid: OwnId, state: StoredUser, forgotten: int = 0) -> None:
        """Cache a state that was just read, unless a user was forgotten since; ``forgotten``: the count before."""
        with self._lock:
            if forgotten < self.forgotten:
                return
            before = self._users.get((release, userid))
            self._users[release, userid] = _Known(state, self._clock(), before.features if before else None)
            self._users.move_to_end((release, userid))  # never absent in between: readers take no lock
            while len(self._users) > self._size:
                self._users.popitem(last=False)

    def keep_features(self, release: str, userid: OwnId, features: Encoded) -> None:
        """Cache the features of a user whose state is cached."""
        if (known := self._users.get((release, userid))) is not None:
            known.features = features

    def forget(self, userid: OwnId, release: str | None = None) -> None:
        """Drop a user, under one release or (None) all."""
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


class SavedPopular(BaseModel, frozen=True, extra="forbid"):
    """A release's popular list, with all that is shown of the items."""

    release: str
    item_list: list[Item]  # best first


class LastRelease:
    """The popular list of the release that was opened last, on the server's own disk.

    Attributes:
        saved: None where the file is missing or cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.saved: SavedPopular | None = None
        try:
            self.saved = SavedPopular.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            pass
        except (OSError, ValidationError) as error:
            log.warning(
                "%s cannot be read, so there is no popular list if services are down at the start: %s", path, error
            )

    def keep(self, opened: Release) -> None:
        """Write the release's popular list, unless it is what the file holds. A disk that is full is only logged."""
        items = items_of(opened.catalogue, opened.popular.ids[:MAX_SIZE], opened.popular.scores[:MAX_SIZE])
        if (saved := SavedPopular(release=opened.release, item_list=items)) == self.saved:
            return
        self.saved = saved
        try:
            with written_in_place(self.path) as temporary:
                temporary.write_text(saved.model_dump_json(), encoding="utf-8")
        except OSError as error:
            log.warning("the popular list of release %s cannot be kept in %s: %s", saved.release, self.path, error)
