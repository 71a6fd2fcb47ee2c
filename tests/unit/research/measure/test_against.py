from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psutil
import pytest

from data_exchange_center.steps import StepError
from research.bench.against import OTHER, THIS, Loading, Side, comparison, idle_parts, one_turn, table, take_turns
from research.bench.load import Answered, Drawn, Run, Target
from research.bench.processes import Part
from research.measure import against


class Asks:
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

    monkeypatch.setattr(against, "used_s", used_s)


def test_sides_take_turns_level_by_level() -> None:
    asks = Asks()
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
    assert table(levels).row_count == 6


def test_what_both_need_is_not_held() -> None:
    redis, mine, theirs = Part("redis", ()), Part("server", (psutil.Process(),)), Part("server", ())
    sides = {
        THIS: Side(Target("fast"), {"server": mine, "redis": redis}),
        OTHER: Side(Target("slow"), {"server": theirs, "redis": redis}),
    }
    assert idle_parts(sides, THIS) == {"server": theirs}
    assert idle_parts(sides, OTHER) == {"server": mine}


def test_what_is_no_answer_is_not_measured() -> None:
    side, broken = Side(Target("fast"), {}), Answered(0.01, 500, error="broken")
    with pytest.raises(StepError, match="answered 500: broken"):
        one_turn(Asks(broken), side, Loading(in_flight=1), Drawn([1], 0), 10)  # type: ignore[arg-type]
