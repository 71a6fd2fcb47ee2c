from __future__ import annotations

from rich.console import Console

from data_exchange_center import provenance
from offline import bench


def test_the_source_is_measured_on_steps_that_there_are() -> None:
    assert set(bench.SOURCE_SECONDS) < {step.path for step in provenance.STEPS}


def test_the_table_has_every_step_and_the_total() -> None:
    step = {"step": "offline/a.py", "seconds": 1.5, "cpu_seconds": 1.2, "peak_rss_mb": 300, "source_seconds": None}
    found = {
        "dataset": "ml-1m",
        "machine": {"cores": 2},
        "steps": [step],
        "seconds": 1.5,
        "source_seconds": 0,
        "peak_rss_mb": 300,
        "auc": {"fm": {"train": 0.9, "test": None}},
    }
    console = Console(record=True, width=120)
    bench.show(found, console)
    shown = console.export_text()
    assert "offline/a.py" in shown
    assert "fm AUC: train 0.9000, test -" in shown
