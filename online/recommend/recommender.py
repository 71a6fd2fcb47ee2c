"""A request's way through the four services: Redis -> Elasticsearch and Feast at once -> Triton."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.own_ids import OwnId, kind_of
from data_exchange_center.settings import ServerSettings, Settings
from online.clients.base import Client, ServiceError
from online.clients.breaker import Asking
from online.clients.deadline import Deadline
from online.clients.elastic import ElasticItems
from online.clients.feast import FeastFeatures, FeatureQuery, FeatureRows
from online.clients.redis import RedisUsers
from online.clients.triton import ScoreQuery, TritonScores
from online.explain.explain import explained
from online.explain.shapes import Explanation, WhyNot
from online.explain.why_not import for_a_stranger, itemid_of, of_no_item, why_not
from online.recommend.answered import Answered, explained_as_popular, popular, shown
from online.recommend.diversity import diversified
from online.recommend.known_users import KnownUsers
from online.recommend.last_release import LastRelease
from online.recommend.open_release import NoReleaseError, OpenRelease, ReleaseReader
from online.recommend.readiness import Readiness, SharedReadiness, ask_all
from online.recommend.releases import Releases
from online.recommend.services import SCORES_SHARE, Services, Turn
from online.recommend.stage_report import report
from online.recommend.stages import Stages, lacks
from online.recommend.status import Status
from online.recommend.stopwatch import DIVERSITY, Stopwatch
from online.recommend.types import (
    FUSED,
    MAX_BUDGET_MS,
    Outcome,
    Ranked,
    Recommendation,
    Request,
    WhyNotRequest,
    check_userid,
    read_id,
)
from online.recommend.user_features import UserFeatures
from online.recommend.warm_up import warm_up_elasticsearch

log = logging.getLogger(__name__)

UNHURRIED_S = 60.0  # for a release that is being opened, where no request waits


class Recommender:
    """Two stages composed over four clients. Made once per process, shared by its threads."""

    def __init__(
        self,
        users: RedisUsers,
        items: ElasticItems,
        features: Client[FeatureQuery, FeatureRows],
        scorer: Client[ScoreQuery, NDArray[np.float32]],
        server: ServerSettings,
        last: LastRelease | None = None,
    ) -> None:
        """``last``: where the popular list is kept for the time when nothing answers."""
        self._services = Services(users, items, features, scorer)
        self._budget_ms = server.budget_ms
        self._diversity = server.diversity
        self._warm_up_s = server.warm_up_s
        self._user_features = UserFeatures(features, self._services.breakers[features.service])
        self._background = ThreadPoolExecutor(2, "background")
        reader = ReleaseReader(users, items, features, self._background, server.item_cache_ttl_s, server.exact_items)
        self._releases = Releases(users, reader.read, self._background, last)
        known = KnownUsers(server.known_users, server.last_state_max_age_s)
        self._known = known
        self._stages = Stages(self._services, self._releases, self._user_features, known)
        self._readiness = SharedReadiness(self._find_out_readiness)
        self._count_lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    @classmethod
    def from_settings(cls, settings: Settings) -> Recommender:
        """With the real clients. Connects to nothing yet: the services may come up later."""
        return cls(
            RedisUsers(settings.redis),
            ElasticItems(settings.elasticsearch),
            FeastFeatures(settings.feast),
            TritonScores(settings.triton),
            settings.server,
            LastRelease(settings.service_dir("server") / "last_release.json"),
        )

    def recommend(self, request: Request, watch: Stopwatch | None = None) -> Recommendation:
        """The best unseen items, within the request's budget; ``watch`` is told how long each stage takes.

        The budget runs since ``watch`` began.

        Services that do not answer are done without, and the answer says so; a strict request gets their ServiceError.
        Raises WrongIdError, UnknownReleaseError, and NoReleaseError or ServiceError where there is nothing at all to
        answer with.
        """
        answer = self.made(request, watch or Stopwatch())
        self.note(answer)
        return answer

    def made(
        self, request: Request, watch: Stopwatch, preferred: str | None = None, share: float = 1.0
    ) -> Recommendation:
        """As `recommend`, but counted nowhere.

        ``preferred``: the release that answers instead of the live one, where it can; ``share``: of what is left of the
        budget.
        """
        hurried = 0 < request.budget_ms < self._budget_ms
        turn = Turn(request, self._deadline(request, watch).share(share), watch, hurried, preferred)
        try:
            return self._answer(turn)
        except (ServiceError, NoReleaseError) as error:
            if request.strict or request.release or (instead := self._popular(turn, error)) is None:
                raise
            return instead

    def _deadline(self, request: Request, watch: Stopwatch) -> Deadline:
        """A strict request waits as long as the services may take; so does one that nothing else can be given to."""
        patient = request.strict or not self._releases.something_to_answer_with
        budget_ms = request.budget_ms or (MAX_BUDGET_MS if patient else self._budget_ms)
        return Deadline.after(budget_ms / 1e3 - watch.seconds())

    def why_not(self, request: WhyNotRequest, watch: Stopwatch | None = None, preferred: str | None = None) -> WhyNot:
        """Why an item is not in the list that a user would get now, found out by making that list.

        ``preferred``: as in `made`.

        Raises WrongIdError, NoReleaseError, and the ServiceError of any service that does not answer.
        """
        watch = watch or Stopwatch()
        serving = self._releases.serving or self._releases.live()
        userid = read_id("userid", request.userid, serving.user_ids)
        given = request.model_dump(include={"timestamp", "diversity"}, exclude_unset=True)  # what is not: as of now
        asked = Request.model_validate({**given, "userid": userid, "size": request.size, "strict": True})
        turn = Turn(asked, self._deadline(asked, watch), watch, preferred=preferred)
        answered = self._answered(turn)
        opened = answered.opened
        own_id = read_id("itemid", request.itemid, opened.manifest.dataset.item_ids)
        itemid = itemid_of(opened, own_id)
        if itemid is None:
            return of_no_item(opened, userid, own_id, request.size)
        evidence = answered.evidence(turn)
        if evidence is None:
            return for_a_stranger(opened, answered.ranked, userid, itemid, request.size)
        return why_not(self._explaining(turn), evidence, userid, itemid, request.size)

    def _answer(self, turn: Turn) -> Recommendation:
        answered = self._answered(turn)
        opened, ranked, size = answered.opened, answered.ranked, turn.request.size
        return Recommendation(
            userid=turn.request.userid,
            release=opened.release,
            items=answered.shown(size),
            lacking=(*answered.lacking, *ranked.lacking),
            cold_start=answered.user is None and not answered.lacking,
            diversity=ranked.diversity,
            recall=answered.recalled() if turn.request.explain else None,
            explained=self._explained(turn, answered) if turn.request.explain is True else None,
            took_ms=turn.watch.took_ms(),
            stages=report(turn, opened, answered.user, answered.candidates, ranked) if turn.request.stages else None,
        )

    def _explained(self, turn: Turn, answered: Answered) -> list[Explanation]:
        evidence = answered.evidence(turn)
        if evidence is None:
            return explained_as_popular(answered.shown(turn.request.size), answered.ranked)
        return explained(self._explaining(turn), evidence, turn.request.size, strict=turn.strict)

    def _explaining(self, turn: Turn) -> Asking[ScoreQuery, NDArray[np.float32]]:
        """The scorer once more. That so many rows take too long says nothing of it."""
        return self._services.asking(self._services.scorer, replace(turn, hurried=True), SCORES_SHARE)

    def _answered(self, turn: Turn) -> Answered:
        opened, user, lacking = self._stages.state(turn)
        if kind_of(turn.request.userid) != opened.user_ids:
            opened, user = self._stages.of_another_kind(turn, opened)
            lacking = ()
        ranked, candidates = popular(opened), None
        if user is not None:
            try:
                ranked, candidates = self._stages.ranked(turn, opened, user, last_try=False)
            except ServiceError as error:
                instead = self._stages.instead_of(turn, opened, error)
                if instead is None and turn.strict:
                    raise
                opened, user = instead or (opened, user)
                check_userid(turn.request.userid, opened.user_ids)
                ranked = popular(opened)
                if user is not None:
                    ranked, candidates = self._stages.ranked(turn, opened, user, last_try=True)
        return Answered(opened, user, candidates, self._reranked(turn, opened, ranked), lacking)

    def _reranked(self, turn: Turn, opened: OpenRelease, ranked: Ranked) -> Ranked:
        """Made diverse, where that is wanted."""
        wanted, size = turn.request.diversity, turn.request.size
        wanted = self._diversity if wanted is None else wanted
        if not wanted:
            return ranked
        with turn.watch.stage(DIVERSITY):
            pool = max(size, opened.manifest.recipe.recall.candidates)  # of a popular list as of any other
            return diversified(opened.similar, ranked, wanted, size, pool)

    def _popular(self, turn: Turn, error: ServiceError | NoReleaseError) -> Recommendation | None:
        """The popular list of the release that serves, or of the one that was opened last; None: there is none."""
        serving, saved, size = self._releases.serving, self._releases.saved, turn.request.size
        ranked = None
        if serving is not None:
            ranked = self._reranked(turn, serving, popular(serving))
            release, items = serving.release, shown(serving, ranked, size)
        elif saved is not None:
            release, items = saved.release, saved.items[:size]
        else:
            return None
        return Recommendation(
            userid=turn.request.userid,
            release=release,
            items=items,
            lacking=(lacks(error, Outcome.POPULAR),),
            diversity=ranked.diversity if ranked is not None else None,
            took_ms=turn.watch.took_ms(),
            recall={FUSED: []} if turn.request.explain else None,
            explained=explained_as_popular(items, ranked) if turn.request.explain is True else None,
            stages=report(turn) if turn.request.stages else None,
        )

    def note(self, answer: Recommendation) -> None:
        """Count how a recommendation ended."""
        names = [outcome.value for outcome in answer.outcomes] or [Outcome.PERSONAL.value]
        with self._count_lock:
            self._counts.update(names)
        if answer.outcomes:
            log.info("user %r: %s", answer.userid, ", ".join(names))

    @property
    def outcomes(self) -> dict[str, int]:
        """How many answers had which outcome since this process began."""
        with self._count_lock:
            return dict(self._counts)

    @property
    def releases(self) -> Releases:
        """Those that requests are answered from."""
        return self._releases

    @property
    def users(self) -> RedisUsers:
        return self._services.users

    def declare_dead(self, service: str, why: str | None = "is declared dead") -> None:
        """Answer without a service from now on; ``why=None``: with it again. To measure what that is worth."""
        self._services.breakers[service].declare_dead(why)

    def warm_up(self) -> Future[None]:
        """Open the live release in the background, if there is one, and warm Elasticsearch up, before users ask."""
        return self._background.submit(self._warm_up)

    def _warm_up(self) -> None:
        try:  # to the end, so that it serves: a worker nobody has asked yet can answer while the next one is opened
            opened = self._releases.live(wait_s=UNHURRIED_S)
        except (ServiceError, NoReleaseError) as error:
            log.warning("nothing to serve yet: %s", error)
            return
        try:
            warm_up_elasticsearch(self._services.users, self._services.items, opened, self._warm_up_s)
        except ServiceError as error:
            log.warning("Elasticsearch is not warmed up: %s", error)

    def forget(self, userid: OwnId) -> None:
        """Let this process know nothing of a user any more; what the services hold is not touched."""
        self._known.forget(userid)

    def readiness(self) -> Readiness:
        """Every service and the live release, asked about once for all who want to know at the same time."""
        return self._readiness.get()

    def _find_out_readiness(self) -> Readiness:
        services = ask_all(self._services.all)
        try:
            live = self._releases.live().manifest
        except (ServiceError, NoReleaseError) as error:
            return Readiness(None, None, str(error), services, self._releases.something_to_answer_with)
        return Readiness(live.release, live.recipe.name, None, services, answers_without=True)

    def status(self) -> Status:
        """This process as it is now; asks no service."""
        opened, count = self._releases.serving, self._releases.open_count
        return Status(
            release=opened.release if opened else None,
            recipe=opened.manifest.recipe.name if opened else None,
            items_fetched_at=opened.items.fetched_at if opened else None,
            open_releases=count,
            waiting_for_features=self._user_features.waiting,
            breakers={name: breaker.state for name, breaker in self._services.breakers.items()},
        )

    def close(self) -> None:
        self._user_features.close()
        self._background.shutdown()
        self._services.close()
