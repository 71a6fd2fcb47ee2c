"""The report of a server that was measured at several levels of load."""

from __future__ import annotations

from research.bench.load import Answered, Run
from research.bench.serving import levels_of


def test_levels_ascend_whatever_the_first_round_did() -> None:
    rounds = [
        {level: Run(1.0, (Answered(level / 1e3),) * level, 0.0) for level in order}
        for order in ([4, 1], [1, 4])
    ]
    found = levels_of(rounds)
    assert [
        (each["concurrency"], each["answered"], each["p50_ms"]) for each in found
    ] == [(1, 2, 1.0), (4, 8, 4.0)]
