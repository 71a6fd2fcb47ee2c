from __future__ import annotations

from typing import Any

import pytest

from data_exchange_center.provenance import SPLIT, VECTOR_RECALL
from past_one_machine.scaling.__main__ import lines
from past_one_machine.scaling.estimate import MACHINE_CORES, MACHINE_PER_HOUR, estimates


def row(engine: str, factor: int, step: str = SPLIT.path, **shuffle: int) -> dict[str, Any]:
    events = 1000 * factor
    costs = {"seconds": 2.0 * factor, "cpu_seconds": 3.6 * factor, "peak_mb": 1.024 * factor}
    return {
        "engine": engine,
        "factor": factor,
        "step": step,
        "events": events,
        "users": 10 * factor,
        **costs,
        **shuffle,
    }


def found() -> dict[str, Any]:
    rows = [row("pandas", each) for each in (1, 4)] + [row("pandas", 1, VECTOR_RECALL.path)]
    rows += [row("spark", each, written=2**20 * each, spilled=0) for each in (1, 4)]
    return {"rows": rows, "lines": lines(rows)}


def test_every_number_follows_from_the_lines() -> None:
    values = {each.name: each.value for each in estimates(found(), users=10_000_000)}
    assert values["events"] == 1e9  # 100 a user
    assert values["memory of one machine, with pandas"] == pytest.approx(1000.0)  # 1.024 MB a thousand events
    assert values["processor hours, with Spark"] == pytest.approx(1000.0)
    assert values["bytes shuffled"] == pytest.approx(1e6 / 1024)
    machines = -(-1000 // MACHINE_CORES)
    assert values["machines of 16 cores and 64 GB"] == machines
    assert values["a night's cost"] == pytest.approx(machines * MACHINE_PER_HOUR)


def test_steps_that_run_on_one_engine_alone_do_not_count() -> None:
    of_training = [each for each in found()["lines"] if each["step"] == VECTOR_RECALL.path]
    assert of_training
    without = {**found(), "lines": [each for each in found()["lines"] if each["step"] != VECTOR_RECALL.path]}
    assert estimates(without, 1000) == estimates(found(), 1000)
