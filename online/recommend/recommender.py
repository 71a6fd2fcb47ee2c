"""A request's way through the four services: Redis -> Elasticsearch and Feast at once -> Triton."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.own_ids import OwnId, kind_of
from data_exchange_center.settings import Settings
from online.clients.base import Client, GoneError, Pong, ServiceError
from online.clients.elastic import CatalogueItem, ElasticItems
from online.clients.feast import FeastFeatures, FeatureQuery, FeatureRows
from online.clients.redis import RedisUsers, StoredUser
from online.clients.triton import ScoreQuery, TritonScores
from online.recommend.open_release import NoReleaseError, OpenRelease
from online.recommend.rank import rank
from online.recommend.recall import recall
from online.recommend.releases import Releases
from online.recommend.status import Status
from online.recommend.stopwatch import Stopwatch
from online.recommend.types import FUSED, Candidates, Outcome, Ranked, Recommendation, Request, check_userid
from online.recommend.user_features import UserFeatures

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Readiness:
    """Whether the server could answer now, and what is missing."""

    release: str | None
    recipe: str | None
    release_problem: str | None
    services: dict[str, Pong | ServiceError]

    @property
    def ready(self) -> bool:
        return self.release_problem is None and all(isinstance(pong, Pong) for pong in self.services.values())


class Recommender:
    """Two stages composed over four clients. Made once per process, shared by its threads."""

    def __init__(
        self,
        users: RedisUsers,
        items: ElasticItems,
        features: Client[FeatureQuery, FeatureRows],
        scorer: Client[ScoreQuery, NDArray[np.float32]],
        *,
        feature_timeout_s: float,
        item_cache_ttl_s: float,
    ) -> None:
        self._items = items
        self._scorer = scorer
        self._clients = (users, items, features, scorer)
        self._user_features = UserFeatures(features, feature_timeout_s)
        self._background = ThreadPoolExecutor(2, "background")
        self._releases = Releases(users, items, features, self._background, item_cache_ttl_s)
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
            feature_timeout_s=settings.feast.timeout_s,
            item_cache_ttl_s=settings.server.item_cache_ttl_s,
        )

    def recommend(self, request: Request, watch: Stopwatch | None = None) -> Recommendation:
        """The best unseen items; ``watch`` is told how long each stage takes.

        Raises ServiceError, NoReleaseError, WrongUserIdError.
        """
        watch = watch or Stopwatch()
        with watch.stage("redis"):
            opened, user = self._of_its_kind(request.userid, *self._releases.user(request.userid))
        try:
            ranked, candidates = self._ranked(request, opened, user, watch)
        except ServiceError as error:
            instead = self._releases.instead_of(opened, request.userid, gone=isinstance(error, GoneError))
            if instead is None:
                raise
            opened, user = instead
            check_userid(request.userid, opened.user_ids)
            ranked, candidates = self._ranked(request, opened, user, watch)
        self._note(request, ranked)
        return Recommendation(
            userid=request.userid,
            release=opened.release,
            items=tuple(_shown(opened, ranked, request.size)),
            outcomes=ranked.outcomes,
            took_ms=watch.took_ms(),
            recall=_explained(opened, candidates) if request.explain else None,
        )

    def _of_its_kind(
        self, userid: OwnId, opened: OpenRelease, user: StoredUser | None
    ) -> tuple[OpenRelease, StoredUser | None]:
        """The same; or, for an id of another kind, the release that is going live. Raises WrongUserIdError."""
        if kind_of(userid) != opened.user_ids:
            opened, user = self._releases.instead_of(opened, userid, gone=False) or (opened, user)
            check_userid(userid, opened.user_ids)
        return opened, user

    def _ranked(
        self, request: Request, opened: OpenRelease, user: StoredUser | None, watch: Stopwatch
    ) -> tuple[Ranked, Candidates | None]:
        """The answer, and the candidates it was chosen from; None for an unknown user."""
        if user is None:
            popular = opened.popular
            return Ranked(popular.ids, popular.scores, (Outcome.COLD_START,)), None
        user = user.as_of(request.timestamp)
        asked = self._user_features.ask(opened.release, user.number)
        asked.rows.add_done_callback(watch.until_done("feast"))
        with watch.stage("elasticsearch"):
            candidates = recall(self._items, opened, user, request.timestamp)
        user_row = self._user_features.result(asked)
        with watch.stage("triton"):
            ranked = rank(self._scorer, opened, user_row, user.history, candidates, request.timestamp)
        return ranked, candidates

    def _note(self, request: Request, ranked: Ranked) -> None:
        names = [outcome.value for outcome in ranked.outcomes] or [Outcome.PERSONAL.value]
        with self._count_lock:
            self._counts.update(names)
        if ranked.outcomes:
            log.info("user %r: %s", request.userid, ", ".join(names))

    @property
    def outcomes(self) -> dict[str, int]:
        """How many answers had which outcome since this process began."""
        with self._count_lock:
            return dict(self._counts)

    def warm_up(self) -> Future[None]:
        """Open the live release in the background, if there is one, so that the first request need not."""
        return self._background.submit(self._warm_up)

    def _warm_up(self) -> None:
        try:
            self._releases.live()
        except (ServiceError, NoReleaseError) as error:
            log.warning("nothing to serve yet: %s", error)

    def readiness(self) -> Readiness:
        """Ask every service at once, then for the live release."""
        with ThreadPoolExecutor(len(self._clients)) as pool:
            services = dict(pool.map(_ask, self._clients))
        try:
            live = self._releases.live().manifest
            return Readiness(live.release, live.recipe.name, None, services)
        except (ServiceError, NoReleaseError) as error:
            return Readiness(None, None, str(error), services)

    def status(self) -> Status:
        """This process as it is now; asks no service."""
        opened, count = self._releases.serving, self._releases.open_count
        return Status(
            release=opened.release if opened else None,
            recipe=opened.manifest.recipe.name if opened else None,
            items_fetched_at=opened.items.fetched_at if opened else None,
            open_releases=count,
            waiting_for_features=self._user_features.waiting,
        )

    def close(self) -> None:
        self._user_features.close()
        self._background.shutdown()
        for client in self._clients:
            client.close()


def _ask(client: Client[object, object]) -> tuple[str, Pong | ServiceError]:
    try:
        return client.service, client.ping()
    except ServiceError as error:
        return client.service, error


def _shown(opened: OpenRelease, ranked: Ranked, size: int) -> Iterator[tuple[int, float, CatalogueItem]]:
    for itemid, score in zip(ranked.itemids[:size].tolist(), ranked.scores[:size].tolist(), strict=True):
        yield itemid, score, opened.catalogue[itemid]


def _explained(opened: OpenRelease, candidates: Candidates | None) -> dict[str, list[OwnId]]:
    lists = candidates.lists() if candidates is not None else {FUSED: []}
    return {name: [opened.catalogue[itemid].own_id for itemid in itemids] for name, itemids in lists.items()}
