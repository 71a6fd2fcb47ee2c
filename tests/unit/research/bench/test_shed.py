from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from research.bench.load import Answered, Drawn, Run, Target
from research.bench.shed import CLOSED, best_rate, point, table, verdict

BEST = {"in_flight": 8, "requests_per_s": 100.0, "p99_ms": 40.0}


def run(*, whole: int, degraded: int = 0, shed: int = 0, lost: int = 0, ms: float = 50.0) -> Run:
    """A second's requests."""
    answers = (
        *(Answered(ms / 1e3, 200, "a") for _ in range(whole)),
        *(Answered(ms / 1e3, 200, "a", degraded=("feast",)) for _ in range(degraded)),
        *(Answered(0.001, 503) for _ in range(shed)),
        *(Answered(0.001, 0) for _ in range(lost)),
    )
    return Run(1.0, answers, 0.1)


def test_goodput_counts_whole_answers() -> None:
    found = point(run(whole=85, degraded=10, shed=900, lost=5), 10.0, BEST)
    assert (found["goodput"], found["shed"], found["degraded"], found["failed"]) == (0.85, 0.9, 0.01, 5)
    assert (found["p99_ms"], found["generator_cores"]) == (50.0, 0.1)


def test_loads_up_to_half_more_than_the_best_decide() -> None:
    half, good = point(run(whole=50), 0.5, BEST), point(run(whole=91, shed=59), 1.5, BEST)
    few, slow, none = (
        point(run(whole=89, shed=61), 1.5, BEST),
        point(run(whole=91, shed=59, ms=301), 1.5, BEST),
        point(run(whole=0, shed=150), 1.5, BEST),
    )
    beyond = point(run(whole=10, shed=990), 10.0, BEST)
    found = [verdict([half, each, beyond], 250)["holds"] for each in (good, few, slow, none)]
    assert found == [True, False, False, False]
    assert table([good, none]).row_count == 2


class Asks:
    """Sixteen requests in flight are the most that this server gets something from."""

    def closed(self, _: Target, userids: Sequence[Any], in_flight: int) -> Run:
        answers = (Answered(in_flight / 100.0),) * len(userids)
        return Run(len(userids) / {4: 80.0, 16: 100.0, 64: 95.0}[in_flight], answers, 0.0)


def test_the_best_rate_is_the_best_of_the_closed_loops() -> None:
    assert set(CLOSED) == {4, 16, 64}
    best = best_rate(Asks(), "url", Drawn([1, 2], 0), 1.0)  # type: ignore[arg-type]
    assert best == {"in_flight": 16, "requests_per_s": 100.0, "p99_ms": 160.0}
