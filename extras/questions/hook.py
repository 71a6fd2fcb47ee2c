"""More queries to the same stack: filters, pagination, anonymous users, ranking of given candidates, similar items."""

from __future__ import annotations

from typing import Literal

from flask import Flask

from data_exchange_center.settings import ExtensionSettings
from extras.questions import cursor, history, rank, rules, similar, where
from extras.routes import route
from online.recommend.types import Answer
from online.web.guard import current_record, expect_within_budget, only_reads
from online.web.parts import Parts


class SeenAgainSettings(ExtensionSettings, env_prefix="RECSYS_SERVER__"):
    """Settings of `seen_again`, which is imported only if they want it."""

    seen_again: Literal["off", "discount"] = (
        "off"  # discount: lower the score of items shown and ignored
    )


def register(app: Flask, parts: Parts) -> None:
    """`where`, `exclude`, `only`, `cursor` and `history` of requests; `POST /ml/rank`; `GET /ml/similar`."""
    recommender = parts.recommender
    held = rules.Rules(recommender)
    parts.in_order = held.order
    cursor.Cursor.signer = cursor.signer_of(parts.settings.redis)
    parts.extend_request(where.FilterRequest, **where.EXPECTED)
    parts.extend_request(history.HistoryRequest, **history.EXPECTED)
    parts.extend_request(cursor.CursorRequest, **cursor.EXPECTED)
    for fields in (
        where.FilterAnswer,
        cursor.CursorAnswer,
        history.HistoryAnswer,
        rank.RankAnswer,
    ):
        parts.extend_answer(fields)
    phases = recommender.phases
    phases.state.append(history.own_state, "history")
    phases.history.append(cursor.as_of_first_page, "cursor")
    phases.recall.append(where.limit_search, *where.EXPECTED)
    phases.recall.append(cursor.leave_out_shown, "cursor")
    phases.candidates.append(rank.choose, "candidates")
    # A list is filtered before other extensions re-rank it; the cursor records the result.
    phases.rerank.append(where.limit_popular, *where.EXPECTED)
    phases.rerank.append(rank.limit_popular, "candidates")
    held.register(phases)
    held.look()
    recommender.follow(held.look)
    phases.page.append(cursor.add, "cursor")
    phases.annotate.append(rank.name_unknown, "candidates")
    if SeenAgainSettings.load().seen_again == "discount":
        from extras.questions import seen_again  # needs extras/trials, too

        store = parts.stores.get("shown") or seen_again.ShownItems(parts.settings.redis)
        again = seen_again.SeenAgain(recommender, store)
        phases.rerank.append(again.demote)
        phases.page.append(again.record)
    phases.rerank.append(cursor.drop_shown, "cursor")

    reading = (400, 401, 408, 429, 500, 503)

    @route(
        app,
        parts,
        "POST",
        "/ml/rank",
        Answer,
        (*reading, 403, 404, 411),
        name="rank",
        body=rank.RankRequest,
        example=rank.EXAMPLE,
        expected=rank.EXPECTED,
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
        record.recommended(answer)
        return answer

    @route(
        app,
        parts,
        "GET",
        "/ml/similar",
        similar.Similar,
        reading,
        name="similar",
        query=similar.SimilarQuery,
    )
    def like_this(query: similar.SimilarQuery) -> similar.Similar:
        """The items that are most like one, or several."""
        opened = recommender.releases.get()
        current_record().facts |= {"items": query.itemid, "release": opened.release}
        return similar.alike(opened, query, held.order)
