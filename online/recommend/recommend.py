"""One request, top to bottom: the user's state, recall, rank, answer.

Redis -> Elasticsearch and Feast in parallel -> Triton, which also makes the user vectors of channels with an encoder,
before recall. `phases` has where extensions act. Where a service does not answer, something replaces it:

| stage | instead | in the answer |
|---|---|---|
| state (Redis) | the user's state as it was last read here; else the popular list | `LAST_STATE`, `POPULAR` |
| the encoder of a recall channel (Triton) | the lists of the other channels | `NOT_ENCODED` |
| recall (Elasticsearch) | an exact search over the server's own copy of the vectors | `EXACT_SEARCH` |
| recall, for a state that no channel can use | popular unseen items, ranked | `NO_RECALL` |
| the user's features (Feast) | those that were last read here; else recall's order | `LAST_FEATURES`, `NOT_RANKED` |
| rank (Triton) | recall's order | `NOT_RANKED` |
| all of them, for a request that has waited too long for a thread | the popular list | `POPULAR` |

A strict request gets the error instead.
"""

import atexit
import logging
import threading
import time
import uuid
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from data_exchange_center import columns
from data_exchange_center.candidates import (
    Candidates,
    ItemQuery,
    StoredUser,
    model_inputs,
)
from data_exchange_center.dataset import OwnId
from data_exchange_center.features import Encoded, Float32
from data_exchange_center.history import History
from data_exchange_center.settings import ServerSettings, Settings
from online.clients.base import (
    Client,
    Deadline,
    GoneError,
    ServiceError,
    StoredError,
    until,
)
from online.clients.elastic import ElasticItems
from online.clients.feast import FeastFeatures, FeatureStore, UserFeatures, encoded_user
from online.clients.redis import RedisUsers, UserQuery
from online.clients.triton import EncoderQuery, ScoreQuery, TritonScores, TritonVectors
from online.recommend import recall, types
from online.recommend.known_users import KnownUsers
from online.recommend.loaded_release import Release, load_release
from online.recommend.outcomes import (
    Degradation,
    Outcome,
    UnknownReleaseError,
    sentences,
)
from online.recommend.phases import Phases
from online.recommend.readiness import Readiness
from online.recommend.releases import Releases
from online.recommend.types import Answer, Ranked, Request, Slate, Stage, Stopwatch

log = logging.getLogger(__name__)

# Shares of the time that is left when a stage begins. Redis usually takes 1 % of its share: the rest is for the others.
STATE_SHARE = 0.4  # Redis
ENCODER_SHARE = 0.4  # Triton, where a recall channel has an encoder
RECALL_SHARE = 0.6  # Elasticsearch, and Feast in parallel
SCORES_SHARE = 0.9  # Triton; the rest is for putting the answer together
MAX_QUEUE_SHARE = 0.4  # of the budget: a request that has waited longer for a thread is answered at once, from memory
BUSY = "is overloaded and had no time for this request"
POLL_S, POLL_AGAIN_S = 0.5, 1.0  # interval of `Recommender.follow`; after a failure


