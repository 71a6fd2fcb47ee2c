"""One request, top to bottom: the user's state, recall, rank, answer.

Redis -> Elasticsearch and Feast in parallel -> Triton. The fallbacks for a service that is down are in `fallback`, the
choice of the release that answers is in `release`.
"""

from __future__ import annotations

import atexit
import logging
import threading
import uuid
import weakref
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.candidates import Candidates, StoredUser
from data_exchange_center.columns import Columns
from data_exchange_center.dataset import OwnId, kind_of
from data_exchange_center.features import Encoded
from data_exchange_center.fusion import NO_HITS
from data_exchange_center.settings import ServerSettings, Settings
from online.clients.base import Breaker, Client, Deadline, Found, GoneError, LimitedClient, Query, ServiceError, until
from online.clients.elastic import ElasticItems
from online.clients.feast import FeastFeatures, FeatureQuery, FeatureRows
from online.clients.redis import RedisUsers, UserQuery
from online.clients.triton import ScoreQuery, TritonScores
from online.recommend.fallback import KnownUsers, LastRelease, SavedPopular, degradation_of, exact_search
from online.recommend.rank import PendingRow, UserFeatures, encoded_user, rank
from online.recommend.readiness import HOT, WARM, Readiness, warm_up_elasticsearch
from online.recommend.recall import recall
from online.recommend.release import Release, Releases, read_release
from online.recommend.types import (
    FUSED,
    MAX_BUDGET_MS,
    NO_MORE,
    Answer,
    Degradation,
    Item,
    NoReleaseError,
    Outcome,
    Ranked,
    Request,
    Stopwatch,
    TimedRequest,
    UnknownReleaseError,
    check_userid,
    items_of,
    sentences,
)

log = logging.getLogger(__name__)

# Shares of the time that is left when a stage begins. Redis usually takes 1 % of its share: the rest is for the others.
STATE_SHARE = 0.4  # Redis
RECALL_SHARE = 0.6  # Elasticsearch, and Feast in parallel
SCORES_SHARE = 0.9  # Triton; the rest is for putting the answer together
LATE = 0.4  # of the budget: a request that has waited longer for a thread is answered at once, from memory
BUSY = "is overloaded and had no time for this request"
LOOK_S, LOOK_AGAIN_S = 0.5, 1.0  # poll interval of `Recommender.follow`; after a failure
_IDLE = 10  # pause after each search of the background warm-up, in durations of that search
OPEN_WAIT_S = 60.0  # for the release that a worker opens at its start, before any request


@dataclass(slots=True, eq=False)
class Slate:
    """All that an answer is made of. An extra may change it before the answer leaves.

    Attributes:
        opened: the release; None where there is only the popular list that was kept on disk.
        user: the state as the request sees it; None: nothing is known of the user, and the popular list answers.
        candidates: None where the popular list answers.
        ranked: the candidates, best first; an extra that reorders them sets ``order``.
        saved: the popular list from disk; only where ``opened`` is None.
        degraded: what the answer lacks, in the order of the stages.
        end: why there are no more items, if the list turns out short: a word for programs, and a sentence.
        more: fields that extras add to the answer.
    """

    timed: TimedRequest
    opened: Release | None
    user: StoredUser | None
    candidates: Candidates | None
    ranked: Ranked
    degraded: list[Degradation]
    saved: SavedPopular | None = None
    end: tuple[str, str] = NO_MORE
    more: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def popular(cls, timed: TimedRequest, opened: Release | None, degraded: list[Degradation]) -> Slate:
        """A release's popular list."""
        popular = opened.by_popularity if opened else NO_HITS
        return cls(timed, opened, None, None, Ranked(popular.ids, popular.scores), degraded)

    @property
    def items(self) -> list[Item]:
        """Items that the answer shows."""
        if self.opened is None:
            return self.saved.item_list[: self.timed.request.size] if self.saved else []
        places = self.ranked.shown(self.timed.request.size)  # (size,)
        return items_of(self.opened.catalogue, self.ranked.itemids[places], self.ranked.scores[places])

    @property
    def filled_up(self) -> int:
        """How many of the items that the answer shows complete the candidates."""
        if self.candidates is None or not len(self.candidates.filled):
            return 0
        places = self.ranked.shown(self.timed.request.size)
        return int(np.isin(self.ranked.itemids[places], self.candidates.filled).sum())

    def is_short(self) -> bool:
        """Whether there are too few items, and no service is to blame."""
        unknown = {each.outcome for each in self.degraded} & {Outcome.POPULAR, Outcome.NO_ITEM_FEATURES}
        return self.opened is not None and len(self.ranked.itemids) < self.timed.request.size and not unknown

    def recalled(self) -> dict[str, list[OwnId]]:
        """The items' own ids that each channel found, best first, and under `FUSED` the fused list."""
        if self.opened is None or self.candidates is None:
            return {FUSED: []}
        lists = {
            FUSED: self.candidates.itemids,
            **{name: hits.ids for name, hits in self.candidates.by_channel.items()},
        }
        shown = self.opened.catalogue
        return {name: [shown[each].own_id for each in ids.tolist() if each in shown] for name, ids in lists.items()}


