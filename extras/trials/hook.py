"""Routes of experiments, canaries and quality over time, and their fields of requests and answers."""

from __future__ import annotations

from flask import Flask
from pydantic import Field

from extras.routes import route
from extras.trials.progress import CanaryReport
from extras.trials.quality import Report
from extras.trials.serving import InExperiment, Serving
from extras.trials.state import Experiment, Model
from extras.trials.store import TrialStore
from online.recommend.types import Answer, Request
from online.web.parts import Parts


class TrialRequest(Request):
    """Whether a trial may decide on the release."""

    # take part in those that run; said together with a timestamp, it counts as an exposure
    experiments: bool = True


class TrialAnswer(Answer):
    """With the experiment that had a part in it."""

    experiments: list[InExperiment] = Field(
        default=[],
        description="what decided on the release; absent if none did",
        exclude_if=lambda found: not found,
    )


class ArmView(Model):
    """An arm."""

    name: str
    release: str
    share: float
    """of all users"""


class ExperimentView(Model):
    """An experiment that runs, or that did."""

    name: str
    share: float
    """of all users"""
    dataset: str
    """whose users they are"""
    arms: list[ArmView]
    """the control first"""
    horizon_s: int
    """how long a user is watched, since the first answer"""
    planned_users: int
    """the interval is narrowest at so many"""
    started: int
    """seconds since 1970-01-01 UTC"""
    stopped: int | None
    """null: it runs"""

    @classmethod
    def of(cls, experiment: Experiment) -> ExperimentView:
        total = sum(arm.weight for arm in experiment.arms.values())
        arms = [
            ArmView(
                name=name,
                release=arm.release,
                share=round(experiment.share * arm.weight / total, 4),
            )
            for name, arm in experiment.arms.items()
        ]
        return cls(**experiment.model_dump(exclude={"buckets", "arms"}), arms=arms)


class ExperimentsView(Model):
    """The experiments that there are, the oldest first."""

    experiments: list[ExperimentView]


def register(app: Flask, parts: Parts) -> None:
    """`/ml/experiments`, `/ml/canary`, `/ml/quality`."""
    store = parts.stores.get("trials") or TrialStore(parts.settings.redis)
    serving = Serving(parts, store)
    app.extensions["trials"] = serving
    parts.extend_request(TrialRequest)
    parts.extend_answer(TrialAnswer)
    parts.recommend, parts.preferred = serving.recommend, serving.preferred
    parts.recommender.readiness.notes.append(serving.note)
    if "trials" not in parts.stores:
        serving.open()
        flush = serving.exposures.flush
        # each on a thread of its own: `measure` takes seconds
        for each in (serving.follow, serving.measure, flush, serving.read_report):
            parts.recommender.follow(each)

    @route(app, parts, "GET", "/ml/experiments", ExperimentsView, (401, 429, 500, 503))
    def experiments() -> ExperimentsView:
        """The experiments that run, and those that did."""
        found = store.call(None).experiments
        return ExperimentsView(experiments=[ExperimentView.of(each) for each in found])

    @route(app, parts, "GET", "/ml/canary", CanaryReport, (401, 429, 500, 503))
    def canary() -> CanaryReport:
        """The release on trial, and those that were.

        Of the one that runs also counts of both groups, each guardrail with its bound, and when the next step comes.
        """
        return serving.canary_report()

    @route(app, parts, "GET", "/ml/quality", Report, (401, 429, 500))
    def quality() -> Report:
        """Hit rates of served lists by release and day, and drift against the training data.

        As `make quality` found them last with this server's window.
        """
        return serving.report
