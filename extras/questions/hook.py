"""More questions to the same stack: only these; the next page; for somebody not stored; in this order; like this."""

from __future__ import annotations

import json
from typing import Any

from flask import Flask, Response, request

from extras.questions import cursor, history, rank, rules, similar, where
from online.recommend.types import Answer
from online.web.guard import current_record, expect_may_be_strict, only_reads, parse_query, validated
from online.web.openapi import KEY, json_of, operation, parameters, responses
from online.web.parts import Parts


def register(app: Flask, parts: Parts) -> None:
    """`where`, `exclude`, `only`, `cursor` and `history` of requests; `POST /ml/rank`; `GET /ml/similar`."""
    recommender, limited = parts.recommender, where.Filter()
    held = rules.Rules(recommender)
    held.look()
    recommender.follow(held.look)
    parts.in_order, likeness = held.order, similar.Likeness(held.order)
    parts.extend_request(where.FilterRequest, **where.EXPECTED)
    parts.extend_request(history.HistoryRequest, **history.EXPECTED)
    parts.extend_request(cursor.CursorRequest, **cursor.EXPECTED)
    for fields in (where.FilterAnswer, cursor.CursorAnswer, history.HistoryAnswer, rank.RankAnswer):
        parts.extend_answer(fields)
    recommender.given = history.given
    recommender.before_history.append(cursor.before_history)
    recommender.before_recall += [limited.before_recall, cursor.before_recall, held.before_recall]
    recommender.before_rank += [limited.before_rank, rank.before_rank, held.before_rank]
    # A list is limited before others choose from it; the cursor says what has come of it.
    first = [limited.before_answer, rank.before_answer, held.before_answer, rank.name_unknown, cursor.drop_shown]
    last = [cursor.before_answer]
    if parts.settings.server.seen_again == "discount":
        from extras.questions import seen_again  # needs extras/experiments, too

        store = parts.stores.get("shown") or seen_again.ShownItems(parts.settings.redis)
        again = seen_again.SeenAgain(recommender, store)
        first.insert(-2, again.before_answer)
        last.append(again.note)
    recommender.before_answer[:0] = first
    recommender.before_answer += last
    parts.describe(_paths(), [rank.RankRequest, similar.Similar])

    @app.post(rank.PATH)
    @only_reads
    def in_order() -> Response:
        record = current_record()
        validate = rank.RankRequest.model_validate_json
        wanted = validated(
            request.get_data(cache=False), validate, rank.EXPECTED, f"for example {json.dumps(rank.EXAMPLE)}"
        )
        if wanted.strict:
            expect_may_be_strict(parts.settings.server, record.facts)
        record.facts |= {"user": wanted.userid, "candidates": len(wanted.candidates)}
        preferred = parts.preferred(f"{wanted.userid}") if wanted.userid else None
        answer = recommender.recommend(wanted, record.watch, preferred)
        record.recommended(answer)
        return Response(answer.model_dump_json(), mimetype="application/json")

    @app.get(similar.PATH)
    def like_this() -> Response:
        query = parse_query(similar.SimilarQuery, request.args)
        opened = recommender.releases.serving or recommender.releases.open_live()
        current_record().facts |= {"items": query.itemid, "release": opened.release}
        return Response(likeness.answer(opened, query).model_dump_json(), mimetype="application/json")


def _paths() -> dict[str, Any]:
    """The routes, as OpenAPI describes them."""
    body = {"required": True, "content": json_of(rank.RankRequest, example=rank.EXAMPLE)}
    in_order = operation(
        "rank",
        "Items in the order in which a user would like them",
        responses(Answer, 400, 401, 403, 404, 408, 411, 429, 500, 503),
        description="An item that /ml/rec would show has the score that it has there. Seen ones are ranked, too.",
        security=KEY,
        requestBody=body,
    )
    like_this = operation(
        "similar",
        "The items that are most like one, or several",
        responses(similar.Similar, 400, 401, 408, 429, 500, 503),
        security=KEY,
        parameters=parameters(similar.SimilarQuery),
    )
    return {rank.PATH: {"post": in_order}, similar.PATH: {"get": like_this}}
