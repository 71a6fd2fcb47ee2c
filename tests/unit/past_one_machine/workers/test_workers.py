from __future__ import annotations

import datetime
from dataclasses import replace

import numpy as np
import pytest
import torch

from data_exchange_center import artifacts
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from offline.data.lists import sampled
from offline.readers import read_inputs, read_lists
from past_one_machine.workers import group
from past_one_machine.workers.group import Workers
from past_one_machine.workers.s2_model_train import read_own_lists
from past_one_machine.workers.settings import TrainingSettings
from tests.free_ports import free_ports
from tests.unit.offline.data.ratings import made_up_lists
from tests.unit.offline.test_readers import settings  # noqa: F401 (a fixture)
from tests.unit.past_one_machine.workers import together
from tests.unit.past_one_machine.workers.together import Trained

LIST = made_up_lists(np.ones((1, 3), np.int32), np.ones((1, 3, 2), np.float16), liked=np.ones((1, 3), np.bool_))


@pytest.fixture(scope="module")
def two() -> list[dict[str, Trained]]:
    return group.by_workers(TrainingSettings(workers=2, restarts=0), together.work)


@pytest.mark.parametrize(
    ("name", "change"),
    [("tower", {}), ("sampled", together.SAMPLED), ("tiny batches", together.ONE_REQUEST), ("ranker", None)],
)  # where a batch is one request, a worker often has none of it
def test_two_train_what_one_trains(two: list[dict[str, Trained]], name: str, change: dict[str, int] | None) -> None:
    alone = together.ranker() if change is None else together.tower(together.TOWER.model_copy(update=change))
    one, other = (each[name] for each in two)
    assert one.losses == other.losses == pytest.approx(alone.losses, abs=1e-5)
    for key, weights in alone.weights.items():  # the ranker's running mean and variance of the batches among them
        assert torch.equal(one.weights[key], other.weights[key]), key
        assert one.weights[key].numpy() == pytest.approx(weights.numpy(), abs=1e-4), key


def test_each_draws_its_own_dropout_and_learns_as_well(two: list[dict[str, Trained]]) -> None:
    alone = together.tower(together.TOWER.model_copy(update={"dropout": 0.2}))
    one, other = (each["dropout"] for each in two)
    assert all(torch.equal(weights, other.weights[key]) for key, weights in one.weights.items())
    assert one.losses == other.losses != alone.losses
    assert one.losses == pytest.approx(alone.losses, rel=0.05)


def test_a_worker_without_a_gpu_of_its_own_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setenv("LOCAL_RANK", "1")
    with pytest.raises(StepError, match=r"1 GPUs.*fewer workers"), group.joined(TrainingSettings(device="cuda")):
        pass


def test_workers_meet_after_a_restart_in_any_order() -> None:
    """None looks for another where that one was before it died."""
    assert group.by_workers(TrainingSettings(workers=2, restarts=1), together.meet_after_a_restart) == [2, 2]


def test_a_workers_refusal_is_one_sentence_without_restarts(capfd: pytest.CaptureFixture[str]) -> None:
    assert group.by_workers(TrainingSettings(workers=2, restarts=1), together.refused) == [1, 1]
    said = capfd.readouterr().err
    assert said.count("StepError: there are no ratings") == 2
    assert "Traceback" not in said


def test_torchrun_must_not_share_its_store_on_restarts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables are those that torchrun gives a worker."""
    for name, value in {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_MAX_RESTARTS": "3"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(StepError, match=f"c10d and {group.OWN_STORE}=1"), group.joined(TrainingSettings()):
        pass


def test_a_worker_does_not_wait_long_for_others_to_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """One may die before it is there; those that waited are restarted."""
    (port,) = free_ports(1)
    variables = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    for name, value in {**variables, "TORCHELASTIC_RUN_ID": "test"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(group, "JOINING", datetime.timedelta(seconds=1))
    with pytest.raises(RuntimeError), group.joined(TrainingSettings()):
        pass


def test_a_worker_reads_its_share_of_the_lists(settings: Settings) -> None:  # noqa: F811
    past = read_inputs(settings).data
    five = replace(LIST.take(np.zeros(5, np.int64)), lengths=np.arange(5, dtype=np.int32))
    artifacts.LISTS.write(settings.exchange_dir, five.table(past.user_numbers))
    own = [read_own_lists(settings.exchange_dir, Workers(rank=rank, world=2)) for rank in range(2)]
    assert [read_lists(settings, past, table).lengths.tolist() for table in own] == [[0, 1], [2, 3, 4]]


def test_more_workers_than_lists_are_refused(settings: Settings) -> None:  # noqa: F811
    past = read_inputs(settings).data
    artifacts.LISTS.write(settings.exchange_dir, LIST.table(past.user_numbers))
    with pytest.raises(StepError, match="RECSYS_TRAINING__WORKERS"):
        read_own_lists(settings.exchange_dir, Workers(rank=0, world=2))


def test_mixed_precision_needs_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSYS_TRAINING__PRECISION", "mixed")
    with pytest.raises(ValueError, match="RECSYS_TRAINING__DEVICE=cuda"):
        TrainingSettings()


def test_a_lists_sample_does_not_depend_on_the_worker() -> None:
    many, size = 50, 40
    rng = np.random.default_rng(0)
    candidates = rng.permuted(np.tile(np.arange(1, size + 1, dtype=np.int32), (many, 1)), axis=1)
    lists = made_up_lists(candidates, np.ones((many, size, 1), np.float16), liked=rng.random((many, size)) < 0.1)
    whole, weights = sampled(lists, 16, np.random.default_rng(0))
    own = np.arange(many) % 3 == 0
    part, part_weights = sampled(lists.take(own), 16, group.OwnDraws(np.random.default_rng(0), own))
    assert np.array_equal(part.candidates, whole.candidates[own])
    assert np.array_equal(part_weights, weights[own])
