"""One request, top to bottom: the user's state, recall, rank, answer.

Redis -> Elasticsearch and Feast in parallel -> Triton, which also makes the user vectors of channels with an encoder,
before recall. `fallback` has what replaces a service that does not answer, `phases` where extensions act, `process` how
a recommender is made and ended.
"""

import logging
import time
import uuid
from functools import partial
from typing import Any

import numpy as np

from data_exchange_center import columns, dataset
from data_exchange_center.candidates import Candidates, model_inputs
from data_exchange_center.features import Encoded, Float32
from data_exchange_center.history import History
from online.clients import base, triton
from online.recommend import loaded_release, outcomes, process, types
from online.recommend.types import Answer, Ranked, Request, Slate, State, Stopwatch, TimedRequest

log = logging.getLogger(__name__)

# Shares of the time that is left when a stage begins. Redis usually takes 1 % of its share: the rest is for the others.
STATE_SHARE = 0.4  # Redis
ENCODER_SHARE = 0.4  # Triton, where a recall channel has an encoder
RECALL_SHARE = 0.6  # Elasticsearch, and Feast in parallel
SCORES_SHARE = 0.9  # Triton; the rest is for putting the answer together
MAX_QUEUE_SHARE = 0.4  # of the budget: a request that has waited longer for a thread is answered at once, from memory
BUSY = "is overloaded and had no time for this request"


class Recommender(process.ServerProcess):
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
        slate = self.slate(timed)
        return self.answer_model.model_construct(
            userid=request.userid,
            recommendation=uuid.uuid4().hex,
            **answer_fields(slate),
            took_ms=timed.watch.took_ms(),
        )

    def slate(self, timed: TimedRequest) -> Slate:
        """Make all parts of the answer to a request, after extensions have seen it. Raises as `recommend`."""
        slate, size = self._list(timed), timed.request.size
        for rerank in self.phases.rerank.of(timed.request):
            rerank(slate)
        if slate.opened is not None:
            shown, ranked = slate.ranked.shown(size), slate.ranked  # (size,) indices
            slate.items = types.items_of(slate.opened.catalogue, ranked.item_numbers[shown], ranked.scores[shown])
        elif slate.saved is not None:
            slate.items = slate.saved.item_list[:size]
        for act in (*self.phases.page.of(timed.request), *self.phases.annotate.of(timed.request)):
            act(slate)
        return slate

    def _list(self, timed: TimedRequest) -> Slate:
        """The ranked list; once more if a stage fails, and the popular list where nothing else can answer."""
        users = partial(self.within, self.users, share=STATE_SHARE)
        try:
            if timed.late:  # more work on it would make later requests late, too
                raise base.ServiceError("server", BUSY)
            state = self.fallbacks.state(timed, users)
            try:
                return self._ranked(state)
            except base.ServiceError as error:
                again = self.fallbacks.second_try(state, users, error)
            return self._ranked(again)
        except (base.ServiceError, outcomes.NoReleaseError) as error:
            return self.fallbacks.popular(timed, error)

    def _ranked(self, state: State) -> Slate:
        """A user's candidates, ranked; the popular list for a user without data.

        Raises ServiceError where no fallback answers: see `Fallbacks`.
        """
        timed, opened, request, phases = state.timed, state.opened, state.timed.request, self.phases
        types.check_userid(request.userid, opened.user_ids)
        stored, degraded = state.user, [*state.degraded]
        for own_state in phases.state.of(request):
            stored = own_state(request, opened, stored)
        if stored is not state.user:  # the request has brought it
            degraded.clear()
        for of_history in phases.history.of(request):
            stored = of_history(request, opened, stored)
        if stored is None:
            return Slate.popular(timed, opened, degraded)
        # The user as of the request's time: events since the release are part of history and seen items. A request that
        # names no time sees all that was acknowledged, even in this second: so a rating counts at once.
        before = request.timestamp if "timestamp" in request.model_fields_set else None
        user = stored.current(opened.manifest.dataset, opened.numbers, before)
        for of_user in phases.recall.of(request):
            user = of_user(request, opened, user)
        if user.is_blank:
            return Slate.popular(timed, opened, degraded)
        # The user's features are on their way from Feast while Elasticsearch searches: one nearest-neighbour search
        # a channel, fused to (candidates,) unseen items with what recall says of each.
        pending = None
        if user.number:  # an unknown user has none
            by = timed.deadline.share(RECALL_SHARE)
            pending = self.user_features.fetch(
                opened.release, user.number, by, strict=request.strict, short_budget=timed.short_budget
            )
        try:
            if self.encoder and opened.channels.encoded:
                encoder = self.within(self.encoder, timed, ENCODER_SHARE)
                user = self.fallbacks.encode(timed, opened, user, degraded, encoder)
            items = self.within(self.items, timed, RECALL_SHARE)
            candidates = self.fallbacks.recall(timed, opened, user, degraded, items)
            with base.until(timed.deadline):  # of functions that call a service
                for of_candidates in phases.candidates.of(request):
                    candidates = of_candidates(request, opened, user, candidates)
            features: Encoded | None = Encoded.none(opened.spec.of("user"), 1)
            if pending is not None:
                features = self.fallbacks.features(timed, opened, degraded, partial(self.user_features.result, pending))
        finally:  # record Feast's time even if the request fails here
            if pending is not None:
                row, took_s = pending.rows, (pending.ended or time.perf_counter()) - pending.began
                failed = not row.done() or row.cancelled() or row.exception() is not None
                timed.watch.stages["feast"] = types.Stage(pending.began, took_s, failed)
        if features is not None and stored.events:
            events = stored.current(opened.manifest.dataset, opened.numbers, None).history
            features = features.having(columns.Columns.N_RATINGS, [len(events)])
        # The ranking model's scores, by Triton, give the order.
        ranked = Ranked(candidates.item_numbers, candidates.scores)
        if features is not None and len(candidates.item_numbers):
            scorer = self.within(self.scorer, timed, SCORES_SHARE)
            score = partial(rank, scorer, opened, features, user.history, candidates, request.timestamp)
            ranked = self.fallbacks.rank(timed, candidates, degraded, score)
        return Slate(timed, opened, user, candidates, ranked, degraded)

    def timed(
        self, request: Request, watch: Stopwatch, preferred: str | None = None, share: float = 1.0
    ) -> TimedRequest:
        """Give a request its deadline. ``watch``, ``preferred``, ``share``: as in `recommend`.

        A strict request waits as long as the services may take; so does any while there is nothing to fall back on.
        """
        short_budget = 0 < request.budget_ms < self.server.budget_ms
        patient = request.strict or not self.releases.can_serve
        budget_ms = request.budget_ms or (types.MAX_BUDGET_MS if patient else self.server.budget_ms)
        waited = time.perf_counter() - watch.began
        deadline = base.Deadline.after(budget_ms / 1e3 - waited).share(share)
        late = not (patient or watch.stages) and waited > MAX_QUEUE_SHARE * budget_ms / 1e3
        last_try = self.releases.recently_reloaded
        return TimedRequest(request, deadline, watch, short_budget, patient, late, preferred, last_try)

    def within(
        self, client: base.Client[base.Query, base.Found], timed: TimedRequest, share: float
    ) -> base.LimitedClient[base.Query, base.Found]:
        """A client limited by a request's deadline and the breaker; ``share``: of the time that is left, 0 to 1."""
        by, strict = timed.deadline.share(share), timed.request.strict
        return base.LimitedClient(client, self.breakers[client.service], by, strict, timed.short_budget)


