"""Two servers measured in turns, and the gate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import psutil
import pytest

from data_exchange_center.steps import StepError
from research.bench import load
from research.bench.against import OTHER, THIS, Side, comparison, grown, idle_parts, take_turns, unanswered
from research.bench.load import Answered, Drawn, Loading, Run, Target, take_turn
from research.bench.processes import Part


class Caller:
    """A generator whose servers answer at once: the one called slow in 20 ms, the other in 10."""

    def __init__(self, answer: Answered | None = None) -> None:
        self.asked: list[tuple[str, int, str]] = []
        self._answer = answer

    def closed(self, target: Target, userids: Sequence[Any], in_flight: int) -> Run:
        return self._run(target, userids, f"{in_flight} in flight")

    def fixed_rate(self, target: Target, userids: Sequence[Any], per_s: float) -> Run:
        return self._run(target, userids, f"{per_s:g}/s")

    def _run(self, target: Target, userids: Sequence[Any], how: str) -> Run:
        self.asked.append((target.url, len(userids), how))
        answer = self._answer or Answered(0.02 if target.url == "slow" else 0.01)
        return Run(1.0, (answer,) * len(userids), 0.01)


@pytest.fixture(autouse=True)
def _no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    used = {"server": 0.0}

    def used_s(parts: Any) -> dict[str, float]:
        used["server"] += 1.0
        return dict.fromkeys(("server", "redis", "elasticsearch", "feast", "triton"), used["server"])

    monkeypatch.setattr(load, "used_s", used_s)


def test_sides_take_turns_level_by_level() -> None:
    asks = Caller()
    sides = {THIS: Side(Target("fast"), {}), OTHER: Side(Target("slow"), {})}
    loadings = [Loading(in_flight=2), Loading(per_s=5.0)]
    taken = take_turns(asks, sides, loadings, Drawn([1, 2, 3], 0), requests=20, rounds=2)  # type: ignore[arg-type]
    measured = [(url, how) for url, count, how in asks.asked if count == 20]
    once = [("fast", "2 in flight"), ("slow", "2 in flight"), ("fast", "5/s"), ("slow", "5/s")]
    again = [("slow", "2 in flight"), ("fast", "2 in flight"), ("slow", "5/s"), ("fast", "5/s")]
    assert measured == once + again
    levels = comparison(taken)
    assert [level["ratio"]["p50_ms"] for level in levels] == [0.5, 0.5]
    assert levels[0][THIS]["processor_ms"]["server"] == 50.0  # a second for twenty requests


def test_what_both_need_is_not_held() -> None:
    redis, mine, theirs = Part("redis", ()), Part("server", (psutil.Process(),)), Part("server", ())
    sides = {
        THIS: Side(Target("fast"), {"server": mine, "redis": redis}),
        OTHER: Side(Target("slow"), {"server": theirs, "redis": redis}),
    }
    assert idle_parts(sides, THIS) == {"server": theirs}
    assert idle_parts(sides, OTHER) == {"server": mine}


def test_what_is_no_answer_is_not_measured() -> None:
    asks = Caller(Answered(0.01, 500, error="broken"))
    with pytest.raises(StepError, match="answered 500: broken"):
        take_turn(asks, Target("fast"), {}, Loading(in_flight=1), Drawn([1], 0), 10)  # type: ignore[arg-type]


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
