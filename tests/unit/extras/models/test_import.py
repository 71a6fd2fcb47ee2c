from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import onnx
import pandas as pd
import pytest

from data_exchange_center import artifacts
from data_exchange_center.channel_file import unpack_channels
from data_exchange_center.recipes import Recipe, recipe_called
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from extras import replay
from extras.models.__main__ import import_model, own_ids
from extras.models.bundle import EXPECTED, BundleError
from offline.readers import read_inputs, read_with_holdout
from offline.recall.s2_vector_recall import fit_channel, fit_channels
from offline_to_online.rows import recall_state
from tests.unit.extras.models.bundles import (
    DIMS,
    Change,
    about,
    change,
    encoder,
    events,
    removed,
    rewritten,
    written,
)
from tests.unit.offline.synthetic import run_steps

KINDS = ("vectors", "encoder")


@pytest.fixture
def bundle(data: Settings, tmp_path: Path) -> Path:
    """A whole bundle of vectors."""
    return written(tmp_path / "bundle", "vectors", events(data))


def test_exported_events_have_own_ids_and_no_holdout(data: Settings) -> None:
    inputs, rows = read_inputs(data), events(data)
    assert len(rows) == len(inputs.data.items)
    assert set(rows["item"]) <= set(artifacts.ITEMS.read(data.artifacts_dir)["id"])
    assert rows["user"].str.startswith("u-").all()


def test_rounding_of_small_scores_is_no_difference(
    settings: Settings, bundle: Path
) -> None:
    """Where a user's own items have scores a thousand times as large, as ALS gives them."""
    expected = pd.read_parquet(bundle / EXPECTED)[:1]
    listed = pd.read_parquet(bundle / "items.parquet")["id"].isin(expected["items"][0])
    expected["scores"] = [expected["scores"][0] * (1 + 1e-4)]
    expected.to_parquet(bundle / EXPECTED)
    factors = np.where(listed, 1, 1_000)
    change("items.parquet", vector=lambda table: table["vector"] * factors)(bundle)
    assert import_model(settings, bundle).is_file()


def refused(settings: Settings, folder: Path, says: str) -> None:
    with pytest.raises(BundleError) as raised:
        import_model(settings, folder)
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not (settings.exchange_dir / "models").exists()


def without_last(name: str, known: str) -> Change:
    """The last id is unknown."""
    return change(name, id=lambda table: [*table["id"][:-1], known])


def first_three(column: str) -> Callable[[pd.DataFrame], object]:
    return lambda table: [row[:3] for row in table[column]]


THREE_ITEMS, THREE_SCORES = first_three("items"), first_three("scores")


def backwards(table: pd.DataFrame) -> object:
    return [row[::-1] for row in table["items"]]


def ragged(table: pd.DataFrame) -> object:
    return [table["vector"][0][:2], *table["vector"][1:]]


def nans(table: pd.DataFrame) -> object:
    return table["vector"] * np.nan


def with_fixed_batch(folder: Path) -> None:
    proto = onnx.load(folder / "encoder.onnx")
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(proto, folder / "encoder.onnx")


def model(rows: int = 1, dims: int = DIMS, opset: int = 18, scale: float = 1) -> Change:
    """Another ONNX model, with an embedding of the items and ``rows`` more."""

    def changed(folder: Path) -> None:
        size = len(pd.read_parquet(folder / "items.parquet")) + rows
        embedding = np.random.default_rng(0).normal(size=(size, dims))
        onnx.save(encoder(scale * embedding, opset), folder / "encoder.onnx")

    return changed


BROKEN: dict[str, list[tuple[Change, str]]] = {
    "vectors": [
        (removed("model.toml"), "model.toml"),
        (about(name="M-1"), "name"),
        (without_last("items.parquet", "nowhere"), "nowhere"),
        (change("items.parquet", id=lambda table: table["id"][1]), "twice"),
        (change("users.parquet", vector=first_three("vector")), "dimensions"),
        (change("items.parquet", vector=ragged), "same number"),
        (change("items.parquet", vector=nans), "not numbers"),
        (change(EXPECTED, scores=THREE_SCORES), "as many finite scores"),
        (change(EXPECTED, items=THREE_ITEMS, scores=THREE_SCORES), "3 items"),
        (change(EXPECTED, items=backwards), "first difference"),
        (change(EXPECTED, scores=lambda table: table["scores"] * 1.01), "first diff"),
    ],
    "encoder": [
        (rewritten("encoder.onnx", "\0nothing"), "cannot be read as an ONNX"),
        (about(history_length=0), "history_length"),
        (model(dims=3), "vectors of 5"),
        (with_fixed_batch, "any batch"),
        (model(rows=0), "0 is padding"),
        (model(opset=22), "opset 22"),
        (model(scale=np.nan), "not numbers"),
        (model(), "first difference"),
    ],
}