class Recommender:
    """Two stages composed over four clients. Made once per process, shared by its threads.

    Attributes:
        phases: the functions of extensions.
        answer_model: `Answer`, with the fields that extensions have added.
    """

    def __init__(
        self,
        users: RedisUsers,
        items: ElasticItems,
        features: FeatureStore,
        scorer: Client[ScoreQuery, Float32],
        server: ServerSettings,
        encoder: Client[EncoderQuery, Float32] | None = None,
    ) -> None:
        """``encoder``: of channels that have one."""
        self.users = users
        self.items = items
        self.features = features
        self.scorer = scorer
        self.encoder = encoder
        self.server = server
        self.clients: tuple[Client[Any, Any], ...] = (
            users,
            items,
            features,
            scorer,
        )  # as a request calls them
        if encoder is not None:
            encoder.breaker = scorer.breaker  # both are Triton's
        self.user_features = UserFeatures(features)
        self.known_users = KnownUsers(server.known_users, server.last_state_max_age_s)
        self.releases = Releases(users, self._load, self.known_users)
        self.readiness = Readiness(self.releases, self.clients)
        self.closed = threading.Event()
        atexit.register(self.closed.set)
        self._background = ThreadPoolExecutor(1, "background")
        self.reset_extensions()

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Make one with the real clients. Connects to nothing yet: the services may come up later."""
        scorer = TritonScores(settings.triton)
        return cls(
            RedisUsers(settings.redis),
            ElasticItems(settings.elasticsearch),
            FeastFeatures(settings.feast),
            scorer,
            settings.server,
            TritonVectors(scorer),
        )

    def reset_extensions(self) -> None:
        """Remove all functions and fields of extensions."""
        self.phases = Phases()
        self.readiness.notes.clear()
        self.answer_model: type[Answer] = Answer

    # --- a request

    def recommend(
        self,
        request: Request,
        watch: Stopwatch | None = None,
        preferred: str | None = None,
    ) -> Answer:
        """Recommend the best unseen items.

        The answer says what it lacks because of a service that does not answer; a strict request raises its
        ServiceError. Raises WrongIdError, UnknownReleaseError and NoReleaseError.

        Args:
            watch: since when the request's budget runs; None: from now on.
            preferred: the release that answers instead of the active one, if it is loaded.
        """
        watch = watch or Stopwatch()
        slate = self.slate(request, watch, preferred)
        return self.answer_model.model_construct(
            userid=request.userid,
            recommendation=uuid.uuid4().hex,
            **answer_fields(slate),
            took_ms=watch.took_ms(),
        )

    def slate(
        self, request: Request, watch: Stopwatch, preferred: str | None = None
    ) -> Slate:
        """Make all parts of the answer to a request, after extensions have seen it. Raises as `recommend`."""
        release = self.releases.get(request.release, preferred)
        types.check_userid(request.userid, release.user_ids)
        slate = self.ranked_list(request, release, watch)
        for rerank in self.phases.rerank.of(request):
            rerank(slate)
        shown = slate.ranked.shown(request.size)  # (size,) indices
        slate.items = types.items_of(
            release.catalogue,
            slate.ranked.item_numbers[shown],
            slate.ranked.scores[shown],
        )
        for record in self.phases.page.of(request):
            record(slate)
        for annotate in self.phases.annotate.of(request):
            annotate(slate)
        return slate

    def ranked_list(
        self, request: Request, release: Release, watch: Stopwatch
    ) -> Slate:
        """A user's unseen items, best first; the popular list for a user of whom nothing is known.

        Raises UnknownReleaseError, and ServiceError for a strict request.
        """
        strict = request.strict
        deadline = self.deadline_of(request, watch)
        popular = Ranked(release.by_popularity.ids, release.by_popularity.scores)
        slate = Slate(request, release, watch, deadline, popular)
        if not strict and waited_too_long(
            watch, deadline
        ):  # more work on it would make later requests late, too
            slate.degraded.append(Degradation.of(Outcome.POPULAR, "server", BUSY))
            return slate

        # The user's state, by Redis: history, seen items, profile.
        try:
            with watch.stage("redis"):
                stored = self._read_state(request, release, deadline)
        except ServiceError as error:
            stored = self.known_users.state(release.release, request.userid)
            self._degrade(
                slate, Outcome.LAST_STATE if stored else Outcome.POPULAR, error
            )
        known = stored
        for supply in self.phases.state.of(request):
            stored = supply(request, release, stored)
        if stored is not known:  # the request has brought it
            slate.degraded.clear()
        for choose_events in self.phases.history.of(request):
            stored = choose_events(request, release, stored)
        if stored is None:
            return slate

        # The user as of the request's time: events since the release are part of history and seen items. A request that
        # names no time sees all that was acknowledged, even in this second: so a rating counts at once.
        before = request.timestamp if "timestamp" in request.model_fields_set else None
        user = stored.current(release.manifest.dataset, release.numbers, before)
        has_events = bool(stored.events)
        n_events = len(user.history)
        for limit in self.phases.recall.of(request):
            user = limit(request, release, user)
        if user.is_blank:
            return slate

        # The user's features are on their way from Feast while Elasticsearch searches. An unknown user has none.
        pending = None
        if user.number:
            recall_deadline = deadline.share(RECALL_SHARE)
            pending = self.user_features.fetch(
                release.release, user.number, recall_deadline, strict=strict
            )

        # One vector for each channel, from the history; some are made by an encoder in Triton.
        if self.encoder and release.channels.encoded:
            try:
                with watch.stage("encoder"):
                    user = self._encode(
                        release, user, request, deadline.share(ENCODER_SHARE)
                    )
            except ServiceError as error:
                self._degrade(slate, Outcome.NOT_ENCODED, error)
        slate.user = user

        # The nearest unseen items of each channel, by Elasticsearch, fused to one list.
        found: Candidates | None = None
        try:
            found = self._recall(slate, user)
        except StoredError as error:  # the stored state does not fit the channels
            self._degrade(slate, Outcome.NO_RECALL, error)
        if found is None or len(found.item_numbers) < request.fewest:
            candidates = recall.with_popular(release, user, found)
        else:
            candidates = found
        with until(deadline):  # of functions that call a service
            for change in self.phases.candidates.of(request):
                candidates = change(request, release, user, candidates)
        slate.candidates = candidates
        slate.ranked = Ranked(candidates.item_numbers, candidates.scores)

        # The user's features, which should have arrived meanwhile.
        features: Encoded | None = Encoded.none(release.spec.of("user"), 1)
        if pending is not None:
            try:
                features = encoded_user(
                    release.spec, self.user_features.result(pending)
                )
            except ServiceError as error:
                features = self.known_users.features(release.release, request.userid)
                outcome = (
                    Outcome.NOT_RANKED if features is None else Outcome.LAST_FEATURES
                )
                self._degrade(slate, outcome, error)
            else:
                if features is None:
                    lacks = Degradation.of(
                        Outcome.NO_USER_FEATURES, "feast", "does not know this user"
                    )
                    slate.degraded.append(lacks)
                else:
                    self.known_users.keep_features(
                        release.release, request.userid, features
                    )
            took_s = (pending.ended or time.perf_counter()) - pending.began
            watch.stages["feast"] = Stage(pending.began, took_s, pending.failed)
        if features is None or not len(candidates.item_numbers):
            return slate
        if has_events:  # Feast's count is of the release
            features = features.having(columns.Columns.N_RATINGS, [n_events])

        # The ranking model's scores, by Triton, give the order; ties by number.
        query, scored = score_query(
            release, features, user.history, candidates, request.timestamp
        )
        try:
            with watch.stage("triton"):
                scores = self.scorer.call(
                    query, deadline.share(SCORES_SHARE), strict=strict
                )  # (n,)
        except ServiceError as error:
            self._degrade(slate, Outcome.NOT_RANKED, error)
            return slate
        order = np.lexsort((scored.item_numbers, -scores))
        slate.ranked = Ranked(
            scored.item_numbers[order], scores[order], query, rows=order
        )
        unscored = len(candidates.item_numbers) - len(scored.item_numbers)
        if unscored:
            lacks = Degradation.of(
                Outcome.NO_ITEM_FEATURES, "feast", f"lacks {unscored} of the candidates"
            )
            slate.degraded.append(lacks)
        return slate

    def deadline_of(self, request: Request, watch: Stopwatch) -> Deadline:
        """When the answer to a request has to be there; a strict one waits as long as the services may take."""
        server_ms = types.MAX_BUDGET_MS if request.strict else self.server.budget_ms
        waited_s = time.perf_counter() - watch.began
        return Deadline.after((request.budget_ms or server_ms) / 1e3 - waited_s)

    def _read_state(
        self, request: Request, release: Release, deadline: Deadline
    ) -> StoredUser | None:
        """Read a user's state from Redis, and keep it for when Redis does not answer; None: an unknown user."""
        forgotten = self.known_users.forgotten
        query = UserQuery(request.userid, release.release, release.dataset)
        answer = self.users.call(
            query, deadline.share(STATE_SHARE), strict=request.strict
        )
        if not answer.published:
            if request.release:
                raise UnknownReleaseError(request.release)
            raise StoredError(
                "redis", f"lacks the data of release {release.release}, which is active"
            )
        if answer.user is None:
            self.known_users.forget(request.userid, release.release)
        else:
            self.known_users.keep_state(
                release.release, request.userid, answer.user, forgotten
            )
        return answer.user

    def _encode(
        self, release: Release, user: StoredUser, request: Request, deadline: Deadline
    ) -> StoredUser:
        """The user, with the vectors that encoders in Triton make. Raises ServiceError."""
        assert self.encoder is not None  # noqa: S101 (the caller has looked)
        queries = recall.encoder_queries(
            release.manifest, release.channels, user, request.timestamp
        )
        vectors = dict(user.vectors)
        for channel, query in queries.items():
            vectors[channel] = self.encoder.call(query, deadline, strict=request.strict)
        return replace(user, vectors=vectors)

    def _recall(self, slate: Slate, user: StoredUser) -> Candidates:
        """The candidates that the channels find. Raises StoredError for a state that they cannot use."""
        request, release = slate.request, slate.opened
        manifest = release.manifest
        vectors = recall.query_vectors(
            manifest, release.channels, user, request.timestamp
        )
        query = ItemQuery(
            release.release,
            manifest.recipe.recall,
            vectors,
            user.terms,
            user.seen,
            user.only,
        )
        try:
            with slate.watch.stage("elasticsearch"):
                by_deadline = slate.deadline.share(RECALL_SHARE)
                searched = self.items.call(query, by_deadline, strict=request.strict)
        except ServiceError as error:
            self._degrade(slate, Outcome.EXACT_SEARCH, error)
            searched = release.exact.call(query)
        return recall.fused_candidates(release, user, request.timestamp, searched)

    def _degrade(self, slate: Slate, outcome: Outcome, error: ServiceError) -> None:
        """Note what the answer has in the place of a failed stage. Raises the error for a strict request instead."""
        request = slate.request
        of_a_named_release = error.service == "redis" and request.release is not None
        if request.strict or of_a_named_release:
            raise error
        if isinstance(error, GoneError):
            self.releases.reload(slate.opened.release)
        slate.degraded.append(Degradation.of(outcome, error.service, error.what))

    # --- the process

    def _load(self, release: str) -> Release:
        loaded = load_release(
            self.users,
            self.items,
            self.features,
            self.server,
            self._background,
            release,
        )
        return self.extended(loaded)

    def extended(self, release: Release) -> Release:
        """The release, as the extensions want it."""
        for view in self.phases.release:
            release = view(release)
        return release

    def follow(self, look: Callable[[], bool]) -> None:
        """Poll a method every `POLL_S` seconds, on a thread that ends with its object or the server.

        ``look``: checks for changes by other processes; False, or an exception, means failure (`POLL_AGAIN_S`).
        """
        weak, closed, name = weakref.WeakMethod(look), self.closed, look.__qualname__

        def run() -> None:
            while not closed.is_set() and (method := weak()) is not None:
                pause_s = POLL_AGAIN_S
                try:
                    pause_s = POLL_S if method() else POLL_AGAIN_S
                except ServiceError:
                    pass  # it is logged
                except Exception:
                    log.exception("%s has failed, and is called again", name)
                del method
                closed.wait(pause_s)

        threading.Thread(target=run, name=name, daemon=True).start()

    def close(self) -> None:
        self.closed.set()
        atexit.unregister(self.closed.set)
        self.user_features.close()
        self._background.shutdown()
        for client in self.clients:
            client.close()


