from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data_exchange_center import artifacts
from data_exchange_center.dataset import HoldoutRule
from data_exchange_center.settings import Settings
from research.experiments import fitted
from tests.unit.offline.models.test_stages import ITEMS, USERS, inputs_of


@pytest.fixture
def made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings with which reports read a made-up data set, whose users' last three events are held out."""
    inputs = inputs_of(np.random.default_rng(0).integers(0, ITEMS, USERS - 1))
    inputs = replace(inputs, dataset=inputs.dataset.model_copy(update={"holdout": HoldoutRule(last=3)}))
    artifacts.DATASET.write(tmp_path, {"name": "made up"})
    monkeypatch.setattr(fitted, "read_with_holdout", lambda _: inputs)
    return Settings(exchange_dir=tmp_path)
