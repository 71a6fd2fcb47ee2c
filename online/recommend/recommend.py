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

import logging
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from data_exchange_center.candidates import (
    Candidates,
    StoredUser,
    model_inputs,
)
from data_exchange_center.columns import Columns
from data_exchange_center.dataset import OwnId
from data_exchange_center.features import Encoded, Float32
from data_exchange_center.history import History
from data_exchange_center.settings import ServerSettings, Settings
from online.clients.base import (
    Client,
    Deadline,
    GoneError,
    ServiceError,
    Stage,
    Stopwatch,
    StoredError,
    until,
)
from online.clients.elastic import CatalogueItem, ElasticItems
from online.clients.feast import (
    FeastFeatures,
    FeatureStore,
    PendingRow,
    UserFeatures,
    encoded_user,
)
from online.clients.redis import RedisUsers, UserQuery
from online.clients.triton import EncoderQuery, ScoreQuery, TritonScores
from online.recommend import types
from online.recommend.loaded_release import Release, load_release, with_popular
from online.recommend.outcomes import (
    Degradation,
    Outcome,
    UnknownReleaseError,
    sentences,
)
from online.recommend.phases import Act, Phase, Phases
from online.recommend.poller import Poller
from online.recommend.readiness import Readiness
from online.recommend.recall import encoded, fused_candidates, item_query
from online.recommend.releases import Releases
from online.recommend.types import Answer, Item, Ranked, Request, Slate

log = logging.getLogger(__name__)

# Shares of the time that is left when a stage begins. Redis usually takes 1 % of its share: the rest is for the others.
STATE_SHARE = 0.4  # Redis
ENCODER_SHARE = 0.4  # Triton, where a recall channel has an encoder
RECALL_SHARE = 0.6  # Elasticsearch, and Feast in parallel
SCORES_SHARE = 0.9  # Triton; the rest is for putting the answer together
MAX_QUEUE_SHARE = 0.4  # of the budget: a request that has waited longer for a thread is answered at once, from memory
KNOWN_USERS = 5_000  # whose state and features a process caches, 10 kB each
LAST_STATE_MAX_AGE_S = (
    900.0  # of a cached state that is used when Redis does not answer
)
BUSY = "is overloaded and had no time for this request"
_ITEMS: Final = TypeAdapter(list[Item])


