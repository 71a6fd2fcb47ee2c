"""Fallbacks: what replaces a stage that has failed, and what the answer says of it (the order is `recommend.py`'s).

| stage | instead | in the answer |
|---|---|---|
| state (Redis) | the user's state as it was last read here; else the popular list | `LAST_STATE`, `POPULAR` |
| the encoder of a recall channel (Triton) | the lists of the other channels | `NOT_ENCODED` |
| recall (Elasticsearch) | an exact search over the server's own copy of the vectors | `EXACT_SEARCH` |
| recall, for a state that no channel can use | popular unseen items, ranked | `NO_RECALL` |
| the user's features (Feast) | those that were last read here; else recall's order | `LAST_FEATURES`, `NOT_RANKED` |
| rank (Triton) | recall's order | `NOT_RANKED` |
| without any of these | the popular list of the active release; before one is loaded, the one on disk | `POPULAR` |

A strict request gets the error instead. So does the first try for a release whose data is gone from a store: another
one may be active by now, and answers in full.
"""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

from data_exchange_center.candidates import Candidates, StoredUser
from data_exchange_center.dataset import OwnId
from data_exchange_center.features import Encoded
from data_exchange_center.settings import ServerSettings
from online.clients import base, feast
from online.clients.base import GoneError, ServiceError
from online.recommend import recall, registry
from online.recommend.loaded_release import Release
from online.recommend.outcomes import Degradation, LoadingError, NoReleaseError, Outcome
from online.recommend.types import Ranked, Slate, State, TimedRequest, is_of_kind

log = logging.getLogger(__name__)

Users = Callable[[TimedRequest], registry.Users]  # Redis, limited by a request

LOADING_SHARE = 0.3  # of the time that is left, for a release that is being loaded: less than Redis has, which is next


def degradation_of(error: ServiceError | NoReleaseError, outcome: Outcome) -> Degradation:
    """Describe what an answer lacks because of an error. A missing release is reported as Redis's."""
    failure = error.failure if isinstance(error, LoadingError) else error  # the service that the last load lacked
    if isinstance(failure, ServiceError):
        return Degradation.of(outcome, failure.service, failure.what)
    return Degradation.of(outcome, "redis", f"names no release that can answer ({error.problem.rstrip('.')})")


def may_fall_back(timed: TimedRequest, error: ServiceError) -> bool:
    """Whether a fallback answers in the place of a stage that has failed; else its error ends this try."""
    return not timed.request.strict and (timed.last_try or not isinstance(error, GoneError))


