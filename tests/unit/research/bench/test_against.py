"""Two servers measured in turns, and the gate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from research.bench.against import grown, unanswered

COUNTS = {"answered": 990, "degraded": 10, "refused": 10, "failed": 0}
BEFORE = {
    "stage_p50_ms": {"redis": 1.0, "elasticsearch": 5.0, "feast": 4.0, "triton": 5.0, "total": 12.0},
    "processor_ms": {"server": 7.0, "elasticsearch": 3.0, "feast": 2.7, "triton": 3.2, "all": 15.9},
}


def level(ratio: dict[str, float], **changed: Mapping[str, float]) -> dict[str, Any]:
    after = {key: {**values, **changed.get(key, {})} for key, values in BEFORE.items()}
    this = {**COUNTS, **changed.get("counts", {}), **after}
    other, ratio = {**COUNTS, **BEFORE}, {"requests_per_s": 1.0, **ratio}
    return {"level": "4 in flight", "this": this, "other": other, "ratio": ratio}


def test_the_process_and_the_stage_that_grew_are_named_at_every_level() -> None:
    enough = level({"p50_ms": 1.1, "processor_ms": 1.1})
    dearer = level({"p50_ms": 1.0, "processor_ms": 1.19}, processor_ms={"triton": 6.2, "server": 6.9, "all": 18.9})
    slower = level({"p50_ms": 1.2, "processor_ms": 1.0}, stage_p50_ms={"feast": 7.0, "triton": 5.5, "total": 14.4})
    cost, *late = grown([enough, dearer, slower, slower], "this", "other")
    assert cost.startswith("4 in flight: processor time is 1.19 times what it was (at most 1.1); most of it: triton, ")
    assert len(late) == 2
    assert all("p50 is 1.20 times" in each and "feast, 4.00 ms before, 7.00 ms now" in each for each in late)


def test_a_change_that_degrades_or_refuses_more_does_not_pass_as_faster() -> None:
    faster = {"p50_ms": 0.5, "processor_ms": 0.5}
    degrades = level(faster, counts={"degraded": 40})
    assert grown([degrades], "this", "other") == ["4 in flight: 4.0% of the answers are degraded, 1.0% were"]
    assert unanswered([level(faster)], "this") == []
    (told,) = unanswered([level(faster, counts={"refused": 11})], "this")
    assert told == "4 in flight: 11 requests were refused and 0 failed, 990 answered"