def waited_too_long(watch: Stopwatch, deadline: Deadline) -> bool:
    """Whether a request has waited for a thread for more than `MAX_QUEUE_SHARE` of its budget."""
    waited_s = time.perf_counter() - watch.began
    has_begun = bool(watch.stages)  # an extension has called a service for it already
    return not has_begun and waited_s > MAX_QUEUE_SHARE * (waited_s + deadline.left())


def score_query(
    release: Release,
    user: Encoded,
    history: History,
    candidates: Candidates,
    timestamp: int,
) -> tuple[ScoreQuery, Candidates]:
    """The query to the ranking model for a request at ``timestamp`` (seconds), and the n candidates that it scores.

    Candidates without features cannot be scored and are left out.
    """
    known, items = release.items.current().find(
        candidates.item_numbers
    )  # mask of those that have features; their rows
    if not known.all():
        log.warning(
            "no features for items %s", candidates.item_numbers[~known].tolist()
        )
        candidates = candidates.only(known)
    inputs = model_inputs(
        release.spec, user, items, candidates, history, timestamp
    )  # (n, columns), history once
    return ScoreQuery(inputs, release.model_version, release.model), candidates


def answer_fields(slate: Slate) -> dict[str, Any]:
    """The fields of the answer that say what the list is made of."""
    cold_start = slate.user is None and not slate.degraded
    reason = sentences(slate.degraded, cold_start=cold_start)
    short = ""
    if is_short(slate):
        short, no_more = slate.end
        reason = f"{reason} {no_more}".strip()
    return {
        "release": slate.opened.release,
        "cold_start": cold_start,
        "item_list": slate.items,
        "degraded": slate.degraded,
        "filled_up": filled_up(slate),
        "short": short,
        "reason": reason,
        "recall": recalled(slate) if slate.request.explain == "recall" else {},
        **slate.more,
    }


