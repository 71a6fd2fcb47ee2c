"""Explanations: why each item is in a list, why another is not, and what each stage of a request was given and gave."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Final

from flask import Flask, Response, request
from pydantic import BaseModel, ConfigDict, Field

from data_exchange_center.dataset import MAX_BYTES
from extras.explain.evidence import Evidence
from extras.explain.explain import Scorer, explained, explained_as_popular
from extras.explain.shapes import Explanation, WhyNot
from extras.explain.stages import report
from extras.explain.why_not import for_a_stranger, itemid_of, of_no_item, why_not
from online.recommend.recommend import SCORES_SHARE, Recommender, Slate
from online.recommend.types import (
    MAX_SIZE,
    MAX_TIMESTAMP,
    Answer,
    OwnText,
    Request,
    Size,
    Stopwatch,
    Timestamp,
    Turn,
    read_id,
)
from online.web import records
from online.web.guard import parse_query
from online.web.openapi import KEY, operation, parameters, responses
from online.web.parts import Parts

PATH: Final = "/ml/why-not"


class ExplainRequest(Request):
    """With an account of the stages."""

    stages: bool = False  # also return what each stage was given and what it gave


class StageReport(BaseModel):
    """One stage of a request: a service, what it was sent and what came back; or re-ranking for diversity."""

    model_config = ConfigDict(extra="forbid")

    stage: str
    began_ms: float = Field(description="since the request's arrival")
    took_ms: float
    failed: bool
    sent: dict[str, int | dict[str, int]] = Field(description="counts, by what is counted")
    received: dict[str, int | dict[str, int]] = Field(description="counts; empty where the stage failed")


class ExplainAnswer(Answer):
    """With reasons and stages."""

    explained: list[Explanation] = Field(
        default=[],
        description="with explain: true: why each item is there, in the order of item_list",
        exclude_if=lambda found: not found,
    )
    stages: list[StageReport] = Field(
        default=[],
        description="with stages: what each was sent and what came back",
        exclude_if=lambda found: not found,
    )


class WhyNotRequest(BaseModel):
    """About whom and what. Ids are text, as in an address, and are read as the release's are."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    userid: OwnText = Field(description=f"an id of 1 to {MAX_BYTES} bytes, the data set's own")
    itemid: OwnText = Field(description=f"an id of 1 to {MAX_BYTES} bytes, the data set's own")
    size: Size = Field(default=50, description=f"a whole number from 1 to {MAX_SIZE}, of the list that is asked about")
    timestamp: Timestamp = Field(
        description=f"a whole number of seconds since 1970-01-01 UTC, 0 to {MAX_TIMESTAMP}: as if asked then, not now"
    )
    diversity: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = Field(
        default=None, description="a number from 0 to 1, of the list that is asked about"
    )


def register(app: Flask, parts: Parts) -> None:
    """`GET /ml/why-not`; the field ``stages`` of requests; ``explained`` and ``stages`` of answers."""
    recommender = parts.recommender
    parts.extend_request(ExplainRequest, stages="true or false")
    parts.extend_answer(ExplainAnswer)
    recommender.before_answer.append(lambda slate: explain(recommender, slate))
    described = operation(
        "why_not",
        "Why an item is not in a user's list",
        responses(WhyNot, 400, 401, 408, 429, 500, 503),
        description="The list is made as for /ml/rec, strictly: without a service there is no answer.",
        security=KEY,
        parameters=parameters(WhyNotRequest),
    )
    parts.describe({PATH: {"get": described}}, [WhyNot])

    @app.get(PATH)
    def look_up() -> Response:
        record = records.current()
        asked = parse_query(WhyNotRequest, request.args)
        record.facts |= {"user": asked.userid, "item": asked.itemid}
        found = absent(recommender, parts.request_model, asked, record.watch, parts.preferred(asked.userid))
        record.facts |= {"release": found.release}
        return Response(found.model_dump_json(), mimetype="application/json")


def explain(recommender: Recommender, slate: Slate) -> None:
    """Add reasons and stages to an answer, where its request wants them. Raises ServiceError for a strict one."""
    asked = slate.turn.request
    if asked.explain is True:
        evidence = evidence_of(slate)
        if evidence is None:
            slate.more["explained"] = explained_as_popular(slate)
        else:
            scorer = _scorer(recommender, slate.turn)
            slate.more["explained"] = explained(scorer, evidence, asked.size, strict=asked.strict)
    if isinstance(asked, ExplainRequest) and asked.stages:
        slate.more["stages"] = [StageReport(**each) for each in report(slate)]


def absent(
    recommender: Recommender,
    model: type[Request],
    request: WhyNotRequest,
    watch: Stopwatch,
    preferred: str | None = None,
) -> WhyNot:
    """Why an item is not in the list that a user would get now, found out by making that list.

    Args:
        model: of the request for that list.
        preferred: as `Recommender.answer` has it.

    Raises WrongIdError, NoReleaseError, and the ServiceError of any service that does not answer.
    """
    serving = recommender.releases.serving or recommender.releases.live()
    userid = read_id("userid", request.userid, serving.user_ids)
    # what is not given: as of now, as the server has it
    given = request.model_dump(include={"timestamp", "diversity"} & model.model_fields.keys(), exclude_unset=True)
    asked = model.model_validate({**given, "userid": userid, "size": request.size, "strict": True})
    turn = recommender.turn(asked, watch, preferred)
    slate = recommender.slate(turn)
    opened = slate.opened
    assert opened is not None  # noqa: S101 (of a strict request)
    own_id = read_id("itemid", request.itemid, opened.manifest.dataset.item_ids)
    itemid = itemid_of(opened, own_id)
    if itemid is None:
        return of_no_item(opened, userid, own_id, request.size)
    evidence = evidence_of(slate)
    if evidence is None:
        return for_a_stranger(opened, slate.ranked, userid, itemid, request.size)
    return why_not(_scorer(recommender, turn), evidence, userid, itemid, request.size)


def evidence_of(slate: Slate) -> Evidence | None:
    """None: the popular list has answered."""
    if slate.opened is None or slate.user is None or slate.candidates is None:
        return None
    timestamp = slate.turn.request.timestamp
    return Evidence(slate.opened, slate.user, timestamp, slate.candidates, slate.ranked)


def _scorer(recommender: Recommender, turn: Turn) -> Scorer:
    """The scorer once more. That so many rows take too long says nothing of it."""
    return recommender.within(recommender.scorer, replace(turn, hurried=True), SCORES_SHARE)
