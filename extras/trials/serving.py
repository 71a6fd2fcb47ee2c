"""Answers users from the releases of their trials, counts how a canary does, and records what was shown.

One function around the recommender (`Serving.recommend`) does it for experiments, canaries and the sample that quality
is measured by. What runs is read from Redis twice a second. While a canary runs, the thread that reads it adds the
worker's counts to Redis's and decides (`extras.trials.decision`), in each worker alike: a transition that another
worker has made is not made twice.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from extras.events.log import SERVED
from extras.routes import per_release
from extras.trials import changes
from extras.trials.decision import CanarySettings, Counts, Likes, decide
from extras.trials.exposures import (
    Exposure,
    ExposureQueue,
    Sampler,
    counting,
    is_shown,
    top_score,
)
from extras.trials.outcomes import outcomes_of
from extras.trials.progress import CanaryReport, progress
from extras.trials.quality import (
    QualityMetrics,
    QualitySettings,
    Report,
)
from extras.trials.state import (
    Assignment,
    Canary,
    Trials,
)
from extras.trials.store import Change, TrialStore
from extras.trials.tally import Tally, Titles, overlap_of, problems
from online.clients.base import ServiceError
from online.recommend.outcomes import BadRequestError
from online.recommend.types import Answer, Request, Stopwatch, read_id
from online.web.parts import Parts

# Least time between two readings of the logs, and the share of the time that these may take
LIKES_S, LIKES_SHARE = 10.0, 0.05
# After which a process that cannot load the canary's release counts errors
LOADED_S: Final = 60.0
RECENT_S: Final = 24 * 3600.0  # how long readiness reports an ended canary
REPORT_S: Final = 10.0  # between two readings of the report on quality
# Fields of a request whose list can be compared with the other release's
PLAIN: Final = frozenset({"userid", "size", "budget_ms"})


class InExperiment(BaseModel):
    """An experiment that had a part in an answer."""

    model_config = ConfigDict(extra="forbid")

    experiment: str
    arms: list[str] = Field(description="the user's one")


class Serving:
    """How a process answers while trials run. Shared by threads."""

    def __init__(self, parts: Parts, store: TrialStore) -> None:
        self._recommender = parts.recommender
        self._store = store
        store.breaker = parts.recommender.users.breaker
        self._canary_settings = CanarySettings.load()
        self._quality_settings = QualitySettings.load()

        def queue(name: str, what: str, **log: Any) -> ExposureQueue:
            count = counting(parts.registry, f"recsys_{name}", what)
            return ExposureQueue(lambda batch: store.expose(batch, **log), count)

        self._exposures = queue("exposures", "Answers of experiments")
        self._canary_exposures = queue(
            "canary_exposures", "Answers to both groups of a canary"
        )
        self._sample = queue("recorded_lists", "Sampled lists", stream=SERVED)
        self._sampler = Sampler(self._quality_settings.record_per_s)
        self._trials = Trials()
        # Of the canary that runs
        self._tally = Tally()
        self._began = 0.0  # monotonic seconds, when this process has heard of it
        self._likes: tuple[str, Likes] = ("", Likes())  # with the canary's id
        self._likes_at = 0.0  # monotonic seconds of the next reading of the logs
        self._titles = per_release(Titles)
        # Quality over time
        self.report = Report(threshold=self._quality_settings.threshold)
        self._report_at = 0.0  # monotonic seconds of the next reading
        self._metrics = QualityMetrics(parts.registry, self.report.threshold)

    # --- answering

    def recommend(self, request: Request, watch: Stopwatch | None = None) -> Answer:
        """As `Recommender.recommend`, from the release of the user's arm."""
        watch = watch or Stopwatch()
        assigned = self._assigned(request)
        if assigned is None:
            answer = self._recommender.recommend(request, watch)
        elif isinstance(assigned.trial, Canary):
            answer = self._of_canary(assigned.trial, assigned, request, watch)
        else:
            answer = self._of_experiment(assigned, request, watch)
        active = self._recommender.releases.active
        if active is not None and self._sampler.takes(request):
            dataset = active.manifest.dataset.base_name
            self._sample.put(
                Exposure.of(
                    answer,
                    request,
                    experiment="",
                    arm="",
                    dataset=dataset,
                    as_dealt=True,
                    score=top_score(answer),
                )
            )
        return answer

    def preferred(self, userid: str) -> str | None:
        """The release of a user's arm; None: the active one answers. An id as text."""
        active = self._recommender.releases.active
        if active is None:
            return None
        with suppress(BadRequestError):  # the recommender reports it
            own = read_id("userid", userid, active.user_ids)
            assigned = self._trials.assigned(own, active.manifest.dataset.base_name)
            return assigned.release if assigned else None
        return None

    def _assigned(self, request: Request) -> Assignment | None:
        """The arm that answers a request; None: the active release, or a named one."""
        active = self._recommender.releases.active
        if active is None or not self._trials.running:
            return None
        agrees = getattr(request, "experiments", True)
        if request.release or request.strict or not request.userid or not agrees:
            return None
        dataset = active.manifest.dataset.base_name
        assigned = self._trials.assigned(request.userid, dataset)
        if assigned is None or not isinstance(assigned.trial, Canary):
            return assigned
        # A process that has just been started may need a while to load it
        is_loaded = self._recommender.releases.loaded(assigned.trial.release)
        return assigned if is_loaded or self._has_waited() else None

    def _has_waited(self) -> bool:
        return time.monotonic() >= self._began + LOADED_S

    def _of_experiment(
        self, assigned: Assignment, request: Request, watch: Stopwatch
    ) -> Answer:
        answer = self._recommender.recommend(request, watch, assigned.release)
        if is_shown(request):
            self._exposures.put(_exposure(assigned, request, answer))
        part = InExperiment(experiment=assigned.trial.name, arms=[assigned.arm])
        return answer.model_copy(update={"experiments": [part]})

    def _of_canary(
        self,
        canary: Canary,
        assigned: Assignment,
        request: Request,
        watch: Stopwatch,
    ) -> Answer:
        """Answer from either group's release, and count the answer."""
        tally, group = self._tally, assigned.arm
        try:
            answer = self._recommender.recommend(request, watch, assigned.release)
        except BadRequestError:
            raise
        except Exception:
            tally.failed(group)
            raise
        served = answer.release == assigned.release
        names = problems(answer, request.size, served=served)
        active = self._recommender.releases.loaded(canary.active)
        if group == "canary" and active and not self._titles(active).agree(answer):
            names.append("wrong")
        tally.answered(group, names, answer.took_ms["total"], request.userid)
        if is_shown(request):
            self._canary_exposures.put(_exposure(assigned, request, answer))
        if group == "canary" and not names and request.model_fields_set <= PLAIN:
            tally.samples.append(request)
        return answer

    # --- following

    def open(self) -> None:
        """Load the release of a running canary, so that its users are not answered by another one."""
        with suppress(ServiceError):
            self._adopt(self._store.call(None))
            if self._trials.canary is not None:
                self._recommender.releases.follow()

    def follow(self) -> bool:
        """Read the trials; while a canary runs add up its counts and decide. Raises ServiceError."""
        self._adopt(self._store.call(None))
        if self._trials.canary is not None:
            self._follow_canary(self._trials.canary)
        return True

    def _follow_canary(self, canary: Canary) -> None:
        users, now = self._recommender.users, time.time()
        control = users.control()
        if canary.release not in control.published or control.active != canary.active:
            self.change(
                lambda before: changes.settle_canary(
                    before, control.active, control.published, now
                )
            )
            return
        if canary.activating:
            users.activate(canary.release)
            self.change(
                lambda before: changes.end_canary(before, canary, "activated", now=now)
            )
            return
        self._compare(canary)
        self._store.add(canary, *self._tally.taken())
        decision = decide(
            self._counts(canary, now),
            self._canary_settings,
            canary.users,
            canary.is_last,
        )
        self.change(
            lambda before: changes.follow_decision(before, canary, decision, now)
        )

    def change(self, change: Change) -> Trials:
        """Change the trials, in Redis and here. Raises what ``change`` raises, and ServiceError."""
        found: Trials = self._store.update(change)
        self._adopt(found)
        return found

    def _adopt(self, found: Trials) -> None:
        before, canary = self._trials.canary, found.canary
        if canary is not None and (before is None or before.id != canary.id):
            self._tally, self._began = Tally(), time.monotonic()
        elif canary is not None and before is not None and before.step != canary.step:
            self._tally.taken()  # counts of the step before
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

    def _counts(self, canary: Canary, now: float) -> Counts:
        stored, users = self._store.counts(canary)
        of, likes = self._likes
        return Counts.of(
            stored,
            users=users["canary"],
            active_users=users["active"],
            seconds=now - canary.joined,
            likes=likes if of == canary.id else Likes(),
        )

    def measure(self) -> bool:
        """Measure what the users of both groups like, for the next decisions. Raises ServiceError."""
        canary, began = self._trials.canary, time.monotonic()
        if canary is None or began < self._likes_at:
            return True
        opened = self._recommender.releases.loaded(canary.active)
        if opened is None:
            return True
        found = outcomes_of(
            self._store.exposures(canary.name, int(canary.began - 60) * 1_000),
            lambda users: self._store.events_of(canary.dataset, users),
            opened.manifest.dataset,
            self._canary_settings.horizon_s,
            time.time(),
        )
        likes = Likes.of(
            found.values["hits"], found.arms == "canary", max(2 * canary.users, 100)
        )
        now = time.monotonic()
        self._likes = canary.id, likes
        self._likes_at = now + max(LIKES_S, (now - began) / LIKES_SHARE)
        return True

    def read_report(self) -> bool:
        """Read the report on quality now and then. Raises ServiceError."""
        active = self._recommender.releases.active
        if active is None or time.monotonic() < self._report_at:
            return True
        # also where Redis cannot be reached
        self._report_at = time.monotonic() + REPORT_S
        dataset = active.manifest.dataset.base_name
        self.report = self._store.report(dataset, self._quality_settings.window_s)
        self._metrics.show(self.report)
        return True

    # --- reporting

    def note(self) -> str:
        """What readiness reports: the canary that runs, or one that was not activated."""
        if self._trials.canary is not None:
            return str(self._trials.canary)
        for last in self._trials.ended[:1]:
            if last.verdict != "activated" and last.ended > time.time() - RECENT_S:
                return str(last)
        return ""

    def canary_report(self, found: Trials) -> CanaryReport:
        """The canaries, and how the one that runs does. Raises ServiceError."""
        report = CanaryReport(running=found.canary, ended=found.ended)
        if found.canary is not None:
            now = time.time()
            counts = self._counts(found.canary, now)
            report.progress = progress(found.canary, counts, self._canary_settings, now)
        return report


def _exposure(assigned: Assignment, request: Request, answer: Answer) -> Exposure:
    return Exposure.of(
        answer,
        request,
        experiment=assigned.trial.name,
        arm=assigned.arm,
        dataset=assigned.trial.dataset,
        as_dealt=answer.release == assigned.release,
    )
