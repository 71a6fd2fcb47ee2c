from __future__ import annotations

from http import HTTPStatus

import pytest

from research.bench.load import Answered, Run
from research.bench.shed import point, verdict


def turn(whole: int, degraded: int = 0, refused: int = 0, seconds: float = 1.0) -> Run:
    answers = [Answered(0.1)] * whole + [Answered(0.2, degraded=("triton",))] * degraded
    return Run(
        seconds,
        (*answers, *[Answered(0.0, HTTPStatus.SERVICE_UNAVAILABLE)] * refused),
        generator_s=0.1,
    )


def test_a_point_has_median_goodput_and_all_answers() -> None:
    found = point(
        [turn(90), turn(50, 20, 30), turn(80, 20)], 1.0, {"requests_per_s": 100.0}
    )
    assert found["goodput"] == 0.8
    assert found["turns"] == {
        "goodput": [0.9, 0.5, 0.8],
        "p99_ms": [100.0, 200.0, 200.0],
    }
    assert (found["requests"], found["failed"]) == (290, 0)
    assert found["shed"] == pytest.approx(30 / 290, abs=1e-3)
    assert found["degraded"] == pytest.approx(40 / 290, abs=1e-3)
    assert found["p50_ms"] == 100.0


def test_the_verdict_is_of_loads_up_to_the_judged_one() -> None:
    best = {"requests_per_s": 100.0}
    points = [
        point([turn(whole)], factor, best)
        for whole, factor in ((50, 0.5), (91, 1.5), (10, 3.0))
    ]
    assert verdict(points, budget_ms=100)["holds"]
    assert not verdict(points, budget_ms=80)["holds"]  # p99 of 100 ms, 96 are allowed
    assert not verdict([*points, point([turn(89)], 1.0, best)], budget_ms=100)["holds"]
