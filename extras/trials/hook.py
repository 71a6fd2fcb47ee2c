"""Routes of experiments, canaries and quality over time, and their fields of requests and answers."""

from __future__ import annotations

from flask import Flask
from pydantic import Field

from extras.routes import route
from extras.trials.quality import Report
from extras.trials.serving import CanaryReport, Serving
from extras.trials.state import Experiment, Model
from extras.trials.store import TrialStore
from online.recommend.types import Answer, Request
from online.web.parts import Parts


class TrialRequest(Request):
    """Whether a trial may decide on the release."""

    # take part in those that run
    experiments: bool = True


class TrialAnswer(Answer):
    """With the experiment that had a part in it."""

    experiments: dict[str, str] = Field(
        default={},
        description="the experiment that decided on the release -> the user's arm; absent if none did",
        exclude_if=lambda found: not found,
    )


class Experiments(Model):
    """The experiments that there are, the oldest first."""

    experiments: tuple[Experiment, ...]


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
        flush = serving.exposures.flush
        # each on a thread of its own: `measure` takes seconds
        for each in (serving.follow, serving.measure, flush, serving.read_report):
            parts.recommender.follow(each)

    @route(app, parts, "GET", "/ml/experiments", Experiments)
    def experiments() -> Experiments:
        """The experiments that run, and those that did."""
        return Experiments(experiments=store.call(None).experiments)

    @route(app, parts, "GET", "/ml/canary", CanaryReport)
    def canary() -> CanaryReport:
        """The release on trial, and those that were.

        Of the one that runs also the requests of both groups, and each guardrail with its bound.
        """
        return serving.canary_report()

    @route(app, parts, "GET", "/ml/quality", Report)
    def quality() -> Report:
        """Hit rates of served lists by release and day, and drift against the training data.

        As `make quality` found them last with this server's window.
        """
        return serving.report
