"""One request, top to bottom: the user's state, recall, rank, answer.

Redis -> Elasticsearch and Feast in parallel -> Triton. `fallback` has what replaces a service that does not answer,
`phases` where extensions act, `process` how a recommender is made and ended.
"""

from __future__ import annotations

import uuid
from functools import partial

from data_exchange_center.columns import Columns
from data_exchange_center.features import Encoded
from online.clients.base import Client, Deadline, Found, LimitedClient, Query
from online.recommend.phases import Slate, State
from online.recommend.process import ServerProcess
from online.recommend.rank import encoded_user, rank
from online.recommend.recall import recall
from online.recommend.types import MAX_BUDGET_MS, Answer, Ranked, Request, Stopwatch, TimedRequest, check_userid

# Shares of the time that is left when a stage begins. Redis usually takes 1 % of its share: the rest is for the others.
STATE_SHARE = 0.4  # Redis
RECALL_SHARE = 0.6  # Elasticsearch, and Feast in parallel
SCORES_SHARE = 0.9  # Triton; the rest is for putting the answer together
MAX_QUEUE_SHARE = 0.4  # of the budget: a request that has waited longer for a thread is answered at once, from memory


class Recommender(ServerProcess):
    """Two stages composed over four clients. Made once per process, shared by its threads."""

    def recommend(
        self, request: Request, watch: Stopwatch | None = None, preferred: str | None = None, share: float = 1.0
    ) -> Answer:
        """Recommend the best unseen items.

        A fallback replaces a service that does not answer, and the answer says so; a strict request raises its
        ServiceError. Raises WrongIdError, UnknownReleaseError, and NoReleaseError or ServiceError where nothing can
        answer.

        Args:
            watch: since when the request's budget runs; None: from now on.
            preferred: the release that answers instead of the active one, where it can.
            share: how much of the budget may be used, 0 to 1.
        """
        timed = self.timed(request, watch or Stopwatch(), preferred, share)
        return self.answer_model.model_construct(
            userid=request.userid,
            recommendation=uuid.uuid4().hex,
            **self.slate(timed).fields(),
            took_ms=timed.watch.took_ms(),
        )

    def slate(self, timed: TimedRequest) -> Slate:
        """Make all parts of the answer to a request, after extensions have seen it. Raises as `recommend`."""
        slate = self.fallbacks.slate(timed, self._state, self._ranked)
        for act in (*self.phases.rerank, *self.phases.page, *self.phases.annotate):
            act(slate)
        return slate

    def _state(self, timed: TimedRequest) -> State:
        """Redis: which release answers, and what it and the feedback since say of the user."""
        request, users = timed.request, self.within(self.users, timed, STATE_SHARE)
        with timed.watch.stage("redis"):
            opened, user = self.releases.find(request.userid, users, request.release, timed.preferred)
        return State(timed, opened, user)

    def _ranked(self, state: State) -> Slate:
        """A user's candidates, ranked; the popular list for a user without data.

        Raises ServiceError where no fallback answers: see `TimedRequest.may_fall_back`.
        """
        timed, opened, request, phases = state.timed, state.opened, state.timed.request, self.phases
        check_userid(request.userid, opened.user_ids)
        stored, degraded = state.user, [*state.degraded]
        for own_state in phases.state:
            stored = own_state(request, opened, stored)
        if stored is not state.user:  # the request has brought it
            degraded.clear()
        for of_history in phases.history:
            stored = of_history(request, opened, stored)
        if stored is None:
            return Slate.popular(timed, opened, degraded)
        # The user as of the request's time: events since the release are part of history and seen items.
        user = opened.current(stored, request.before)
        for of_user in phases.recall:
            user = of_user(request, opened, user)
        if user.is_blank:
            return Slate.popular(timed, opened, degraded)
        # The user's features are on their way from Feast while Elasticsearch searches: one nearest-neighbour search
        # a channel, fused to (candidates,) unseen items with what recall says of each.
        pending = None
        if user.number:  # an unknown user has none
            by = timed.deadline.share(RECALL_SHARE)
            pending = self.user_features.fetch(
                opened.release, user.number, by, strict=timed.strict, short_budget=timed.short_budget
            )
        try:
            search = partial(recall, opened=opened, user=user, timestamp=request.timestamp, fewest=request.fewest)
            items = self.within(self.items, timed, RECALL_SHARE)
            candidates = self.fallbacks.recall(timed, opened, user, degraded, items, search)
            for of_candidates in phases.candidates:
                candidates = of_candidates(request, opened, user, candidates)
            features: Encoded | None = Encoded.none(opened.spec.of("user"), 1)
            if pending is not None:
                read = lambda: encoded_user(opened.spec, self.user_features.result(pending))  # noqa: E731
                features = self.fallbacks.features(timed, opened, degraded, read)
        finally:  # record Feast's time even if the request fails here
            if pending is not None:
                timed.watch.stages["feast"] = pending.stage()
        if features is not None and stored.events:
            features = features.having(Columns.N_RATINGS, [len(opened.current(stored, None).history)])
        # The ranking model's scores, by Triton, give the order.
        ranked = Ranked(candidates.itemids, candidates.scores)
        if features is not None and len(candidates.itemids):
            scorer = self.within(self.scorer, timed, SCORES_SHARE)
            score = partial(rank, scorer, opened, features, user.history, candidates, request.timestamp)
            ranked = self.fallbacks.rank(timed, candidates, degraded, score)
        return Slate(timed, opened, user, candidates, ranked, degraded)

    # --- its limits

    def timed(
        self, request: Request, watch: Stopwatch, preferred: str | None = None, share: float = 1.0
    ) -> TimedRequest:
        """Give a request its deadline. ``watch``, ``preferred``, ``share``: as in `recommend`.

        A strict request waits as long as the services may take; so does any while there is nothing to fall back on.
        """
        short_budget = 0 < request.budget_ms < self.server.budget_ms
        patient = request.strict or not self.releases.can_serve
        budget_ms = request.budget_ms or (MAX_BUDGET_MS if patient else self.server.budget_ms)
        waited = watch.seconds()
        deadline = Deadline.after(budget_ms / 1e3 - waited).share(share)
        late = not (patient or watch.stages) and waited > MAX_QUEUE_SHARE * budget_ms / 1e3
        again = self.releases.recently_reloaded
        return TimedRequest(request, deadline, watch, short_budget, patient, late, preferred, again)

    def within(self, client: Client[Query, Found], timed: TimedRequest, share: float) -> LimitedClient[Query, Found]:
        """A client limited by a request's deadline and the breaker; ``share``: of the time that is left, 0 to 1."""
        return LimitedClient(
            client, self.breakers[client.service], timed.deadline.share(share), timed.strict, timed.short_budget
        )
