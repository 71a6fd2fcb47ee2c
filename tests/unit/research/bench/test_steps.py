from __future__ import annotations

from typing import Any

from rich.console import Console

from data_exchange_center import provenance
from research.bench import steps as bench


def test_the_source_is_measured_on_steps_that_there_are() -> None:
    assert set(bench.SOURCE_SECONDS) < {step.path for step in provenance.STEPS}


def measured(step: provenance.Step, began: float, seconds: float, cpu: float, peak: int) -> dict[str, Any]:
    return {"step": step.path, "began": began, "seconds": seconds, "cpu_seconds": cpu, "peak_rss_mb": peak}


def test_steps_at_the_same_time_cost_seconds_once() -> None:
    found = bench.cost(
        [
            measured(provenance.GET_DATA, 100.0, 2.0, 2.0, 300),
            measured(provenance.FEATURES, 102.0, 8.0, 7.0, 900),
            measured(provenance.VECTOR_RECALL, 102.0, 10.0, 10.0, 700),
            measured(provenance.RANKER, 112.0, 8.0, 13.0, 1500),
        ],
        cores=2,
    )
    assert [step["began"] for step in found["steps"]] == [0.0, 2.0, 2.0, 12.0]  # in the order of the pipeline
    assert [step["share"] for step in found["steps"]] == [0.5, 0.5, 0.44, 0.81]
    assert (found["seconds"], found["training_seconds"]) == (20.0, 18.0)
    assert found["share"] == 0.8  # 32 of 40 processor seconds


def test_the_table_has_every_step_and_the_total() -> None:
    costs = bench.cost([measured(provenance.VECTOR_RECALL, 0.0, 1.5, 1.2, 300)], cores=2)
    found = {
        **costs,
        "peak_mb": 456,
        "dataset": "ml-1m",
        "machine": {"cores": 2},
        "auc": {"fm": {"train": 0.9, "test": None}},
    }
    console = Console(record=True, width=120)
    bench.show(found, console)
    shown = console.export_text()
    assert "offline/recall/s2_vector_recall.py" in shown
    assert "40%" in shown
    assert "456" in shown  # of all together
    assert "channels, lists and ranker" in shown
    assert "fm AUC: train 0.9000, test -" in shown
