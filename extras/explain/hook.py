"""Explanations: why each item is in a list, why another is not, and time and output of each stage of a request."""

from __future__ import annotations

from copy import copy
from typing import Annotated

from flask import Flask
from pydantic import BaseModel, ConfigDict, Field

from data_exchange_center.dataset import MAX_BYTES
from extras.explain.explain import Scorer, explained, why_not
from extras.explain.shapes import Explanation, WhyNot
from extras.routes import route
from online.clients.base import Breaker
from online.recommend.recommend import SCORES_SHARE, Recommender
from online.recommend.types import (
    MAX_SIZE,
    MAX_TIMESTAMP,
    Answer,
    OwnText,
    Request,
    Size,
    Slate,
    Stopwatch,
    Timestamp,
    absent_by_default,
    read_id,
)
from online.web.guard import current_record, expect_within_budget
from online.web.parts import Parts

Facts = dict[str, int | dict[str, int]]  # counts, by what is counted
_AN_ID = f"an id of 1 to {MAX_BYTES} bytes, the data set's own"


class ExplainRequest(Request):
    """With an account of the stages."""

    stages: bool = False  # also return the time of each stage and what it gave


class StageReport(BaseModel):
    """One stage of a request: a service and what came back; or re-ranking for diversity."""

    stage: str
    began_ms: float = Field(description="since the request's arrival")
    took_ms: float
    failed: bool
    counts: Facts = Field(
        description="of what it gave, by what is counted; empty where it failed"
    )


class ExplainAnswer(Answer):
    """With reasons and stages."""

    explained: list[Explanation] = absent_by_default(
        [],
        f"with explain: true: why each of the first {MAX_SIZE} items is there, in their order, as far as time reaches",
    )
    stages: list[StageReport] = absent_by_default(
        [], "with stages: when each was called, and what came back"
    )


class WhyNotRequest(BaseModel):
    """User, item and list of the question. Ids are text, as in an address, and are read as the release's are."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    userid: OwnText = Field(description=_AN_ID)
    itemid: OwnText = Field(description=_AN_ID)
    size: Size = Field(
        default=50,
        description=f"a whole number from 1 to {MAX_SIZE}, of the explained list",
    )
    timestamp: Timestamp = Field(
        description=f"a whole number of seconds since 1970-01-01 UTC, 0 to {MAX_TIMESTAMP}: the moment of the request"
    )
    diversity: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = Field(
        default=None, description="a number from 0 to 1, of the explained list"
    )


def register(app: Flask, parts: Parts) -> None:
    """`GET /ml/why-not`; the field ``stages`` of requests; ``explained`` and ``stages`` of answers."""
    recommender = parts.recommender
    parts.extend_request(ExplainRequest)
    parts.extend_answer(ExplainAnswer)
    recommender.phases.annotate.append(
        lambda slate: explain(recommender, slate), "explain", "stages"
    )

    @route(
        app,
        parts,
        "GET",
        "/ml/why-not",
        WhyNot,
        name="why_not",
        query=WhyNotRequest,
    )
    def look_up(query: WhyNotRequest) -> WhyNot:
        """Why an item is not in a user's list.

        The list is made as for /ml/rec, strictly: without a service there is no answer.
        """
        record = current_record()
        expect_within_budget(parts.settings.server, strict=True)
        record.facts |= {"user": query.userid, "item": query.itemid}
        found = absent(parts, query, record.watch)
        record.facts |= {"release": found.release}
        return found


def explain(recommender: Recommender, slate: Slate) -> None:
    """Add reasons and stages to an answer whose request wants them. Raises ServiceError for a strict one."""
    wanted = slate.request
    if wanted.explain is True:
        slate.more["explained"] = explained(_scorer(recommender, slate), slate)
    if isinstance(wanted, ExplainRequest) and wanted.stages:
        slate.more["stages"] = _stages(slate)


def absent(parts: Parts, query: WhyNotRequest, watch: Stopwatch) -> WhyNot:
    """Explain why an item is not in the list that a user would get now, by making that list.

    Raises WrongIdError, NoReleaseError, and the ServiceError of any service that does not answer.
    """
    recommender, model = parts.recommender, parts.request_model
    userid = read_id("userid", query.userid, recommender.releases.get().user_ids)
    # fields that are not given: the current time, the server's defaults
    given = query.model_dump(
        include={"timestamp", "diversity"} & model.model_fields.keys(),
        exclude_unset=True,
    )
    made = model.model_validate(
        {**given, "userid": userid, "size": query.size, "strict": True}
    )
    slate = recommender.slate(made, watch, parts.preferred(query.userid))
    kind = slate.release.manifest.dataset.item_ids
    own_id = read_id("itemid", query.itemid, kind)
    return why_not(_scorer(recommender, slate), slate, own_id, parts.in_order)


def _scorer(recommender: Recommender, slate: Slate) -> Scorer:
    """The scorer for more rows than usual: a timeout is no failure of the service, so it has a breaker of its own."""
    scorer = copy(recommender.scorer)
    scorer.breaker = Breaker(scorer.service)
    return lambda query: scorer.call(query, slate.deadline.share(SCORES_SHARE))


def _stages(slate: Slate) -> list[StageReport]:
    """The stages that were reached, in their order, with what came back."""
    counts, began = _counts(slate), slate.watch.began
    return [
        StageReport(
            stage=name,
            began_ms=round((stage.began - began) * 1e3, 2),
            took_ms=round(stage.seconds * 1e3, 2),
            failed=stage.failed,
            counts={} if stage.failed else counts.get(name, {}),
        )
        for name, stage in slate.watch.stages.items()
    ]


def _counts(slate: Slate) -> dict[str, Facts]:
    """Stage -> counts of its output."""
    user, candidates, ranked = slate.user, slate.candidates, slate.ranked
    counts: dict[str, Facts] = {}
    if user is not None:
        counts["redis"] = {
            "users": 1,
            "history": len(user.history),
            "seen": len(user.seen),
            "terms": len(user.terms),
            "profile": len(user.profile),
        }
    elif not slate.degraded:
        counts["redis"] = {"users": 0}
    if candidates is not None:
        found = {name: len(hits.ids) for name, hits in candidates.by_channel.items()}
        fused = len(candidates.item_numbers)
        counts["elasticsearch"] = {"found": found, "fused": fused}
        width = slate.release.spec.width
        counts["triton"] = {"rows": len(ranked.item_numbers), "width": width}
    if ranked.order is not None:
        shown = ranked.shown(slate.request.size)
        # not shown without diversity
        brought_up = int((shown >= len(shown)).sum())
        counts["diversity"] = {"shown": len(shown), "brought_up": brought_up}
    return counts
