"""The channel of a sequence model: trained by a replacement of RecTools, kept, compared with the library's lists."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data_exchange_center.channel_file import pack_channels, unpack_channels
from data_exchange_center.channels import ChannelSet
from data_exchange_center.recipes import DEFAULT, DataRecipe, Recipe, recipe_called
from data_exchange_center.steps import StepError
from extras.models.encoder import Encoder
from extras.sequence import channel
from extras.sequence.channel import SequenceRecipe, fit, windows
from offline.data.sequences import Sequences
from offline.models.kinds import Fitted
from offline.recall.s2_vector_recall import fit_channel
from tests.unit.extras.models import bundles
from tests.unit.offline.data.ratings import events_of
from tests.unit.offline.models.test_stages import inputs_of

INPUTS = inputs_of(np.zeros(39, int))
RECIPE = SequenceRecipe(history=bundles.HISTORY, epochs=2)
Trainings = list[Path]
Script = Callable[[str], None]


def past(events: int = 9) -> Sequences:
    rng = np.random.default_rng(0)
    rows = [list(1 + rng.permutation(30)[:events]) for _ in range(12)]
    ratings, times = [[5] * events] * 12, [list(range(events))] * 12
    return events_of(rows, ratings, times, n_items=30)


def train(events: int = 9, **settings: float) -> Fitted:
    recipe = RECIPE.model_copy(update=settings)
    return fit(recipe, past(events), INPUTS, DataRecipe())


def made_by_hand(folder: Path, recipe: SequenceRecipe) -> None:
    """Write a bundle of random numbers in place of a trained one."""
    events = pd.read_parquet(folder / "events.parquet")
    bundles.written(folder, "encoder", events)
    training = json.dumps({"losses": [2.0, 1.0], "seconds": 3.0})
    (folder / "training.json").write_text(training, "utf-8")


@pytest.fixture
def exchange(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RECSYS_EXCHANGE_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def trainings(exchange: Path, monkeypatch: pytest.MonkeyPatch) -> Trainings:
    """The folders that were trained in."""
    found: Trainings = []

    def run(folder: Path, recipe: SequenceRecipe) -> None:
        found.append(folder)
        made_by_hand(folder, recipe)

    monkeypatch.setattr(channel, "run", run)
    return found


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Script:
    """Put a shell script in uv's place."""

    def written(text: str) -> None:
        path = tmp_path / "uv"
        path.write_text(f"#!/bin/sh\n{text}\n", "utf-8")
        path.chmod(0o755)
        monkeypatch.setattr(channel.shutil, "which", lambda *_, **__: str(path))

    return written


def test_the_recipe_is_the_default_with_one_more_channel() -> None:
    recipe = recipe_called("sequence")
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe
    assert recipe.recall.channels[:-1] == DEFAULT.recall.channels
    assert recipe.ranker == DEFAULT.ranker


def test_a_channel_read_again_has_the_librarys_lists(trainings: Trainings) -> None:
    data = past()
    fitted = fit_channel(RECIPE, data, INPUTS, DataRecipe())
    report = json.loads(json.dumps(fitted.report))  # as step 4 writes it
    assert report["parity"]["same"] == 1
    assert [epoch["loss"] for epoch in report["epochs"]] == [2, 1]
    packed = pack_channels(ChannelSet(data.item_numbers, (fitted.channel,)))
    (read,) = unpack_channels(packed).channels
    assert isinstance(read, Encoder)
    assert read.newest == bundles.HISTORY


def test_lists_that_differ_from_the_librarys_are_refused(trainings: Trainings) -> None:
    train()
    (kept,) = trainings[0].parent.iterdir()
    table = pd.read_parquet(kept / "expected.parquet")
    table["scores"] += 1
    table.to_parquet(kept / "expected.parquet")
    with pytest.raises(StepError, match=r"first difference: user 0"):
        train()
    (kept / "encoder.onnx").write_bytes(b"nothing")
    with pytest.raises(StepError, match=r"encoder\.onnx: .* train it again"):
        train()


def test_other_settings_or_events_alone_are_trained(trainings: Trainings) -> None:
    train()
    train(fusion_weight=2.0)
    assert len(trainings) == 1
    train(seed=1)
    train(disliked=0.0)
    train(events=8)
    assert len(set(trainings)) == 4


def test_the_newest_trainings_are_kept(trainings: Trainings, exchange: Path) -> None:
    for seed in range(channel.KEPT + 2):
        channel.trained(RECIPE.model_copy(update={"seed": seed}), past())
    kept = exchange / "models" / "sequence"
    assert len(list(kept.iterdir())) == channel.KEPT
    assert not list(kept.rglob("windows.parquet"))


def test_windows_have_each_event_once_as_a_target() -> None:
    data = events_of([[1, 2, 3, 4, 5], [6, 7, 8]], [[5] * 5, [5] * 3], n_items=8)
    rows, of = windows(data, 2)
    assert data.items[rows].tolist() == [1, 2, 3, 3, 4, 5, 6, 7, 8]
    assert of.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_settings_and_events_are_handed_over(exchange: Path, script: Script) -> None:
    script("echo start; echo epoch 1 0.5; exit 1")
    with pytest.raises(StepError):
        channel.trained(RECIPE.model_copy(update={"disliked": 0.5}), past())
    (folder,) = (exchange / "models" / "sequence").iterdir()
    assert folder.suffix == ".part"
    assert json.loads((folder / "settings.json").read_text("utf-8"))["disliked"] == 0.5
    events = pd.read_parquet(folder / "events.parquet")
    assert (events["item"].astype(int) == past().items - 1).all()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("echo no network; exit 2", "registry"),
        ("echo start; echo epoch 1 0.5; echo out of memory; exit 1", "out of memory"),
    ],
)
def test_a_failed_training_says_what_failed(
    script: Script, tmp_path: Path, text: str, message: str
) -> None:
    script(text)
    with pytest.raises(StepError, match=message):
        channel.run(tmp_path, RECIPE)


def test_the_exporters_functions_are_on_the_trainings_path(
    script: Script, tmp_path: Path
) -> None:
    script(f"echo start; echo $PYTHONPATH > {tmp_path}/path")
    channel.run(tmp_path, RECIPE)
    assert (Path((tmp_path / "path").read_text().strip()) / "write.py").is_file()


def test_without_uv_the_step_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel.shutil, "which", lambda *_, **__: None)
    with pytest.raises(StepError, match="make setup"):
        channel.run(tmp_path, RECIPE)