class Recommender:
    """Two stages composed over four clients. Made once per process, shared by its threads.

    Attributes:
        opening: hook of an extra, release -> release: applied to one that was just read, before it answers.
        given: hook, (request, release) -> user: a state that the request itself brings, or None for the stored one.
        before_history: hooks, (request, release, user or None) -> the same, before the user's events are applied.
        before_recall: hooks, (request, release, user) -> user, after the events.
        before_rank: hooks, (request, release, user, candidates) -> candidates.
        before_answer: hooks that change a slate before the answer leaves, in this order.
        answer_model: `Answer`, with the fields that extras have added.
    """

    def __init__(
        self, users: RedisUsers, items: ElasticItems, features: Client[FeatureQuery, FeatureRows],
        scorer: Client[ScoreQuery, NDArray[np.float32]], server: ServerSettings, last: LastRelease | None = None,
    ) -> None:  # fmt: skip
        """``last``: the popular list on disk, for when no service answers."""
        self.users, self.items, self.features, self.scorer = users, items, features, scorer
        self.clients: tuple[Client[Any, Any], ...] = (users, items, features, scorer)  # as a request calls them
        self.breakers = {client.service: Breaker(client.service) for client in self.clients}
        self.unhook()
        self._server = server
        self._background = ThreadPoolExecutor(2, "background")
        self.closed = threading.Event()
        atexit.register(self.closed.set)
        self.user_features = UserFeatures(features, self.breakers[features.service])
        self._known = KnownUsers(server.known_users, server.last_state_max_age_s)
        read = partial(read_release, users, items, features, server, self._background)
        self.releases = Releases(users, lambda release: self.opening(read(release)), self._background, last)
        self.readiness = Readiness(self.releases, self.clients, self.breakers)

    @classmethod
    def from_settings(cls, settings: Settings) -> Recommender:
        """Make one with the real clients. Connects to nothing yet: the services may come up later."""
        users, items = RedisUsers(settings.redis), ElasticItems(settings.elasticsearch)
        features, scorer = FeastFeatures(settings.feast), TritonScores(settings.triton)
        last = LastRelease(settings.service_dir("server") / "last_release.json")
        return cls(users, items, features, scorer, settings.server, last)

    def unhook(self) -> None:
        """Remove all hooks of extras."""
        self.opening: Callable[[Release], Release] = lambda opened: opened
        self.given: Callable[[Request, Release], StoredUser | None] = lambda request, opened: None
        self.before_history: list[Callable[[Request, Release, StoredUser | None], StoredUser | None]] = []
        self.before_recall: list[Callable[[Request, Release, StoredUser], StoredUser]] = []
        self.before_rank: list[Callable[[Request, Release, StoredUser, Candidates], Candidates]] = []
        self.before_answer: list[Callable[[Slate], None]] = []
        self.answer_model: type[Answer] = Answer

    # --- a request

    def recommend(
        self, request: Request, watch: Stopwatch | None = None, preferred: str | None = None, share: float = 1.0
    ) -> Answer:
        """Recommend the best unseen items.

        A fallback replaces a service that does not answer, and the answer says so; a strict request raises its
        ServiceError. Raises WrongIdError, UnknownReleaseError, and NoReleaseError or ServiceError where nothing can
        answer.

        Args:
            watch: since when the request's budget runs; None: from now on.
            preferred: the release that answers instead of the live one, where it can.
            share: how much of the budget may be used, 0 to 1.
        """
        timed = self.timed(request, watch or Stopwatch(), preferred, share)
        slate = self.slate(timed)
        cold_start = slate.user is None and not slate.degraded
        short, no_more = slate.end if slate.is_short() else ("", "")
        return self.answer_model.model_construct(
            userid=request.userid,
            release=slate.opened.release if slate.opened else slate.saved.release if slate.saved else "",
            recommendation=uuid.uuid4().hex,
            cold_start=cold_start,
            item_list=slate.items,
            degraded=slate.degraded,
            filled_up=slate.filled_up,
            short=short,
            reason=" ".join(filter(None, (sentences(slate.degraded, cold_start=cold_start), no_more))),
            recall=slate.recalled() if request.explain == "recall" else {},
            **slate.more,
            took_ms=timed.watch.took_ms(),
        )

    def slate(self, timed: TimedRequest) -> Slate:
        """Make all parts of the answer to a request, after extras have seen it. Raises as `recommend`."""
        try:
            if timed.late:  # more work on it would make later requests late, too
                raise ServiceError("server", BUSY)
            slate = self._slate(timed)
        except (ServiceError, NoReleaseError) as error:
            if timed.strict or timed.request.release or not self.releases.something_to_answer_with:
                raise
            # the popular list of the release that serves, or of the one that was opened last
            slate = Slate.popular(timed, self.releases.serving, [degradation_of(error, Outcome.POPULAR)])
            if slate.opened is None and (saved := self.releases.saved) is not None:  # a copy, as hooks may change it
                slate.saved = saved.model_copy(update={"item_list": [*saved.item_list]})
        for hook in self.before_answer:
            hook(slate)
        return slate

    def _slate(self, timed: TimedRequest) -> Slate:
        if (named := timed.request.release) is not None and not self.releases.is_open(named):
            self.releases.open_kept(named, None if not timed.request.budget_ms else timed.max_open_wait_s)
            timed = self._with_a_whole_budget(timed)
        # The user's state, from Redis, and with it which release answers.
        opened, user, degraded = self._state(timed)
        userid = timed.request.userid
        if userid and kind_of(userid) != opened.user_ids and opened.release != self.releases.live:
            # An id of this kind fits only a release that may be going live: wait for it, within its own budget.
            waits = timed
            if not timed.request.budget_ms:
                waits = replace(timed, deadline=Deadline.after(MAX_BUDGET_MS / 1e3), patient=True)
            users = self.within(self.users, waits, STATE_SHARE)
            opened = self.releases.open_live(users, waits.max_open_wait_s)
            user, degraded = users.call(UserQuery.of(userid, opened.manifest)).user, []
            timed = self._with_a_whole_budget(timed)
        check_userid(userid, opened.user_ids)
        try:
            return self._ranked(timed, opened, user, [*degraded])
        except ServiceError as error:
            # Another release may be live by now, and this one deleted (from Redis first): try once more.
            if (again := self._again(timed, opened, error)) is not None:
                (opened, user), degraded = again, []
            elif timed.strict:
                raise
            check_userid(userid, opened.user_ids)
            return self._ranked(replace(timed, last_try=True), opened, user, degraded)

    def _ranked(
        self, timed: TimedRequest, opened: Release, stored: StoredUser | None, degraded: list[Degradation]
    ) -> Slate:
        """A user's candidates, ranked; the popular list for a user without data.

        The stages add to ``degraded``. Raises ServiceError where no fallback answers: see `TimedRequest.may_fall_back`.
        """
        request = timed.request
        if (given := self.given(request, opened)) is not None:
            stored, degraded = given, []
        for of_state in self.before_history:
            stored = of_state(request, opened, stored)
        if stored is None:
            return Slate.popular(timed, opened, degraded)
        # The user as of the request's time: events since the release are part of history and seen items.
        user = opened.current(stored, request.before)
        for hook in self.before_recall:
            user = hook(request, opened, user)
        if user.is_blank:
            return Slate.popular(timed, opened, degraded)
        # The user's features are on their way from Feast while Elasticsearch searches: one nearest-neighbour search
        # a channel, fused to (candidates,) unseen items with what recall says of each.
        pending, by = None, timed.deadline.share(RECALL_SHARE)
        if user.number:  # a stranger has none
            pending = self.user_features.ask(
                opened.release, user.number, by, strict=timed.strict, short_budget=timed.short_budget
            )
        try:
            candidates = self._recall(timed, opened, user, degraded)
            for extend in self.before_rank:
                candidates = extend(request, opened, user, candidates)
            features = self._features_of(timed, opened, pending, degraded)
        finally:  # record Feast's time even if the request fails here
            if pending is not None:
                timed.watch.stages["feast"] = pending.stage()
        if features is not None and stored.events:
            n_ratings = len(opened.current(stored, None).history)
            features = features.having(Columns.N_RATINGS, [n_ratings])
        # The ranking model's scores, by Triton, give the order.
        ranked = self._rank(timed, opened, features, user, candidates, degraded)
        return Slate(timed, opened, user, candidates, ranked, degraded)

    # --- its stages

    def timed(
        self, request: Request, watch: Stopwatch, preferred: str | None = None, share: float = 1.0
    ) -> TimedRequest:
        """Give a request its deadline. ``watch``, ``preferred``, ``share``: as in `recommend`.

        A strict request waits as long as the services may take; so does any while there is nothing to fall back on.
        """
        short_budget = 0 < request.budget_ms < self._server.budget_ms
        patient = request.strict or not self.releases.something_to_answer_with
        budget_ms = request.budget_ms or (MAX_BUDGET_MS if patient else self._server.budget_ms)
        waited = watch.seconds()
        deadline = Deadline.after(budget_ms / 1e3 - waited).share(share)
        late = not patient and waited > LATE * budget_ms / 1e3
        again = self.releases.read_again_lately
        return TimedRequest(request, deadline, watch, short_budget, patient, late, preferred, again)

    def _with_a_whole_budget(self, timed: TimedRequest) -> TimedRequest:
        """A request that has waited for its release, with the server's budget from now on, or what is left of its own.

        What is left of the server's would not do for the services, and it is no fault of theirs.
        """
        if timed.request.budget_ms:
            return timed
        return replace(timed, deadline=max(timed.deadline, Deadline.after(self._server.budget_ms / 1e3)))

    def within(self, client: Client[Query, Found], timed: TimedRequest, share: float) -> LimitedClient[Query, Found]:
        """A client limited by a request's deadline and the breaker; ``share``: of the time that is left, 0 to 1."""
        return LimitedClient(
            client, self.breakers[client.service], timed.deadline.share(share), timed.strict, timed.short_budget
        )

    def _state(self, timed: TimedRequest) -> tuple[Release, StoredUser | None, list[Degradation]]:
        """The release, the user's state (from Redis, else the one last known; None: unknown), and what is degraded.

        A request that names its release gets that one or an error. Raises ServiceError, NoReleaseError,
        UnknownReleaseError, WrongIdError.
        """
        userid, users = timed.request.userid, self.within(self.users, timed, STATE_SHARE)
        if timed.request.release is not None:
            with timed.watch.stage("redis"):
                opened = self.releases.open_kept(timed.request.release, timed.max_open_wait_s)
                check_userid(userid, opened.user_ids)
                answer = users.call(UserQuery.of(userid, opened.manifest))
                if answer.user is None and not answer.kept:
                    raise UnknownReleaseError(opened.release)
            return opened, answer.user, []
        wait_s = 0.0 if self.releases.serving and not timed.strict else timed.max_open_wait_s
        forgotten = self._known.forgotten
        try:
            with timed.watch.stage("redis"):
                opened, user = self.releases.release_and_user(userid, users, wait_s, timed.preferred)
            self._known.follow(self.releases.forgotten)
        except (ServiceError, NoReleaseError) as error:
            serving = self.releases.open_or_serving(timed.preferred)
            if timed.strict or serving is None:
                raise
            state = self._known.state(serving.release, userid)
            return serving, state, [degradation_of(error, Outcome.LAST_STATE if state else Outcome.POPULAR)]
        if user is not None:
            self._known.keep_state(opened.release, userid, user, forgotten)
        else:
            self._known.forget(userid, opened.release)
        return opened, user, []

    def _recall(
        self, timed: TimedRequest, opened: Release, user: StoredUser, degraded: list[Degradation]
    ) -> Candidates:
        items, request = self.within(self.items, timed, RECALL_SHARE), timed.request
        try:
            with timed.watch.stage("elasticsearch"):
                return recall(items, opened, user, request.timestamp, request.fewest)
        except ServiceError as error:
            if not timed.may_fall_back(error):
                raise
            return exact_search(error, opened, user, request.timestamp, request.fewest, degraded)

    def _features_of(
        self, timed: TimedRequest, opened: Release, pending: PendingRow | None, degraded: list[Degradation]
    ) -> Encoded | None:
        """The user's features: Feast's, or without it those last read; None: there are none."""
        if pending is None:
            return Encoded.none(opened.spec.of("user"), 1)
        try:
            features = encoded_user(opened.spec, self.user_features.result(pending))
        except ServiceError as error:
            if not timed.may_fall_back(error):
                raise
            known = self._known.features(opened.release, timed.request.userid)
            degraded.append(degradation_of(error, Outcome.NOT_RANKED if known is None else Outcome.LAST_FEATURES))
            return known
        if features is None:
            degraded.append(Degradation.of(Outcome.NO_USER_FEATURES, "feast", "does not know this user"))
        else:
            self._known.keep_features(opened.release, timed.request.userid, features)
        return features

    def _rank(
        self, timed: TimedRequest, opened: Release, features: Encoded | None, user: StoredUser,
        candidates: Candidates, degraded: list[Degradation],
    ) -> Ranked:  # fmt: skip
        """Rank the candidates by the model's scores; without scores or ``features``, leave them in recall's order."""
        as_recalled = Ranked(candidates.itemids, candidates.scores)
        if features is None or not len(candidates.itemids):
            return as_recalled
        scorer = self.within(self.scorer, timed, SCORES_SHARE)
        try:
            with timed.watch.stage("triton"):
                ranked = rank(scorer, opened, features, user.history, candidates, timed.request.timestamp)
        except ServiceError as error:
            if not timed.may_fall_back(error):
                raise
            degraded.append(degradation_of(error, Outcome.NOT_RANKED))
            return as_recalled
        if unknown := len(candidates.itemids) - len(ranked.itemids):
            degraded.append(Degradation.of(Outcome.NO_ITEM_FEATURES, "feast", f"lacks {unknown} of the candidates"))
        return ranked

    # --- where the first release cannot answer

    def _again(
        self, timed: TimedRequest, failed: Release, error: ServiceError
    ) -> tuple[Release, StoredUser | None] | None:
        """Read the live pointer again after release ``failed`` has failed; None: no other release can answer."""
        if timed.request.release is not None:
            return None
        users = self.within(self.users, timed, STATE_SHARE)
        try:
            with until(timed.deadline):
                opened, user = self.releases.release_and_user(timed.request.userid, users, timed.max_open_wait_s)
        except (ServiceError, NoReleaseError) as failure:
            log.warning("nothing answers instead of release %s: %s", failed.release, failure)
            return None
        if opened.release != failed.release:
            return opened, user
        if isinstance(error, GoneError):
            self.releases.read_again(failed.release)
        return None

    # --- the process

    def warm_up(self) -> Future[None]:
        """Open the live release in the background, if there is one, and warm Elasticsearch up."""
        return self._background.submit(self._warm_up)

    def _warm_up(self) -> None:
        try:  # wait until it serves, so that a worker without requests so far can answer while the next one opens
            opened = self.releases.open_live(wait_s=OPEN_WAIT_S)
        except (ServiceError, NoReleaseError) as error:
            log.warning("nothing to serve yet: %s", error)
            return
        if self._server.warm_up_s:
            search = partial(warm_up_elasticsearch, self.users, self.items, opened)
            with until(over := Deadline.after(self._server.warm_up_s)):
                search(WARM, lambda took_s: over.left() > 0, patient=True)
            # then slowly in the background, while requests are answered
            quietly = HOT, lambda took_s: not self.closed.wait(_IDLE * took_s)
            threading.Thread(target=search, args=quietly, name="warm-up", daemon=True).start()

    def follow(self, look: Callable[[], bool]) -> None:
        """Poll a method of an extra every `LOOK_S` seconds, on a thread that ends with its object or the server.

        ``look``: checks for changes by other processes; False, or an exception, means failure (`LOOK_AGAIN_S`).
        """
        weak, closed, name = weakref.WeakMethod(look), self.closed, look.__qualname__

        def run() -> None:
            while not closed.is_set() and (method := weak()) is not None:
                pause_s = LOOK_AGAIN_S
                try:
                    pause_s = LOOK_S if method() else LOOK_AGAIN_S
                except ServiceError:
                    pass  # it is logged
                except Exception:
                    log.exception("%s has failed, and is called again", name)
                del method
                closed.wait(pause_s)

        threading.Thread(target=run, name=name, daemon=True).start()

    def forget(self, userid: OwnId) -> None:
        """Drop a user's cached state and features from this process; the services' data is not touched."""
        self._known.forget(userid)

    def close(self) -> None:
        self.closed.set()
        atexit.unregister(self.closed.set)
        self.user_features.close()
        self._background.shutdown()
        for client in self.clients:
            client.close()
