from __future__ import annotations

import pytest

from research.bench.generator import Answered
from research.bench.levels import summarise


def test_summary() -> None:
    answers = [Answered(ms / 1e3, 200, "a", {"redis": 1.0, "total": ms / 2}) for ms in range(1, 101)]
    level = summarise(4, 2.0, [*answers, Answered(0.05, 200, "a", {"total": 25.0})])
    assert (level.concurrency, level.requests, level.requests_per_s) == (4, 101, 50.5)
    assert level.p50_ms == pytest.approx(50, abs=1)
    assert level.p99_ms == pytest.approx(99, abs=1)
    assert level.stage_p50_ms == {"redis": 1.0, "total": pytest.approx(25, abs=0.6)}
