"""More queries to the same stack: filters, pagination, anonymous users, ranking of given candidates, similar items."""

from __future__ import annotations

from flask import Flask

from extras.questions import cursor, history, rank, rules, similar, where
from extras.routes import route
from online.recommend.types import Answer
from online.web.guard import current_record, expect_within_budget, only_reads
from online.web.parts import Parts


def register(app: Flask, parts: Parts) -> None:
    """`where`, `exclude`, `only`, `cursor` and `history` of requests; `POST /ml/rank`; `GET /ml/similar`."""
    recommender = parts.recommender
    parts.extend_request(where.FilterRequest)
    parts.extend_request(history.HistoryRequest)
    parts.extend_request(cursor.CursorRequest)
    parts.extend_answer(where.FilterAnswer)
    parts.extend_answer(cursor.CursorAnswer)
    parts.extend_answer(history.HistoryAnswer)
    parts.extend_answer(rank.RankAnswer)
    phases = recommender.phases
    phases.state.append(history.own_state, "history")
    phases.recall.append(where.limit_search, *where.FIELDS)
    phases.recall.append(cursor.leave_out_shown, "cursor")
    phases.enough.append(rank.enough, "candidates")
    phases.candidates.append(rank.choose, "candidates")
    # A list is filtered before other extensions re-rank it; the cursor records the result.
    phases.rerank.append(where.limit_popular, *where.FIELDS)
    phases.rerank.append(rank.limit_popular, "candidates")
    held = rules.Rules(recommender)
    parts.in_order = held.order
    held.look()
    recommender.follow(held.look)
    phases.page.append(cursor.add, "cursor")
    phases.annotate.append(rank.name_unknown, "candidates")
    phases.rerank.append(cursor.drop_shown, "cursor")

    @route(
        app,
        parts,
        "POST",
        "/ml/rank",
        Answer,
        404,
        name="rank",
        body=rank.RankRequest,
        example=rank.EXAMPLE,
    )
    @only_reads
    def rank_candidates(wanted: rank.RankRequest) -> Answer:
        """Items in the order in which a user would like them.

        An item that /ml/rec would show has the score that it has there. Seen ones are ranked, too.
        """
        record = current_record()
        expect_within_budget(
            parts.settings.server, strict=wanted.strict, budget_ms=wanted.budget_ms
        )
        record.facts |= {"user": wanted.userid, "candidates": len(wanted.candidates)}
        preferred = parts.preferred(f"{wanted.userid}") if wanted.userid else None
        answer = recommender.recommend(wanted, record.watch, preferred)
        record.answer = answer
        return answer

    @route(
        app,
        parts,
        "GET",
        "/ml/similar",
        similar.Similar,
        name="similar",
        query=similar.SimilarQuery,
    )
    def like_this(query: similar.SimilarQuery) -> similar.Similar:
        """The items that are most like one, or several."""
        opened = recommender.releases.get()
        current_record().facts |= {"items": query.itemid, "release": opened.release}
        return similar.alike(opened, query, held.order)
