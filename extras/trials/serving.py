"""Answers users from the releases of their trials, counts how a canary does, and records what was shown.

One function around the recommender (`Serving.recommend`) does it for experiments, canaries and the sample that quality
is measured by. What runs is read from Redis twice a second. While a canary runs, the thread that reads it adds the
worker's counts to Redis's and decides (`extras.trials.decision`), in each worker alike: a transition that another
worker has made is not made twice.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Final

from extras.trials.changes import follow_decision, settle_canary
from extras.trials.decision import (
    CanarySettings,
    Counts,
    Guardrail,
    decide,
    guardrails,
    relative_likes,
)
from extras.trials.exposures import (
    PLAIN,
    Exposure,
    ExposureQueue,
    Sampler,
    is_shown,
)
from extras.trials.outcomes import outcomes_of
from extras.trials.quality import QualityMetrics, QualitySettings, Report
from extras.trials.state import GROUPS, Canary, Model, Trial, Trials
from extras.trials.store import Change, TrialStore
from extras.trials.tally import Tally, is_wrong, overlap_of, problems
from online.recommend.outcomes import BadRequestError
from online.recommend.types import Answer, Request, Stopwatch, read_id
from online.web.parts import Parts

# Least time between two readings of the logs, and the share of the time that these may take
LIKES_S, LIKES_SHARE = 10.0, 0.05
# After which a process that cannot load the canary's release counts errors
LOADED_S: Final = 60.0
RECENT_S: Final = 24 * 3600.0  # how long readiness reports an ended canary


class Progress(Model):
    """How the canary that runs does."""

    requests: dict[str, int]
    """of this step, by group: the canary's users, and as many of the active release's"""
    guardrails: list[Guardrail]
    """the first whose `certain` exceeds its `bound` rolls the release back"""


class CanaryReport(Model):
    """The release on trial, if there is one, and those that were, newest first; and how the one that runs does."""

    running: Canary | None
    ended: tuple[Canary, ...]
    progress: Progress | None
    """null: no canary runs"""


class Serving:
    """How a process answers while trials run. Shared by threads."""

    def __init__(self, parts: Parts, store: TrialStore) -> None:
        self._recommender = parts.recommender
        self._store = store
        store.breaker = parts.recommender.users.breaker
        self._limits = CanarySettings.load()
        quality = QualitySettings.load()
        self.exposures = ExposureQueue(store.expose)
        self._sampler = Sampler(quality.record_per_s)
        self._trials = Trials()
        self._tally = Tally()  # of the canary that runs
        # Quality over time
        self._window_s = quality.window_s
        self.report = Report(threshold=quality.threshold)
        self._metrics = QualityMetrics(parts.registry, quality.threshold)

    @property
    def _dataset(self) -> str:
        """Of the active release; empty: there is none."""
        active = self._recommender.releases.active
        return active.dataset if active else ""

    # --- answering

    def recommend(self, request: Request, watch: Stopwatch) -> Answer:
        """As `Recommender.recommend`, from the release of the user's arm."""
        trial, arm = self._assigned(request)
        if isinstance(trial, Canary):
            answer = self._of_canary(trial, arm, request, watch)
        else:
            release = trial.release_of(arm) if trial else None
            answer = self._recommender.recommend(request, watch, release)
        if trial is not None and is_shown(request):
            shown = Exposure.of(answer, request, trial.dataset, trial.name, arm)
            self.exposures.put(shown)
        if self._sampler.takes(request) and (dataset := self._dataset):
            self.exposures.put(Exposure.of(answer, request, dataset))
        if trial is None or isinstance(trial, Canary):
            return answer
        return answer.model_copy(update={"experiments": {trial.name: arm}})

    def preferred(self, userid: str) -> str | None:
        """The release of a user's arm; None: the active one answers. An id as text."""
        active = self._recommender.releases.active
        if active is None:
            return None
        try:
            own = read_id("userid", userid, active.user_ids)
        except BadRequestError:  # the recommender reports it
            return None
        trial, arm = self._trials.assigned(own, self._dataset)
        return trial.release_of(arm) if trial else None

    def _assigned(self, request: Request) -> tuple[Trial | None, str]:
        """The trial and arm that answer a request; None: the active release, or a named one."""
        if self._trials.running is None:
            return None, ""
        canary, agrees = self._trials.canary, getattr(request, "experiments", True)
        is_fresh = time.monotonic() < self._tally.began + LOADED_S
        loaded = self._recommender.releases.loaded
        # a process that has just been started may need a while
        is_loading = canary is not None and is_fresh and canary.release not in loaded
        is_named = request.release or request.strict or not request.userid
        if is_named or not agrees or is_loading:
            return None, ""
        return self._trials.assigned(request.userid, self._dataset)

    def _of_canary(
        self, canary: Canary, arm: str, request: Request, watch: Stopwatch
    ) -> Answer:
        """Answer from the release of the user's group, and count how it went."""
        tally, release = self._tally, canary.release_of(arm)
        try:
            answer = self._recommender.recommend(request, watch, release)
        except BadRequestError:
            raise
        except Exception:
            tally.count(arm, ["errors"])
            raise
        names = problems(answer, request.size, served=answer.release == release)
        active = self._recommender.releases.loaded.get(canary.active)
        if arm == "canary" and active and is_wrong(answer, active):
            names.append("wrong")
        tally.count(arm, names, answer.took_ms["total"])
        if arm == "canary" and not names and request.model_fields_set <= PLAIN:
            tally.samples.append(request)
        return answer

    # --- following

    def follow(self) -> bool:
        """Read the trials; while a canary runs add up its counts and decide. Raises ServiceError."""
        self._adopt(self._store.call(None))
        canary = self._trials.canary
        if canary is None:
            return True
        users = self._recommender.users
        control = users.control()
        change: Change
        if canary.release not in control.published or control.active != canary.active:
            change = partial(
                settle_canary, active=control.active, published=control.published
            )
        elif canary.activating:
            users.activate(canary.release)
            return True
        else:
            self._compare(canary)
            counts = self._counts(canary, self._tally.taken())
            needed = canary.requests
            decision = decide(counts, self._limits, needed, last=canary.is_last)
            change = partial(follow_decision, canary=canary, decision=decision)
        self._adopt(self._store.update(change))
        return True

    def _adopt(self, found: Trials) -> None:
        before, canary = self._trials.canary, found.canary
        if canary is not None and (before is None or before.name != canary.name):
            self._tally = Tally()
        self._trials = found

    def _compare(self, canary: Canary) -> None:
        """Compare the lists that both releases give to one of the canary's users now.

        Both by name, so that no trial decides which release answers.
        """
        if not self._tally.samples:
            return
        request = self._tally.samples.popleft()
        with suppress(Exception):  # without both there is no comparison
            one, other = (
                self._recommender.recommend(
                    request.model_copy(update={"release": release})
                )
                for release in (canary.release, canary.active)
            )
            if not (one.degraded or other.degraded):
                self._tally.compared(overlap_of(one, other))

    def _counts(self, canary: Canary, more: Mapping[str, int]) -> Counts:
        """The sums of all workers, with what this one has counted."""
        stored = self._store.counted(canary, more)
        return Counts(stored, time.time() - canary.joined, self._tally.likes)

    def measure(self) -> bool:
        """Measure what the users of both groups like, for the next decisions. Raises ServiceError."""
        # in this order: a canary that begins meanwhile must not get another's likes
        tally, canary, began = self._tally, self._trials.canary, time.monotonic()
        if canary is None or began < tally.likes_at:
            return True
        opened = self._recommender.releases.loaded.get(canary.active)
        if opened is None:
            return True
        found = outcomes_of(
            self._store.exposures(canary.name, int(canary.began - 60) * 1_000),
            partial(self._store.events_of, canary.dataset),
            opened.manifest.dataset,
            self._limits.horizon_s,
            time.time(),
        )
        planned = max(2 * canary.requests, 100)
        tally.likes = relative_likes(found.likes, found.arms == "canary", planned)
        now = time.monotonic()
        tally.likes_at = now + max(LIKES_S, (now - began) / LIKES_SHARE)
        return True

    def read_report(self) -> bool:
        """Read the report on quality. Raises ServiceError."""
        if dataset := self._dataset:
            found = self._store.report(dataset, self._window_s)
            if found != self.report:
                self._metrics.show(found)
                self.report = found
        return True

    # --- reporting

    def note(self) -> str:
        """What readiness reports: the canary that runs, or one that was not activated."""
        if self._trials.canary is not None:
            return str(self._trials.canary)
        recent = time.time() - RECENT_S
        for last in self._trials.ended[:1]:
            if last.verdict != "activated" and last.ended > recent:
                return str(last)
        return ""

    def canary_report(self) -> CanaryReport:
        """The canaries, and how the one that runs does. Raises ServiceError."""
        found, progress = self._store.call(None), None
        if found.canary is not None:
            counts = self._counts(found.canary, {})
            progress = Progress(
                requests={arm: counts.of(arm, "requests") for arm in GROUPS},
                guardrails=guardrails(counts, self._limits),
            )
        return CanaryReport(running=found.canary, ended=found.ended, progress=progress)
