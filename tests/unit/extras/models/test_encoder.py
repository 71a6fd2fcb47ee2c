from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest

from data_exchange_center.channels import ChannelSet, Requests
from data_exchange_center.history import History
from data_exchange_center.recipes import recipe_called
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from extras.models.__main__ import export_events, import_model
from extras.models.bundle import BundleError
from extras.models.encoder import Encoder, extend_to_query, session
from offline.models.kinds import fit_channels
from offline.preprocess import s0_get_data, s1_data_split
from offline.readers import read_inputs
from offline_to_online.rows import recall_state
from offline_to_online.stores.triton import config_pbtxt
from tests.made_up_data import shop
from tests.unit.extras.models import encoders
from tests.unit.extras.models.encoders import DIMS, HISTORY
from tests.unit.extras.models.library_lists import expect_lists_of_the_library
from tests.unit.offline.synthetic import run_steps

NOW = 10_000_000


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("encoders")
    settings = Settings(
        data=shop(folder / "data", users=60, items=70, views=900),
        exchange_dir=folder / "exchange",
    )
    for step in (s0_get_data, s1_data_split):
        step.main(settings)
    export_events(settings, folder / "events")
    return settings


def events(data: Settings, name: str = "events") -> pd.DataFrame:
    return pd.read_parquet(data.exchange_dir.parent / "events" / f"{name}.parquet")


