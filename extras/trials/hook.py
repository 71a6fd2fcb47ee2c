"""Routes of experiments, canaries and quality over time, and their fields of requests and answers."""

from __future__ import annotations

import time
from typing import Final

from flask import Flask
from pydantic import BaseModel, ConfigDict, Field

from extras.routes import route
from extras.trials import changes
from extras.trials.progress import CanaryReport
from extras.trials.quality import (
    Report,
)
from extras.trials.serving import InExperiment, Serving
from extras.trials.state import (
    Declaration,
    Experiment,
)
from extras.trials.store import TrialStore, published_releases
from online.recommend.types import Answer, Request
from online.web.parts import Parts

_EXAMPLE: Final = {
    "name": "ranker",
    "arms": {
        "control": {"release": "4b39adab7df3"},
        "treatment": {"release": "9c1f0e2a7b55"},
    },
}


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


class ArmView(BaseModel):
    """An arm."""

    model_config = ConfigDict(extra="forbid")

    name: str
    release: str
    share: float = Field(description="of all users")


class ExperimentView(BaseModel):
    """An experiment that runs, or that did."""

    model_config = ConfigDict(extra="forbid")

    name: str
    share: float = Field(description="of all users")
    dataset: str = Field(description="whose users they are")
    arms: list[ArmView] = Field(description="the control first")
    metric: str = Field(description="by which it is decided")
    horizon_s: int = Field(
        description="how long a user is watched, since the first answer"
    )
    planned_users: int = Field(description="the interval is narrowest at so many")
    started: int = Field(description="seconds since 1970-01-01 UTC")
    stopped: int | None = Field(description="null: it runs")

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


class ExperimentsView(BaseModel):
    """The experiments that there are, the oldest first."""

    experiments: list[ExperimentView]


def register(app: Flask, parts: Parts) -> None:
    """`/ml/experiments`, `POST /ml/experiments/<name>/stop`, `/ml/canary`, `/ml/quality`."""
    store = parts.stores.get("trials") or TrialStore(parts.settings.redis)
    serving = Serving(parts, store)
    app.extensions["trials"] = serving
    parts.extend_request(TrialRequest)
    parts.extend_answer(TrialAnswer)
    parts.recommend, parts.preferred = serving.recommend, serving.preferred
    parts.recommender.readiness.notes.append(serving.note)
    if "trials" not in parts.stores:
        serving.open()
        parts.recommender.follow(serving.follow)
        # on a thread of its own: reading the logs takes seconds
        parts.recommender.follow(serving.measure)
    parts.recommender.follow(serving.read_report)

    @route(app, parts, "GET", "/ml/experiments", ExperimentsView, (401, 429, 500, 503))
    def experiments() -> ExperimentsView:
        """The experiments that run, and those that did."""
        found = store.call(None).experiments
        return ExperimentsView(experiments=[ExperimentView.of(each) for each in found])

    @route(
        app,
        parts,
        "POST",
        "/ml/experiments",
        ExperimentView,
        (400, 401, 408, 411, 429, 500, 503),
        body=Declaration,
        example=_EXAMPLE,
        security=[{"key": []}],
    )
    def start_experiment(declared: Declaration) -> ExperimentView:
        """Start an experiment: from now on its users are answered from its arms' releases."""
        _, published = published_releases(parts.recommender.users)
        now = int(time.time())
        found = serving.change(
            lambda before: changes.start_experiment(before, declared, published, now)
        )
        return ExperimentView.of(found.named(declared.name))

    @route(
        app,
        parts,
        "POST",
        "/ml/experiments/<string:name>/stop",
        ExperimentView,
        (400, 401, 411, 429, 500, 503),
        security=[{"key": []}],
    )
    def stop_experiment(name: str) -> ExperimentView:
        """Stop an experiment: everybody is answered from the live release again."""
        now = int(time.time())
        found = serving.change(
            lambda before: changes.stop_experiment(before, name, now)
        )
        return ExperimentView.of(found.named(name))

    @route(app, parts, "GET", "/ml/canary", CanaryReport, (401, 429, 500, 503))
    def canary() -> CanaryReport:
        """The release on trial, and those that were.

        Of the one that runs also counts of both groups, each guardrail with its bound, and when the next step comes.
        """
        return serving.canary_report(store.call(None))

    @route(app, parts, "GET", "/ml/quality", Report, (401, 429, 500))
    def quality() -> Report:
        """Hit rates of served lists by release and day, and drift against the training data.

        As `make quality` found them last with this server's window.
        """
        return serving.report
