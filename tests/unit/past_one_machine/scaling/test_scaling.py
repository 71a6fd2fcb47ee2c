from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from data_exchange_center.provenance import GET_DATA, SPLIT, Step
from data_exchange_center.settings import Settings
from past_one_machine.scaling import __main__ as scaling


class Steps:
    """In place of running steps: what was run, and the step that does not end."""

    def __init__(self) -> None:
        self.ran: list[tuple[str, str]] = []
        self.ends_at: tuple[str, str] | None = None

    def __call__(
        self, settings: Settings, data: Path, engine: str, steps: Sequence[Step], folder: Path
    ) -> Iterator[dict[str, Any]]:
        for step in steps:
            if self.ends_at == (engine, step.path):
                raise KeyboardInterrupt
            self.ran.append((engine, step.path))
            shuffle = {"written": 2**20, "spilled": 0} if engine == "spark" else {}
            yield {"step": step.path, "engine": engine, "seconds": 2.0, "cpu_seconds": 1.5, "peak_mb": 100.0, **shuffle}


@pytest.fixture
def steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Steps:
    found, source = Steps(), SimpleNamespace(dataset=SimpleNamespace(base_name="small"))
    expanded: list[int] = []
    monkeypatch.setattr(scaling, "measured", found)
    monkeypatch.setattr(scaling, "at_hand", lambda _: tmp_path)
    monkeypatch.setattr(scaling, "Source", SimpleNamespace(of=lambda _: source))
    monkeypatch.setattr(scaling, "expand", lambda source, factors, folder, name: expanded.append(factors.users))
    monkeypatch.setattr(
        scaling, "sizes", lambda _: {"events": 1000 * (expanded[-1] if expanded else 1), "users": 10, "items": 5}
    )
    monkeypatch.setattr(scaling, "OUTPUT", tmp_path / "scale.json")
    monkeypatch.setattr(scaling, "PICTURE", tmp_path / "scale.png")
    return found


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(exchange_dir=tmp_path / "exchange")


def test_both_engines_run_every_step_on_every_size(steps: Steps, settings: Settings) -> None:
    scaling.main(settings, (1, 4), training_to=1)
    found = json.loads(scaling.OUTPUT.read_text())
    assert scaling.PICTURE.is_file()
    preparing, training = len(scaling.PREPARING), len(scaling.TRAINING)
    assert len(found["rows"]) == len(steps.ran) == 2 * 2 * preparing + training
    assert {row["events"] for row in found["rows"] if row["factor"] == 4} == {4000}
    (split,) = (each for each in found["lines"] if (each["engine"], each["step"]) == ("spark", SPLIT.path))
    assert split["seconds"]["exponent"] == 0.0  # 2 s of both sizes
    assert split["written"]["fixed"] == pytest.approx(2**20)


def test_what_was_measured_is_not_measured_again(steps: Steps, settings: Settings) -> None:
    steps.ends_at = ("spark", SPLIT.path)
    with pytest.raises(KeyboardInterrupt):
        scaling.main(settings, (1,), training_to=0)
    ran, steps.ran, steps.ends_at = steps.ran, [], None
    assert ran[-1] == ("spark", GET_DATA.path)
    scaling.main(settings, (1,), training_to=0)
    assert {engine for engine, _ in steps.ran} == {"spark"}
    scaling.main(settings, (1,), training_to=0)
    assert len(steps.ran) == len(scaling.PREPARING)


def test_the_table_has_a_line_for_each_measurement(steps: Steps, settings: Settings) -> None:
    scaling.main(settings, (1,), training_to=0)
    console = Console(record=True, width=140)
    scaling.show(json.loads(scaling.OUTPUT.read_text()), console)
    shown = console.export_text()
    assert shown.count(SPLIT.path) == 2
    assert "1,000" in shown