class Recommender:
    """Two stages composed over four clients. Made once per process, shared by its threads.

    Attributes:
        phases: the functions of extensions.
        answer_model: `Answer`, with the fields that extensions have added.
        closed: set when the server ends.
    """

    def __init__(
        self,
        users: RedisUsers,
        items: ElasticItems,
        features: FeatureStore,
        scorer: Client[ScoreQuery | EncoderQuery, Float32],
        server: ServerSettings,
    ) -> None:
        self.users = users
        self.items = items
        self.features = features
        self.scorer = scorer
        self.server = server
        # as a request calls them
        self.clients: tuple[Client[Any, Any], ...] = users, items, features, scorer
        self.user_features = UserFeatures(features)
        self.known_users = KnownUsers()
        self.releases = Releases(users, self._load, self.known_users.follow)
        self.readiness = Readiness(self.releases, self.clients)
        self.poller = Poller()
        self.follow = self.poller.follow
        self.closed = self.poller.closed
        self.reset_extensions()

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Make one with the real clients. Connects to nothing yet: the services may come up later."""
        return cls(
            RedisUsers(settings.redis),
            ElasticItems(settings.elasticsearch),
            FeastFeatures(settings.feast),
            TritonScores(settings.triton),
            settings.server,
        )

    def reset_extensions(self) -> None:
        """Remove all functions and fields of extensions."""
        self.phases = Phases()
        self.readiness.notes.clear()
        self.answer_model: type[Answer] = Answer

    def _load(self, release: str) -> Release:
        loaded = load_release(self.users, self.items, self.features, release)
        return self.extended(loaded)

    def extended(self, release: Release) -> Release:
        """The release, as the extensions want it."""
        for view in self.phases.release:
            release = view(release)
        return release

    def close(self) -> None:
        self.poller.close()
        self.user_features.close()
        for client in self.clients:
            client.close()

    # --- a request

    def recommend(
        self,
        request: Request,
        watch: Stopwatch | None = None,
        preferred: str | None = None,
    ) -> Answer:
        """Recommend the best unseen items.

        The answer says what it lacks because of a service that does not answer; a strict request raises its
        ServiceError, and so does one that names its release while Redis is away. Raises WrongIdError, BadRequestError,
        UnknownReleaseError and NoReleaseError.

        Args:
            watch: since when the request's budget runs; None: from now on.
            preferred: the release that answers instead of the active one, if it is loaded.
        """
        watch = watch or Stopwatch()
        slate = self.slate(request, watch, preferred)
        candidates, item_numbers = slate.candidates, slate.ranked.item_numbers
        cold_start = slate.user is None and not slate.degraded
        reason, short, filled_up = "", "", 0
        if cold_start or slate.degraded:
            reason = sentences(slate.degraded, cold_start=cold_start)
        if len(item_numbers) < request.size:
            outcomes = {each.outcome for each in slate.degraded}
            if outcomes.isdisjoint({Outcome.POPULAR, Outcome.NO_ITEM_FEATURES}):
                short, no_more = slate.end
                reason = f"{reason} {no_more}".strip()
        if candidates is not None and len(candidates.filled):
            shown = item_numbers[slate.ranked.shown(request.size)]
            filled_up = int(np.isin(shown, candidates.filled).sum())
        fields: dict[str, Any] = {
            "userid": request.userid,
            "release": slate.release.release,
            "recommendation": uuid.uuid4().hex,
            "cold_start": cold_start,
            "degraded": slate.degraded,
            "reason": reason,
            "item_list": slate.items,
            "filled_up": filled_up,
            "short": short,
            "recall": types.recalled(slate) if request.explain == "recall" else {},
            "took_ms": watch.took_ms(),
            **slate.more,
        }
        return self.answer_model.model_construct(**fields)

    def slate(
        self, request: Request, watch: Stopwatch, preferred: str | None = None
    ) -> Slate:
        """Make all parts of the answer to a request, after extensions have seen it. Raises as `recommend`."""
        release = self.releases.active
        if release is None or request.release is not None or preferred is not None:
            release = self.releases.get(request.release, preferred)
        is_string = isinstance(request.userid, str)
        if request.userid and is_string != (release.user_ids == "string"):
            raise types.wrong_userid(request.userid)  # 7 and "7" would be the same user

        slate = self.ranked_list(request, release, watch)
        for rerank in acting(self.phases.rerank, request):
            rerank(slate)
        ranked = slate.ranked
        shown = ranked.shown(request.size)
        slate.items = items_of(
            release.catalogue, ranked.item_numbers[shown], ranked.scores[shown]
        )
        for record in acting(self.phases.page, request):
            record(slate)
        for annotate in acting(self.phases.annotate, request):
            annotate(slate)
        return slate

    def ranked_list(
        self, request: Request, release: Release, watch: Stopwatch
    ) -> Slate:
        """A user's unseen items, best first; the popular list for a user of whom nothing is known.

        Raises UnknownReleaseError, and ServiceError for a strict request.
        """
        strict, timestamp = request.strict, request.timestamp
        # A strict request waits as long as the services may take.
        server_ms = types.MAX_BUDGET_MS if strict else self.server.budget_ms
        budget_s = (request.budget_ms or server_ms) / 1e3
        waited_s = time.perf_counter() - watch.began
        deadline = Deadline.after(budget_s - waited_s)
        weights = release.weights
        if wanted := request.objectives:
            weights = types.objective_weights(wanted, release.manifest.objectives)
        popular = Ranked(release.by_popularity.ids, release.by_popularity.scores)
        slate = Slate(request, release, watch, deadline, popular)
        # More work on a request that has waited too long for a thread would make later ones late, too; not where an
        # extension has called a service for it already.
        is_late = waited_s > MAX_QUEUE_SHARE * budget_s
        if is_late and not strict and not watch.stages:
            slate.degraded.append(Degradation.of(Outcome.POPULAR, "server", BUSY))
            return slate

        # The user's state, by Redis: history, seen items, profile.
        key = release.release, request.userid
        forgotten = self.known_users.forgotten
        query = UserQuery(request.userid, release.release, release.dataset)
        try:
            with watch.stage("redis"):
                state = self.users.call(
                    query, deadline.share(STATE_SHARE), strict=strict
                )
                if not state.published and request.release:
                    raise UnknownReleaseError(request.release)
                if not state.published:
                    what = f"lacks the data of release {release.release}, which answers"
                    raise StoredError("redis", what)
            stored = state.user
            known = self.known_users.keep(key, stored, forgotten)
        except ServiceError as error:
            known = self.known_users.find(key)
            stored = self.known_users.state(known)
            self._degrade(
                slate, Outcome.LAST_STATE if stored else Outcome.POPULAR, error
            )
        by_redis = stored
        for supply in acting(self.phases.state, request):
            stored = supply(request, release, stored)
        if stored is not by_redis:  # the request has brought it
            slate.degraded.clear()
        for choose_events in acting(self.phases.history, request):
            stored = choose_events(request, release, stored)
        if stored is None:
            return slate

        # The user as of the request's time: events since the release are part of history and seen items. A request that
        # names no time sees all that was acknowledged, even in this second: so a rating counts at once.
        before = timestamp if "timestamp" in request.model_fields_set else None
        user = stored.current(release.manifest.dataset, release.numbers, before)
        n_events = user.history.item_numbers.size if stored.events else None
        for limit in acting(self.phases.recall, request):
            user = limit(request, release, user)
        if not user.number and user.is_blank:
            return slate

        # The user's features are on their way from Feast while Elasticsearch searches. An unknown user has none.
        pending = None
        if user.number:
            recall_deadline = deadline.share(RECALL_SHARE)
            pending = self.user_features.fetch(
                release.release, user.number, recall_deadline, strict=strict
            )

        # One vector for each channel, from the history; some are made by an encoder in Triton.
        if release.channels.encoded:
            try:
                with watch.stage("encoder"):
                    by_deadline = deadline.share(ENCODER_SHARE)
                    user = encoded(
                        self.scorer,
                        release.manifest,
                        release.channels,
                        user,
                        timestamp,
                        by_deadline,
                        strict=strict,
                    )
            except ServiceError as error:
                self._degrade(slate, Outcome.NOT_ENCODED, error)
        slate.user = user

        # The nearest unseen items of each channel, by Elasticsearch, fused to one list.
        candidates: Candidates | None = None
        try:
            search = item_query(release.manifest, release.channels, user, timestamp)
            try:
                with watch.stage("elasticsearch"):
                    by_deadline = deadline.share(RECALL_SHARE)
                    searched = self.items.call(search, by_deadline, strict=strict)
            except ServiceError as error:
                self._degrade(slate, Outcome.EXACT_SEARCH, error)
                searched = release.exact.call(search)
            candidates = fused_candidates(release, user, timestamp, searched)
        except StoredError as error:  # the stored state does not fit the channels
            self._degrade(slate, Outcome.NO_RECALL, error)
        enough = request.size
        for needed in acting(self.phases.enough, request):
            enough = needed(request)
        if candidates is None or len(candidates.item_numbers) < enough:
            candidates = with_popular(release, user, candidates)
        for change in acting(self.phases.candidates, request):
            with until(deadline):  # of functions that call a service
                candidates = change(request, release, user, candidates)
        slate.candidates = candidates
        slate.ranked = Ranked(candidates.item_numbers, candidates.scores)

        # The user's features, which should have arrived meanwhile.
        features = self._received(slate, pending, known, watch)
        if features is None or not len(candidates.item_numbers):
            return slate
        if n_events is not None:  # Feast's count is of the release
            features = features.having(Columns.N_RATINGS, [n_events])

        # The ranking model's scores, by Triton, give the order; ties by number.
        rows, scored = score_query(
            release, features, user.history, candidates, timestamp, weights
        )
        try:
            with watch.stage("triton"):
                by_deadline = deadline.share(SCORES_SHARE)
                scores = self.scorer.call(rows, by_deadline, strict=strict)  # (n,)
        except ServiceError as error:
            self._degrade(slate, Outcome.NOT_RANKED, error)
            return slate
        order = np.lexsort((scored.item_numbers, -scores))
        numbers = scored.item_numbers[order]
        slate.ranked = Ranked(numbers, scores[order], rows, rows=order)
        if unscored := len(candidates.item_numbers) - len(numbers):
            what = f"lacks {unscored} of the candidates"
            slate.degraded.append(
                Degradation.of(Outcome.NO_ITEM_FEATURES, "feast", what)
            )
        return slate

    def _received(
        self,
        slate: Slate,
        pending: PendingRow | None,
        known: "KnownUser | None",
        watch: Stopwatch,
    ) -> Encoded | None:
        """Feast's answer: the user's features; None where there are none, and the items stay in recall's order.

        Args:
            pending: the request to Feast; None for a user who has no number.
            known: what this worker keeps of the user.
        """
        spec = slate.release.spec
        if pending is None:
            return Encoded.none(spec.of("user"), 1)
        failed = True
        try:
            row = self.user_features.result(pending)
            failed = False
            features = encoded_user(spec, row)
        except ServiceError as error:
            last = known.features if known else None
            outcome = Outcome.LAST_FEATURES if last else Outcome.NOT_RANKED
            self._degrade(slate, outcome, error)
            return last
        finally:
            took_s = (pending.ended or time.perf_counter()) - pending.began
            watch.stages["feast"] = Stage(pending.began, took_s, failed)
        if features is None:
            what = "does not know this user"
            slate.degraded.append(
                Degradation.of(Outcome.NO_USER_FEATURES, "feast", what)
            )
        elif known is not None:
            known.features = features
        return features

    def _degrade(self, slate: Slate, outcome: Outcome, error: ServiceError) -> None:
        """Note what the answer has in the place of a failed stage. Raises the error for a strict request instead."""
        request = slate.request
        of_a_named_release = error.service == "redis" and request.release is not None
        if request.strict or of_a_named_release:
            raise error
        if isinstance(error, GoneError):
            self.releases.reload(slate.release.release)
        slate.degraded.append(Degradation.of(outcome, error.service, error.what))


def acting(phase: Phase[Act], request: Request) -> list[Act]:
    """The functions of a phase that act on a request."""
    given = request.model_fields_set
    acts = []
    for hook in phase.hooks:
        wanted = not hook.fields or not hook.fields.isdisjoint(given)
        if hook.needed and wanted:
            acts.append(hook.act)
    return acts


# --- the ranking model, and the answer


def score_query(
    release: Release,
    user: Encoded,
    history: History,
    candidates: Candidates,
    timestamp: int,
    weights: tuple[float, ...],
) -> tuple[ScoreQuery, Candidates]:
    """The query to the ranking model for a request at ``timestamp`` (seconds), and the n candidates that it scores.

    Candidates without features cannot be scored and are left out. ``weights``: of the model's outputs.
    """
    known, items = release.items.held.find(candidates.item_numbers)  # (n,)
    if not known.all():
        unknown = candidates.item_numbers[~known].tolist()
        log.warning("no features for items %s", unknown)
        candidates = candidates.only(known)
    # (n, columns), history once
    inputs = model_inputs(release.spec, user, items, candidates, history, timestamp)
    query = ScoreQuery(inputs, release.model_version, release.model, weights)
    return query, candidates


def items_of(
    catalogue: Mapping[int, CatalogueItem],
    item_numbers: NDArray[np.integer],
    scores: NDArray[np.floating],
) -> list[Item]:
    """Build the items of an answer, validated in one batch: a third of the time of one after the other."""
    items = []
    for number, score in zip(item_numbers.tolist(), scores.tolist(), strict=True):
        item = catalogue[number]
        items.append(
            {
                **item.attributes,
                "itemid": item.own_id,
                "score": float(f"{score:.6g}"),
                "title": item.title,
            }
        )
    return _ITEMS.validate_python(items)


# --- what stands in for Redis and Feast


@dataclass(slots=True)
class KnownUser:
    """A user's state and features, as last read from the services."""

    state: StoredUser
    read_at: float  # seconds of the cache's clock
    features: Encoded | None = None  # of one user


