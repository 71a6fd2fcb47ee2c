"""The steps trained by two workers, by their twins: as one trains, and when one of the two is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest

from data_exchange_center import artifacts
from data_exchange_center.channels import ChannelSet, HistorySum
from past_one_machine.workers import TWINS
from research.pictures import read_model_reports
from tests.unit.offline.synthetic import made_up_movielens
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[2]
BEFORE = ("preprocess/s0_get_data.py", "preprocess/s1_data_split.py", "preprocess/s2_term_trans.py")
TRAINING = ("recall/s2_vector_recall.py", "rank/s1_feature_engi.py", "rank/s2_model_train.py")
PATIENCE_S = 600


def started(step: str, folder: Path, **variables: str) -> subprocess.Popen[str]:
    path = ROOT / "offline" / step
    if "RECSYS_TRAINING__WORKERS" in variables:
        path = ROOT / TWINS[f"offline/{step}"]
    return subprocess.Popen(
        [sys.executable, path.name],
        cwd=path.parent,
        env=os.environ | {"RECSYS_EXCHANGE_DIR": str(folder), "OMP_NUM_THREADS": "1", **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(step: str, folder: Path, **variables: str) -> str:
    process = started(step, folder, **variables)
    said, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, said
    return said


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exchange folder of a single process."""
    folder = tmp_path_factory.mktemp("one")
    data = made_up_movielens(tmp_path_factory.mktemp("data"), users=300, items=400)
    for step in (*BEFORE, "recall/s1_term_recall.py", *TRAINING):
        run(step, folder, RECSYS_DATA=str(data))
    return folder


@pytest.fixture
def two(one: Path, tmp_path: Path) -> Path:
    """The same before training."""
    for table in (artifacts.RATINGS, artifacts.USERS, artifacts.ITEMS):
        table.write(tmp_path, table.read(one))
    artifacts.DATASET.write(tmp_path, artifacts.DATASET.read(one))
    return tmp_path


def losses(folder: Path) -> list[float]:
    """Losses of the tower, then of the ranker."""
    found = read_model_reports(folder)
    return [epoch["loss"] for name in ("tower", "list") for epoch in found[name]["epochs"]]


def test_two_workers_leave_what_one_leaves(one: Path, two: Path) -> None:
    for step in TRAINING:
        said = run(step, two, RECSYS_TRAINING__WORKERS="2").splitlines()
        assert len(set(said)) == len(said), said  # one of them speaks
    assert losses(two) == pytest.approx(losses(one), rel=0.02)  # each worker draws its own dropout
    ease = [artifacts.CHANNELS.read_as(folder, ChannelSet.unpack).channels[1] for folder in (one, two)]
    assert all(isinstance(channel, HistorySum) for channel in ease)
    assert np.array_equal(ease[0].arrays()["items"], ease[1].arrays()["items"])
    assert not list((two / "offline").glob("checkpoints-*"))


def test_a_killed_worker_changes_nothing(two: Path) -> None:
    step = TRAINING[0]
    run(step, two, RECSYS_TRAINING__WORKERS="2")
    whole = artifacts.CHANNELS.read(two)
    process = started(step, two, RECSYS_TRAINING__WORKERS="2")
    killed = kill_one_after_an_epoch(process, two)
    said, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, said
    assert f"(pid: {killed})" in said, said
    assert artifacts.CHANNELS.read(two) == whole
    assert not list((two / "offline").glob("checkpoints-*"))


def kill_one_after_an_epoch(process: subprocess.Popen[str], folder: Path) -> int:
    """The process id of the last worker, which is killed as soon as there is a checkpoint."""
    until(lambda: process.poll() is not None or list((folder / "offline").glob("checkpoints-*/*.pt")), PATIENCE_S)
    assert process.poll() is None
    last = max(
        child.pid for child in psutil.Process(process.pid).children() if "resource_tracker" not in str(child.cmdline())
    )
    os.kill(last, signal.SIGKILL)
    return last