def rank(
    scorer: base.Caller[triton.ScoreQuery, Float32],
    opened: loaded_release.Release,
    user: Encoded,
    history: History,
    candidates: Candidates,
    timestamp: int,
) -> Ranked:
    """Score candidates by the ranking model and sort them, for a request at ``timestamp`` (seconds).

    Candidates without features cannot be scored and are left out. Raises ServiceError.
    """
    # The candidates' features, of those that have any
    known, items = opened.items.current().find(candidates.item_numbers)  # (n,) of bool; rows of those that are known
    if not known.all():
        log.warning("no features for items %s", candidates.item_numbers[~known].tolist())
        candidates = candidates.only(known)
    # Scores by Triton, best first; ties by itemid
    inputs = model_inputs(opened.spec, user, items, candidates, history, timestamp)  # (n, columns), history once
    query = triton.ScoreQuery(inputs, opened.model_version, opened.model)
    scores = scorer.call(query)  # (n,)
    order = np.lexsort((candidates.item_numbers, -scores))
    return Ranked(candidates.item_numbers[order], scores[order], query, rows=order)


def answer_fields(slate: Slate) -> dict[str, Any]:
    """The fields of the answer that say what the list is made of."""
    request, opened, candidates = slate.timed.request, slate.opened, slate.candidates
    cold_start = slate.user is None and not slate.degraded
    why = outcomes.sentences(slate.degraded, cold_start=cold_start) if slate.degraded or cold_start else ""
    filled_up, short = 0, ""
    if candidates is not None and len(candidates.filled):
        shown = slate.ranked.item_numbers[slate.ranked.shown(request.size)]
        filled_up = int(np.isin(shown, candidates.filled).sum())
    by_fault = {each.outcome for each in slate.degraded} & {outcomes.Outcome.POPULAR, outcomes.Outcome.NO_ITEM_FEATURES}
    if opened is not None and len(slate.ranked.item_numbers) < request.size and not by_fault:
        short, no_more = slate.end
        why = f"{why} {no_more}".strip()
    return {
        "release": opened.release if opened else slate.saved.release if slate.saved else "",
        "cold_start": cold_start,
        "item_list": slate.items,
        "degraded": slate.degraded,
        "filled_up": filled_up,
        "short": short,
        "reason": why,
        "recall": recalled(slate) if request.explain == "recall" else {},
        **slate.more,
    }


def recalled(slate: Slate) -> dict[str, list[dataset.OwnId]]:
    """The items' own ids that each channel found, best first, and under `FUSED` the fused list."""
    opened, candidates = slate.opened, slate.candidates
    if opened is None or candidates is None:
        return {types.FUSED: []}
    lists = {types.FUSED: candidates.item_numbers, **{name: hits.ids for name, hits in candidates.by_channel.items()}}
    shown = opened.catalogue
    return {name: [shown[each].own_id for each in ids.tolist() if each in shown] for name, ids in lists.items()}
