"""What each stage of a request was given and what it gave, for people who want to see how an answer comes about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from online.clients.redis import StoredUser
from online.recommend.recommend import Slate
from online.recommend.release import Release
from online.recommend.types import Candidates, Ranked

Facts = Mapping[str, Any]  # name -> a number, or numbers by name


def report(slate: Slate) -> list[dict[str, Any]]:
    """The stages that were reached, in their order: when each began and how long it took, in milliseconds."""
    turn, opened, ranked = slate.turn, slate.opened, slate.ranked
    stages = turn.watch.stages
    # of a list that answers instead of something that failed, it is not known what Redis has said
    known = slate.user is not None or not slate.lacking or ("redis" in stages and stages["redis"].failed)
    given = _given(opened, slate.user, slate.candidates, len(ranked.itemids)) if opened and known else {}
    if ranked.order is not None:
        given["diversity"] = _reranked(ranked, turn.request.size)
    return [
        {
            "stage": name,
            "began_ms": round((stage.began - turn.watch.began) * 1e3, 2),
            "took_ms": round(stage.seconds * 1e3, 2),
            "failed": stage.failed,
            "sent": given.get(name, ({}, {}))[0],
            "received": {} if stage.failed else given.get(name, ({}, {}))[1],
        }
        for name, stage in stages.items()
    ]


def _reranked(ranked: Ranked, size: int) -> tuple[Facts, Facts]:
    """How many items were chosen from, and how many of the chosen would not have been shown."""
    shown = ranked.shown(size)
    return {"items": len(ranked.itemids)}, {"shown": len(shown), "brought_up": int((shown >= len(shown)).sum())}


def _given(
    opened: Release, user: StoredUser | None, candidates: Candidates | None, rows: int
) -> dict[str, tuple[Facts, Facts]]:
    """Stage -> what it was sent and what came back."""
    if user is None:
        return {"redis": ({"users": 1}, {"users": 0})}
    state = {
        "history": len(user.history), "seen": len(user.seen), "terms": len(user.terms), "profile": len(user.profile)
    }  # fmt: skip
    given: dict[str, tuple[Facts, Facts]] = {"redis": ({"users": 1}, {"users": 1, **state})}
    if candidates is None:
        return given
    recall, spec = opened.manifest.recipe.recall, opened.spec
    searched = {channel.name for channel in recall.searched}
    found = {name: len(hits.ids) for name, hits in candidates.by_channel.items()}
    given["elasticsearch"] = (
        {
            "searches": len(searched),
            "vectors": dict(opened.manifest.vector_dims),
            "excluded": len(user.seen),
            "size": recall.candidates,
        },
        {"found": found, "fused": len(candidates.itemids)},
    )
    given["feast"] = ({"users": 1}, {"features": len(spec.stored("user"))})
    columns = {
        "one_hot": len(spec.one_hot), "multi_hot": len(spec.multi_hot), "dense": len(spec.dense),
        "recall": len(spec.candidate),
    }  # fmt: skip
    asked = {
        "rows": rows,
        "width": spec.widths.row,
        "columns": {name: n for name, n in columns.items() if n},
        "history": spec.widths.history,  # once for all rows
    }
    given["triton"] = (asked, {"scores": rows})
    return given
