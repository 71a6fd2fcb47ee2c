from __future__ import annotations

import pytest

from research.bench.against import Loading, Turn, comparison, ratios, summary
from research.bench.load import Answered, Run


def turn(ms: float, server_ms: float, *, requests: int = 10, refused: int = 0) -> Turn:
    answers = [Answered(ms / 1e3, 200, "a", {"total": ms - 1}) for _ in range(requests)]
    answers += [Answered(0.001, 503) for _ in range(refused)]
    run = Run(seconds=requests * ms / 1e3, answers=tuple(answers), generator_s=0.001 * requests)
    return Turn(run, {"server": requests * server_ms / 1e3, "redis": 0.0})


def test_a_level_is_summed_up_over_its_turns() -> None:
    found = summary([turn(10, 4), turn(20, 6), turn(10, 5, refused=3)])
    assert (found["answered"], found["degraded"], found["refused"], found["failed"]) == (30, 0, 3, 0)
    assert (found["requests_per_s"], found["p50_ms"], found["p99_ms"]) == (100.0, 10.0, 20.0)
    assert found["processor_ms"] == {"server": 5.0, "redis": 0.0, "all": 5.0}
    assert found["generator_ms"] == 1.0
    assert found["stage_p50_ms"] == {"total": 9.0}


def test_ratios_are_of_neighbouring_turns() -> None:
    """The machine is slow in the second round: both are, and the ratio is not."""
    found = ratios([turn(10, 5), turn(100, 50), turn(10, 5)], [turn(20, 6), turn(200, 60), turn(21, 7)])
    assert found["p50_ms"] == pytest.approx(0.5)
    assert found["requests_per_s"] == pytest.approx(2.0)
    assert found["processor_ms"] == pytest.approx(5 / 6, abs=1e-3)
    assert found["p99_ms"] == pytest.approx(0.5)


def test_levels_are_compared_side_by_side() -> None:
    name = Loading(in_flight=4).name
    (level,) = comparison({"this": {name: [turn(10, 5)]}, "other": {name: [turn(20, 5)]}})
    assert level["level"] == "4 in flight"
    assert (level["this"]["p50_ms"], level["other"]["p50_ms"], level["ratio"]["p50_ms"]) == (10.0, 20.0, 0.5)
    assert Loading(per_s=50.0).name == "50/s"
