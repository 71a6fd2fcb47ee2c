"""pandas refuses a data set that it has no room for, before it reads it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from data_exchange_center import machine
from data_exchange_center.settings import PandasSettings, Settings
from data_exchange_center.steps import StepError
from offline import engines
from offline.engines.in_memory import PandasEngine
from offline.engines.room import EVENT_BYTES, expect_room
from offline.ingestion.events import MOST
from offline.ingestion.tables import MadeRows
from offline.preprocess import s0_get_data
from offline.step_runner import ROOT
from past_one_machine.scaling import __main__ as scaling
from tests.made_up_data import shop

GB = 10**9


@dataclass(frozen=True)
class Many(MadeRows):
    """A file that is said to be large."""

    said: int = 160_000_000

    def about(self) -> int:
        return self.said


def test_what_fits_goes_on_and_what_does_not_is_one_sentence() -> None:
    events = Many("interactions.parquet", pa.table({}))
    needed = 160_000_000 * EVENT_BYTES / GB
    expect_room(events, needed)
    with pytest.raises(StepError) as caught:
        expect_room(events, 24.9)
    said = str(caught.value)
    assert said.startswith(
        f"interactions.parquet holds about 160,000,000 events, for which pandas takes about {needed:,.1f} GB"
    )
    assert "there are 24.9 GB" in said
    for way in ("RECSYS_ENGINE=spark", "`make spark`", f"RECSYS_PANDAS__MEMORY_GB={needed:.0f}"):
        assert way in said


def test_memory_is_no_way_out_where_pandas_reads_no_more() -> None:
    with pytest.raises(StepError) as caught:
        expect_room(Many("interactions.parquet", pa.table({}), said=MOST + 1), 24.9)
    assert "RECSYS_ENGINE=spark" in str(caught.value)
    assert "RECSYS_PANDAS__MEMORY_GB" not in str(caught.value)


def test_the_step_refuses_before_anything_is_written(tmp_path: Path) -> None:
    data, exchange = shop(tmp_path / "data", users=80, items=50, views=1_200), tmp_path / "exchange"
    small = Settings(data=data, exchange_dir=exchange, pandas=PandasSettings(memory_gb=1e-5))
    with pytest.raises(StepError, match=r"holds about 1,\d\d\d events"):
        s0_get_data.main(small)
    assert not exchange.exists()
    s0_get_data.main(small.model_copy(update={"pandas": PandasSettings(memory_gb=1)}))


def test_a_person_who_runs_the_step_is_told(tmp_path: Path) -> None:
    variables = {
        "RECSYS_DATA": str(shop(tmp_path / "data", users=80, items=50, views=1_200)),
        "RECSYS_EXCHANGE_DIR": str(tmp_path / "exchange"),
        "RECSYS_PANDAS__MEMORY_GB": "1e-5",
    }
    step = Path(s0_get_data.__file__)
    done = subprocess.run(
        [sys.executable, step.name], cwd=step.parent, env=os.environ | variables, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("StepError: ")
    assert "RECSYS_ENGINE=spark" in done.stderr


def test_left_out_the_memory_is_what_is_free(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    free = SimpleNamespace(available=8 * GB)
    monkeypatch.setattr(machine.psutil, "virtual_memory", lambda: free)
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(machine, "CONTAINER_LIMITS", (limit, tmp_path / "none"))

    def memory(settings: Settings) -> float:
        with engines.chosen(settings) as engine:
            assert isinstance(engine, PandasEngine)
            return engine.memory_gb

    assert memory(Settings()) == 8
    assert memory(Settings(pandas=PandasSettings(memory_gb=64))) == 64
    limit.write_text("max\n")
    assert memory(Settings()) == 8
    limit.write_text(f"{2 * GB}\n")  # of a container
    assert memory(Settings()) == 2


def test_an_event_takes_no_more_than_is_said() -> None:
    """As `make bench-scale` measures it, give or take a fifth, once it has; the chapter says the same."""
    for name in ("README.md", "README.zh-CN.md"):
        assert f"{EVENT_BYTES} " in (ROOT / "past_one_machine" / name).read_text(encoding="utf-8")
    steps = {step.path for step in scaling.PREPARING}
    found = json.loads(scaling.OUTPUT.read_text(encoding="utf-8")) if scaling.OUTPUT.is_file() else {"lines": []}
    of_pandas = [each for each in found["lines"] if each["engine"] == "pandas" and each["step"] in steps]
    assert all(each["peak_mb"]["each"] * 2**20 < 1.2 * EVENT_BYTES for each in of_pandas)


@pytest.mark.parametrize("wrong", [0, -1, "much"])
def test_no_memory_is_a_wrong_setting(wrong: Any) -> None:
    with pytest.raises(ValueError, match="memory_gb"):
        PandasSettings(memory_gb=wrong)