@pytest.mark.parametrize(
    ("kind", "broken", "says"),
    [(kind, *case) for kind, cases in BROKEN.items() for case in cases],
)
def test_a_broken_bundle_is_refused_and_nothing_written(
    settings: Settings,
    data: Settings,
    tmp_path: Path,
    kind: str,
    broken: Change,
    says: str,
) -> None:
    folder = written(tmp_path / "bundle", kind, events(data))
    broken(folder)
    refused(settings, folder, says)


@pytest.mark.parametrize("name", ["ease", "tower", "fm", "fused", "source"])
def test_a_taken_name_is_refused(settings: Settings, bundle: Path, name: str) -> None:
    about(name=name)(bundle)
    refused(settings, bundle, "taken")


def test_a_recipe_is_found_after_the_exchange_folder_moved(
    settings: Settings, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = import_model(settings, bundle)
    inputs, moved = read_inputs(settings), tmp_path / "moved"
    settings.exchange_dir.rename(moved)
    monkeypatch.setenv("RECSYS_EXCHANGE_DIR", str(moved))
    recipe = recipe_called(str(moved / "models" / out.name))
    assert fit_channels(inputs.data, inputs, recipe)


def test_an_interrupted_import_leaves_the_earlier_one(
    settings: Settings,
    data: Settings,
    bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = import_model(settings, bundle)
    second = written(tmp_path / "second", "vectors", events(data), seed=1)
    before, inputs = out.read_text(), read_inputs(settings)
    with monkeypatch.context() as patch:
        patch.setattr(Recipe, "model_dump_json", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            import_model(settings, second)
    assert out.read_text() == before
    assert fit_channels(inputs.data, inputs, recipe_called(str(out)))
    import_model(settings, second)
    assert sorted(path.suffix for path in out.parent.iterdir()) == [".json", ".npz"]


def test_a_past_that_lacks_what_the_model_saw_is_refused(
    settings: Settings, bundle: Path
) -> None:
    recipe = recipe_called(str(import_model(settings, bundle)))
    inputs = read_inputs(settings)
    (channel,) = recipe.recall.channels
    # the lists that the ranker `order` learns nothing from
    assert fit_channel(channel, inputs.data.earlier(0.6), inputs, recipe.data)
    shorter = inputs.data.before_last(1)
    with pytest.raises(StepError, match="trained on"):
        fit_channel(channel, shorter, replace(inputs, data=shorter), recipe.data)


@pytest.mark.parametrize("kind", KINDS)
def test_the_steps_answer_with_the_lists_of_the_library(
    data: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """The lists of the holdout's requests are the first 20 of the bundle's own."""
    folder = written(tmp_path / "bundle", kind, events(data))
    exchange = tmp_path / "exchange"
    monkeypatch.setenv("RECSYS_EXCHANGE_DIR", str(exchange))
    shutil.copytree(data.exchange_dir, exchange)
    settings = data.model_copy(update={"exchange_dir": exchange})
    recipe = import_model(settings, folder)
    settings = run_steps(settings.model_copy(update={"recipe_name": str(recipe)}))
    inputs = read_with_holdout(settings)
    holdout = replay.hold_out(inputs.data, inputs.dataset.holdout)
    found = replay.answers(settings, holdout).ranked
    expected = pd.read_parquet(folder / EXPECTED).set_index("id")["items"]
    users, items = own_ids(settings)
    # a request does not know the events of its own second
    whole = holdout.known.lengths == holdout.past.lengths
    assert whole.sum() > 40
    for user, codes in zip(users[whole], found[whole], strict=True):
        # a user of a single event has none; some end in equal scores
        wanted = list(expected.get(user, ()))[:20]
        assert items[codes[: len(wanted)] - 1].tolist() == wanted
    if kind == "encoder":  # Triton gets the model, a server does not read it from Redis
        state = recall_state(settings.artifacts_dir)
        (held,) = unpack_channels(state.channels).encoded
        assert len(held.onnx) == 0