class Fallbacks:
    """Makes each stage, or what replaces it. Shared by threads."""

    def __init__(self, releases: registry.Registry, server: ServerSettings) -> None:
        self._releases, self._budget_s = releases, server.budget_ms / 1e3
        self.known = KnownUsers(server.known_users, server.last_state_max_age_s)

    def popular(self, timed: TimedRequest, error: ServiceError | NoReleaseError) -> Slate:
        """The popular list of the release that answers or was last active. Raises the error where that does not do."""
        releases = self._releases
        if timed.request.strict or timed.request.release or not releases.can_serve:
            raise error
        degraded = [degradation_of(error, Outcome.POPULAR)]
        return Slate.popular(timed, self._answering(timed), degraded, releases.last.saved)

    def _answering(self, timed: TimedRequest) -> Release | None:
        """The release that answers while Redis does not say which: the preferred one where it is loaded."""
        return (self._releases.loaded(timed.preferred) if timed.preferred else None) or self._releases.active

    def second_try(self, state: State, users: Users, error: ServiceError) -> State:
        """The state for a second and last try after a stage has failed: by another release, if one is active by now.

        A release is deleted from Redis first, so what Redis says now is true of the other stores, too. Raises the error
        where a strict request has no other release.
        """
        timed, failed, other = state.timed, state.opened.release, None
        if timed.request.release is None:
            try:
                with base.until(timed.deadline):
                    other = self._loaded(replace(timed, preferred=None), users)
            except (ServiceError, NoReleaseError) as failure:
                log.warning("nothing answers instead of release %s: %s", failed, failure)
            if other is not None and other.opened.release == failed:
                other = None
                if isinstance(error, GoneError):
                    self._releases.reload(failed)
        if other is None and timed.request.strict:
            raise error
        again = other or state
        return replace(again, timed=replace(again.timed, last_try=True))

    def state(self, timed: TimedRequest, users: Users) -> State:
        """The release and the user's state, read from Redis, or as they were known last.

        A request that names its release gets that one or an error.
        """
        request, releases, known = timed.request, self._releases, self.known
        forgotten = known.forgotten
        try:
            found = self._loaded(timed, users, only_if_alone=True)
        except (ServiceError, NoReleaseError) as error:
            opened = self._answering(timed)
            loading = isinstance(error, LoadingError)
            if request.strict or request.release or opened is None or (loading and self._is_alone(timed)):
                raise
            state = known.state(opened.release, request.userid)
            outcome = Outcome.LAST_STATE if state else Outcome.POPULAR
            return State(timed, opened, state, (degradation_of(error, outcome),))
        if releases.forgotten > known.forgotten:
            known.follow(releases.forgotten)
        if request.release is None:
            if found.user is not None:
                known.keep_state(found.opened.release, request.userid, found.user, forgotten)
            else:
                known.forget(request.userid, found.opened.release)
        return found

    def _is_alone(self, timed: TimedRequest) -> bool:
        """Whether no release but the one that is being loaded can answer: it is named, or the id is of another kind."""
        request, active = timed.request, self._releases.active
        return request.release is not None or (active is not None and not is_of_kind(request.userid, active.user_ids))

    def _loaded(self, timed: TimedRequest, users: Users, *, only_if_alone: bool = False) -> State:
        """Read the state, and wait for its release if that is being loaded.

        ``only_if_alone``: not if the one that is active so far can answer. A request that has no budget of its own and
        no other release has the server's whole budget after it: what is left would not do for the services.
        """
        try:
            return self._read(timed, users)
        except LoadingError as error:
            alone = self._is_alone(timed)
            if only_if_alone and not (alone or timed.request.strict or self._releases.active is None):
                raise
            if timed.request.budget_ms or not (alone or timed.patient):
                self._releases.wait_for(error.release, timed.deadline.share(LOADING_SHARE).left())
            else:
                self._releases.wait_for(error.release)
                timed = replace(timed, deadline=max(timed.deadline, base.Deadline.after(self._budget_s)))
        return self._read(timed, users)

    def _read(self, timed: TimedRequest, users: Users) -> State:
        """Which release answers, and what it and the feedback since say of the user, by Redis."""
        request = timed.request
        with timed.watch.stage("redis"):
            return State(timed, *self._releases.find(request.userid, users(timed), request.release, timed.preferred))

    def encode(
        self, timed: TimedRequest, opened: Release, user: StoredUser, degraded: list[Degradation],
        encoder: recall.Encoder,
    ) -> StoredUser:  # fmt: skip
        """The user with the vectors that encoders in Triton make, or without: their channels find nothing then."""
        try:
            with timed.watch.stage("encoder"):
                return recall.encoded(encoder, opened.manifest, opened.channels, user, timed.request.timestamp)
        except ServiceError as error:
            if not may_fall_back(timed, error):
                raise
            degraded.append(degradation_of(error, Outcome.NOT_ENCODED))
            return user

    def recall(
        self, timed: TimedRequest, opened: Release, user: StoredUser, degraded: list[Degradation], items: recall.Items
    ) -> Candidates:
        """The candidates among the ``items`` of Elasticsearch, or those of the server's own copy."""
        when, fewest = timed.request.timestamp, timed.request.fewest
        try:
            with timed.watch.stage("elasticsearch"):
                return recall.recall(items, opened, user, when, fewest)
        except ServiceError as error:
            if not may_fall_back(timed, error):
                raise
            try:
                found = recall.recall(opened.exact, opened, user, when, fewest)
            except base.StoredError as unusable:
                degraded.append(degradation_of(unusable, Outcome.NO_RECALL))
                return recall.completed(opened, user)
            degraded.append(degradation_of(error, Outcome.EXACT_SEARCH))
            return found

    def features(
        self, timed: TimedRequest, opened: Release, degraded: list[Degradation], read: Callable[[], feast.FeatureRows]
    ) -> Encoded | None:
        """The user's features whose rows ``read`` gets from Feast, or those last known; None: there are none."""
        userid = timed.request.userid
        try:
            features = feast.encoded_user(opened.spec, read())
        except ServiceError as error:
            if not may_fall_back(timed, error):
                raise
            features = self.known.features(opened.release, userid)
            outcome = Outcome.NOT_RANKED if features is None else Outcome.LAST_FEATURES
            degraded.append(degradation_of(error, outcome))
            return features
        if features is None:
            degraded.append(Degradation.of(Outcome.NO_USER_FEATURES, "feast", "does not know this user"))
        else:
            self.known.keep_features(opened.release, userid, features)
        return features

    def rank(
        self, timed: TimedRequest, candidates: Candidates, degraded: list[Degradation], score: Callable[[], Ranked]
    ) -> Ranked:
        """The candidates by Triton's scores, which ``score`` gets, or in recall's order."""
        try:
            with timed.watch.stage("triton"):
                ranked = score()
        except ServiceError as error:
            if not may_fall_back(timed, error):
                raise
            degraded.append(degradation_of(error, Outcome.NOT_RANKED))
            return Ranked(candidates.item_numbers, candidates.scores)
        if unknown := len(candidates.item_numbers) - len(ranked.item_numbers):
            degraded.append(Degradation.of(Outcome.NO_ITEM_FEATURES, "feast", f"lacks {unknown} of the candidates"))
        return ranked


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