@pytest.fixture
def settings(
    data: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    monkeypatch.setenv("RECSYS_EXCHANGE_DIR", str(tmp_path / "exchange"))
    (tmp_path / "exchange").mkdir()
    (tmp_path / "exchange" / "offline").symlink_to(data.offline_dir)
    return data.model_copy(update={"exchange_dir": tmp_path / "exchange"})


# --- the bundle


@pytest.mark.parametrize("times", [False, True], ids=["items", "items and times"])
@pytest.mark.parametrize("cosine", [False, True], ids=["dot", "cosine"])
def test_an_encoder_equal_to_its_library_is_imported(
    settings: Settings, data: Settings, tmp_path: Path, times: bool, cosine: bool
) -> None:
    folder = encoders.written(
        tmp_path / "bundle", events(data), times=times, cosine=cosine
    )
    (channel,) = recipe_called(
        str(import_model(settings, folder, with_default=False))
    ).recall.channels
    assert channel.kind == "imported_encoder"
    assert channel.model_dump()["history"] == HISTORY
    assert channel.model_dump()["times"] is times


def other_about(**given: str) -> Callable[[Path], None]:
    def changed(folder: Path) -> None:
        path = folder / "model.toml"
        lines = dict(
            line.split(" = ") for line in path.read_text(encoding="utf-8").splitlines()
        )
        lines |= given
        path.write_text(
            "".join(f"{key} = {value}\n" for key, value in lines.items() if value),
            encoding="utf-8",
        )

    return changed


def other_model(**given: object) -> Callable[[Path], None]:
    def changed(folder: Path) -> None:
        size = len(pd.read_parquet(folder / "items.parquet")) + 1
        embedding = np.random.default_rng(0).normal(
            size=(size, int(str(given.get("dims", DIMS))))
        )
        more = {key: value for key, value in given.items() if key != "dims"}
        onnx.save(
            encoders.model(embedding * given.get("scale", 1), **more),
            folder / "encoder.onnx",
        )  # type: ignore[arg-type]

    return changed


def with_unknown_operator(folder: Path) -> None:
    proto = onnx.load(folder / "encoder.onnx")
    proto.graph.node[-1].domain = "mine"
    proto.graph.node[-1].op_type = "Magic"
    proto.opset_import.append(onnx.helper.make_opsetid("mine", 1))
    onnx.save(proto, folder / "encoder.onnx")


def with_fixed_batch(folder: Path) -> None:
    proto = onnx.load(folder / "encoder.onnx")
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(proto, folder / "encoder.onnx")


def with_batch_of_two_inside(folder: Path) -> None:
    proto = onnx.load(folder / "encoder.onnx")
    proto.graph.initializer.append(
        onnx.numpy_helper.from_array(np.array([2, DIMS]), "shape")
    )
    last = proto.graph.node[-1]
    last.op_type, last.input[:] = "Reshape", [last.input[0], "shape"]
    onnx.save(proto, folder / "encoder.onnx")


def without_padding_row(folder: Path) -> None:
    size = len(pd.read_parquet(folder / "items.parquet"))
    onnx.save(
        encoders.model(np.random.default_rng(0).normal(size=(size, DIMS))),
        folder / "encoder.onnx",
    )


def with_nan(folder: Path) -> None:
    proto = onnx.load(folder / "encoder.onnx")
    (stored,) = (each for each in proto.graph.initializer if each.name == "embedding")
    stored.CopyFrom(
        onnx.numpy_helper.from_array(
            onnx.numpy_helper.to_array(stored) * np.float32(np.nan), "embedding"
        )
    )
    onnx.save(proto, folder / "encoder.onnx")


def with_other_ids(folder: Path) -> None:
    table = pd.read_parquet(folder / "items.parquet")
    table.assign(id=[*table["id"][:-1], "nowhere"]).to_parquet(folder / "items.parquet")


BROKEN: dict[str, tuple[Callable[[Path], None], str]] = {
    "no encoder.onnx": (
        lambda folder: (folder / "encoder.onnx").unlink(),
        "encoder.onnx",
    ),
    "no ONNX": (
        lambda folder: (folder / "encoder.onnx").write_bytes(b"\x00nothing"),
        "cannot be read as an ONNX",
    ),
    "no history length": (other_about(history_length=""), "history_length"),
    "history length of 0": (other_about(history_length="0"), "history_length"),
    "another history length": (other_about(history_length="7"), "['batch', 7]"),
    "another number of inputs": (
        other_about(inputs='["items", "times"]'),
        "has the inputs",
    ),
    "an unknown input": (other_about(inputs='["words"]'), "inputs"),
    "other dimensions": (other_model(dims=3), "['batch', 5]"),
    "a fixed batch": (with_fixed_batch, "any batch"),
    "a batch of 2 inside": (with_batch_of_two_inside, "cannot run it for 1 users"),
    "an embedding without padding": (without_padding_row, "0 is padding"),
    "an opset that is too new": (other_model(opset=22), "opset 22"),
    "an unknown operator": (with_unknown_operator, "cannot run it"),
    "NaN": (with_nan, "not numbers"),
    "an unknown item": (with_other_ids, "nowhere"),
    "another model's lists": (other_model(), "first difference"),
}


@pytest.mark.parametrize(("broken", "says"), BROKEN.values(), ids=BROKEN)
def test_a_broken_encoder_is_refused_in_one_sentence(
    settings: Settings,
    data: Settings,
    tmp_path: Path,
    broken: Callable[[Path], None],
    says: str,
) -> None:
    folder = encoders.written(tmp_path / "bundle", events(data))
    broken(folder)
    with pytest.raises(BundleError) as raised:
        import_model(settings, folder, with_default=False)
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not (settings.exchange_dir / "models").exists()


def test_weights_among_the_inputs_are_no_inputs(
    settings: Settings, data: Settings, tmp_path: Path
) -> None:
    folder = encoders.written(tmp_path / "bundle", events(data))
    proto = onnx.load(folder / "encoder.onnx")
    for each in proto.graph.initializer:
        proto.graph.input.append(
            onnx.helper.make_tensor_value_info(each.name, each.data_type, each.dims)
        )
    onnx.save(proto, folder / "encoder.onnx")
    recipe = recipe_called(str(import_model(settings, folder, with_default=False)))
    inputs = read_inputs(settings)
    (fitted,) = fit_channels(inputs.data, inputs, recipe)
    assert isinstance(fitted.channel, Encoder)
    assert 'name: "items"' in (
        text := config_pbtxt("mine", fitted.channel.onnx.tobytes())
    )
    assert "embedding" not in text


def test_a_failing_run_is_one_sentence() -> None:
    one, _ = channel()
    with pytest.raises(StepError, match="encoder mine: ONNX Runtime cannot run it"):
        replace(one, codes=one.codes + 5).user_vectors(requests([9]))


def test_a_training_encoder_of_another_history_is_refused(
    settings: Settings, data: Settings, tmp_path: Path
) -> None:
    folder = encoders.written(tmp_path / "bundle", events(data))
    encoders.written(folder / "training", events(data, "events-training"), times=True)
    with pytest.raises(BundleError, match="history_length and inputs"):
        import_model(settings, folder, with_default=True)


def test_with_default_the_training_encoder_makes_the_lists(
    settings: Settings, data: Settings, tmp_path: Path
) -> None:
    folder = encoders.written(tmp_path / "bundle", events(data))
    encoders.written(folder / "training", events(data, "events-training"), seed=1)
    recipe = recipe_called(str(import_model(settings, folder, with_default=True)))
    assert [channel.name for channel in recipe.recall.channels] == [
        "tower",
        "ease",
        "mine",
    ]
    inputs = read_inputs(settings)
    alone = recipe.model_copy(
        update={
            "recall": recipe.recall.model_copy(
                update={"channels": recipe.recall.channels[2:]}
            )
        }
    )
    now, earlier = (
        fit_channels(past, inputs, alone)[0].channel
        for past in (inputs.data, inputs.data.earlier(0.6))
    )
    assert isinstance(now, Encoder)
    assert isinstance(earlier, Encoder)
    assert now.onnx.tobytes() != earlier.onnx.tobytes()


def test_the_steps_answer_with_the_lists_of_the_library(
    data: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, exchange = (
        encoders.written(tmp_path / "bundle", events(data)),
        tmp_path / "exchange",
    )
    monkeypatch.setenv("RECSYS_EXCHANGE_DIR", str(exchange))
    shutil.copytree(data.exchange_dir, exchange)
    alone = data.model_copy(update={"exchange_dir": exchange})
    recipe = import_model(alone, folder, with_default=False)
    settings = run_steps(alone.model_copy(update={"recipe_name": str(recipe)}))
    (held,) = ChannelSet.unpack(recall_state(exchange).channels).encoded
    assert (
        len(held.onnx) == 0
    )  # Triton gets the model, a server does not read it from Redis
    expect_lists_of_the_library(settings, folder)


# --- the channel


def channel(times: bool = False, known: int = 9) -> tuple[Encoder, np.ndarray]:
    """An encoder of nine items, of which the last are unknown to it; and its embedding."""
    rng = np.random.default_rng(3)
    embedding = np.vstack([np.zeros(DIMS), rng.normal(size=(9, DIMS))])
    codes = np.where(np.arange(10) <= known, np.arange(10), 0)
    folded = encoders.model(embedding, times)
    extend_to_query(folded, unit=False)
    model = np.frombuffer(folded.SerializeToString(), np.uint8)
    items = rng.normal(size=(10, DIMS + 2)).astype(np.float32)
    return Encoder("mine", model, HISTORY, times, codes, items, codes > 0), embedding


def requests(*histories: list[int]) -> Requests:
    """Requests of users with these items, newest first, an event a minute."""
    items = np.array([history + [0] * (8 - len(history)) for history in histories])
    times = np.where(items > 0, NOW - 60 * np.arange(1, 9), 0)
    lengths = np.array([len(history) for history in histories])
    return Requests(
        items,
        items,
        times,
        lengths,
        np.zeros((len(items), 0), int),
        np.full(len(items), NOW),
    )


@pytest.mark.parametrize("times", [False, True])
def test_user_vectors_are_the_models_for_the_newest_events(times: bool) -> None:
    one, embedding = channel(times)
    given = requests([3], [4, 1], [9, 8, 7, 6, 5, 4, 3, 2])
    found = one.user_vectors(given)
    for row, (items, seconds) in enumerate(zip(given.items, given.times, strict=True)):
        codes, then = (
            items[:HISTORY][items[:HISTORY] > 0][::-1],
            seconds[:HISTORY][items[:HISTORY] > 0][::-1],
        )
        expected = encoders.vector(embedding, codes, then if times else None, NOW)
        np.testing.assert_allclose(found[row], [*expected, 1, 0], rtol=1e-5, atol=1e-6)


def test_items_that_the_encoder_lacks_are_skipped() -> None:
    one, embedding = channel(known=5)
    (found,) = one.user_vectors(requests([9, 2, 8, 1]))
    np.testing.assert_allclose(
        found[:-2], encoders.vector(embedding, np.array([1, 2])), rtol=1e-5, atol=1e-6
    )


def test_unknown_items_do_not_push_known_ones_out() -> None:
    one, embedding = channel(times=True, known=2)
    given = requests([9, 8, 7, 6, 5, 4, 2, 1])
    (found,) = one.user_vectors(given)
    expected = encoders.vector(embedding, np.array([1, 2]), given.times[0, [7, 6]], NOW)
    np.testing.assert_allclose(found[:-2], expected, rtol=1e-5, atol=1e-6)


def test_without_a_known_event_there_is_no_vector() -> None:
    one, _ = channel(known=5)
    assert np.isnan(one.user_vectors(requests([], [9, 8], [1]))).all(
        axis=1
    ).tolist() == [True, True, False]
    assert one.inputs(requests([], [9])) == {}


def test_a_server_holds_no_model_and_gives_inputs_alone() -> None:
    one, _ = channel()
    whole = ChannelSet(np.arange(101, 110), (one,))
    held = ChannelSet.unpack(whole.pack()).without_encoders()
    assert len(held.encoded[0].onnx) == 0
    assert held.encoded[0].onnx.base is None  # the model's memory is freed
    history = History(
        np.array([103, 101]), np.array([1, 1]), np.array([NOW - 1, NOW - 2])
    )
    nothing = np.zeros(0, np.int32)
    assert held.query_vectors(history, nothing, NOW) == {}
    (tensors,) = held.encoder_inputs(history, nothing, NOW).values()
    assert tensors["items"].tolist() == [[0] * (HISTORY - 2) + [1, 3]]
    assert held.encoder_inputs(History.empty(), nothing, NOW) == {}
    (expected,) = whole.query_vectors(history, nothing, NOW).values()
    (got,) = session(one.onnx.tobytes()).run(None, dict(tensors))
    assert np.array_equal(got[0], expected)


def test_channels_without_encoders_stay_the_same_object() -> None:
    plain = ChannelSet(np.arange(3), ())
    assert plain.without_encoders() is plain


def test_tritons_configuration_is_that_of_the_file() -> None:
    one, _ = channel(times=True)
    text = config_pbtxt("ml_encoder_mine-abc", one.onnx.tobytes())
    assert 'name: "items" data_type: TYPE_INT64 dims: [ -1, 6 ]' in text
    assert 'name: "times" data_type: TYPE_INT64 dims: [ -1, 7 ]' in text
    assert (
        'output [ { name: "ml_output" data_type: TYPE_FP32 dims: [ -1, 7 ] } ]' in text
    )
    assert "max_batch_size: 0" in text


def test_a_channel_survives_the_release_file() -> None:
    one, _ = channel(times=True)
    (again,) = ChannelSet.unpack(ChannelSet(np.arange(9), (one,)).pack()).channels
    assert isinstance(again, Encoder)
    given = requests([4, 1])
    assert np.array_equal(again.user_vectors(given), one.user_vectors(given))
    assert replace(again, onnx=np.empty(0, np.uint8)).timed is True