def is_short(slate: Slate) -> bool:
    """Whether the list is shorter than the request's size, though no service is at fault."""
    outcomes = {each.outcome for each in slate.degraded}
    by_fault = outcomes & {Outcome.POPULAR, Outcome.NO_ITEM_FEATURES}
    return not by_fault and len(slate.ranked.item_numbers) < slate.request.size


def filled_up(slate: Slate) -> int:
    """How many of the shown items are popular ones that complete what recall has found."""
    if slate.candidates is None or not len(slate.candidates.filled):
        return 0
    shown = slate.ranked.item_numbers[slate.ranked.shown(slate.request.size)]
    return int(np.isin(shown, slate.candidates.filled).sum())


def recalled(slate: Slate) -> dict[str, list[OwnId]]:
    """The items' own ids that each channel found, best first, and under `FUSED` the fused list."""
    candidates, catalogue = slate.candidates, slate.opened.catalogue
    if candidates is None:
        return {types.FUSED: []}
    lists: dict[str, NDArray[np.integer]] = {types.FUSED: candidates.item_numbers}
    for channel, hits in candidates.by_channel.items():
        lists[channel] = hits.ids
    return {
        name: [catalogue[each].own_id for each in ids.tolist() if each in catalogue]
        for name, ids in lists.items()
    }
