"""Which strength of diversity is measured next to the others."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_exchange_center.files import write_json
from data_exchange_center.steps import StepError
from research.measure.diversity import tuned_strength


def test_the_strength_is_the_tuned_one(tmp_path: Path) -> None:
    write_json(tmp_path / "tune.json", {"chosen": 0.1})
    assert tuned_strength(tmp_path / "tune.json") == 0.1


def test_without_a_tuned_strength_a_command_is_named(tmp_path: Path) -> None:
    write_json(tmp_path / "tune.json", {"rows": {}, "diversity": {}})  # numbers alone were tuned
    for name in ("tune.json", "missing.json"):
        with pytest.raises(StepError, match="make tune"):
            tuned_strength(tmp_path / name)