Key = tuple[str, OwnId]  # release and userid


class KnownUsers:
    """Cache of recent users. Shared by threads.

    At most `KNOWN_USERS` pairs of release and user; the one whose state was read longest ago is dropped first.

    Attributes:
        forgotten: how many users were forgotten (`wire.FORGOTTEN_COUNT_KEY`), as of the last `follow`.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._users: OrderedDict[Key, KnownUser] = OrderedDict()
        self.forgotten = 0

    def follow(self, forgotten: int) -> None:
        """Drop everything if a user was forgotten since, by any process; ``forgotten``: the current count."""
        with self._lock:
            if forgotten > self.forgotten:
                self.forgotten = forgotten
                self._users.clear()

    def keep(
        self, key: Key, state: StoredUser | None, forgotten: int = 0
    ) -> KnownUser | None:
        """Cache a state that was just read, unless a user was forgotten since; None: drop the user.

        ``forgotten``: the count before the state was read.
        """
        with self._lock:
            if forgotten < self.forgotten:
                return None
            before = self._users.pop(key, None)
            if state is None:
                return None
            features = before.features if before else None
            self._users[key] = known = KnownUser(state, self._clock(), features)
            if len(self._users) > KNOWN_USERS:
                self._users.popitem(last=False)
            return known

    def find(self, key: Key) -> KnownUser | None:
        """The user as read last. The features may be old: within a release only counts change."""
        with self._lock:
            return self._users.get(key)

    def state(self, known: KnownUser | None) -> StoredUser | None:
        """The state as it was read last; None: never, or too long ago."""
        if known is None or self._clock() - known.read_at > LAST_STATE_MAX_AGE_S:
            return None
        return known.state

    def forget(self, userid: OwnId) -> None:
        """Drop a user, under all releases."""
        with self._lock:
            for key in [key for key in self._users if key[1] == userid]:
                del self._users[key]
