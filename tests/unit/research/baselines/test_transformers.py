"""What the worker of the transformers is told, and what comes back; RecTools itself is not here."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_exchange_center.dataset import HoldoutRule
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from offline.evaluation import replay
from offline.evaluation.replay import Holdout
from research.baselines import environment, transformers
from research.baselines.contract import SIZE
from tests.unit.offline.models.test_stages import ITEMS, USERS, inputs_of


@pytest.fixture
def holdout() -> Holdout:
    data = inputs_of(np.random.default_rng(0).integers(0, ITEMS, USERS - 1)).data
    return replay.hold_out(data, HoldoutRule(last=4))


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(environment, "python", lambda _: Path("python-of-rectools"))
    return Settings(exchange_dir=tmp_path, services_dir=tmp_path / "services")


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders that a worker was started for; it writes what the real one writes."""
    folders: list[Path] = []

    def started(command: Sequence[str], **_: Any) -> subprocess.CompletedProcess[bytes]:
        python, worker, folder = command
        assert (python, Path(worker).is_file()) == ("python-of-rectools", True)
        folders.append(Path(folder))
        np.savez(Path(folder) / "lists.npz", lists=np.ones((USERS, SIZE), dtype=np.int64))
        (Path(folder) / "progress.json").write_text('{"losses": [1.0], "seconds": 7.5}', encoding="utf-8")
        return subprocess.CompletedProcess(list(command), 0)

    monkeypatch.setattr(subprocess, "run", started)
    return folders


def test_the_worker_is_told_the_past_and_what_each_request_sees(
    settings: Settings, holdout: Holdout, trained: list[Path]
) -> None:
    for rival in transformers.transformers(settings):
        found = rival.fit(holdout, rival.first)
        assert (found.lists.shape, found.seconds) == ((USERS, SIZE), 7.5)
        folder = trained[-1]
        job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
        assert job == {"model": rival.name, "setting": rival.first, "size": SIZE}
        with np.load(folder / "events.npz") as events:
            assert np.array_equal(events["items"], holdout.past.items)
            assert np.array_equal(events["known"], holdout.known.lengths)
            assert np.array_equal(events["request_times"], holdout.times)
        for name, values in rival.others.items():
            assert rival.first[name] not in values


def test_a_training_is_done_once_and_each_has_a_folder_of_its_own(
    settings: Settings, holdout: Holdout, trained: list[Path]
) -> None:
    rival = transformers.transformers(settings)[0]
    rival.fit(holdout, rival.first)
    rival.fit(holdout, rival.first)
    assert len(trained) == 1
    rival.fit(holdout, {**rival.first, "epochs": 2})
    rival.fit(replace(holdout, times=holdout.times + 1), rival.first)
    assert len(set(trained)) == 3


def test_a_failed_training_is_told(settings: Settings, holdout: Holdout, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = subprocess.CompletedProcess([], 1)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    rival = transformers.transformers(settings)[0]
    with pytest.raises(StepError, match=r"worker\.py ended with 1"):
        rival.fit(holdout, rival.first)


def test_the_environment_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def uv(command: Sequence[str], **_: Any) -> subprocess.CompletedProcess[str]:
        asked.append(command[1])
        (tmp_path / "rivals").mkdir(exist_ok=True)
        return subprocess.CompletedProcess(list(command), 0)

    monkeypatch.setattr(subprocess, "run", uv)
    own = Settings(exchange_dir=tmp_path, services_dir=tmp_path)
    assert environment.python(own) == environment.python(own) == tmp_path / "rivals" / "bin" / "python"
    assert asked == ["venv", "pip"]


def test_what_the_installer_says_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = subprocess.CompletedProcess([], 1, stdout="", stderr="no room left")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(StepError, match="no room left"):
        environment.python(Settings(exchange_dir=tmp_path, services_dir=tmp_path))
    assert not (tmp_path / "rivals" / ".ready").exists()
