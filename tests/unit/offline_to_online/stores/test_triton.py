from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
import requests
import torch
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from data_exchange_center import wire
from data_exchange_center.recipes import RECIPES
from data_exchange_center.release import release_of_artifacts
from data_exchange_center.settings import Settings, TritonSettings
from data_exchange_center.steps import CheckError
from offline_to_online.export.onnx_export import MAX_IR, OPSET, check_onnx, export_onnx, read_model_file
from offline_to_online.parity.offline_truth import OfflineTruth, offline_truth
from offline_to_online.stores import triton_repo, triton_server
from offline_to_online.stores.triton import TritonStore
from offline_to_online.stores.triton_server import Place
from tests.synthetic_release import write_artifacts


@pytest.fixture(scope="module", params=RECIPES)
def truth(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> OfflineTruth:
    """Of either recipe: a ranker is a ranker."""
    folder = tmp_path_factory.mktemp(request.param)
    write_artifacts(folder, recipe=request.param)
    return offline_truth(folder, release_of_artifacts(Settings(exchange_dir=folder, recipe_name=request.param)))


@pytest.fixture(scope="module")
def exported(truth: OfflineTruth) -> bytes:
    return export_onnx(truth.model, truth.spec.width, "aaaaaaaaaaaa")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(exchange_dir=tmp_path)


@pytest.mark.parametrize("width", [59, 62])
def test_the_configuration_is_what_the_spec_says(width: int) -> None:
    config = text_format.Parse(triton_repo.config_pbtxt(wire.MODEL, width), model_config_pb2.ModelConfig())
    assert config.name == "ml_rec"
    assert config.max_batch_size == 256
    assert [(entry.name, entry.data_type, list(entry.dims)) for entry in config.input] == [
        ("ml_input", model_config_pb2.TYPE_FP32, [width])
    ]
    assert [(entry.name, entry.data_type, list(entry.dims)) for entry in config.output] == [
        ("ml_output", model_config_pb2.TYPE_FP32, [1])
    ]
    assert (config.backend, config.platform) == ("onnxruntime", "onnxruntime_onnx")
    assert config.version_policy.WhichOneof("policy_choice") == "all"


def test_the_export_is_in_the_pinned_dialect_with_the_promised_names(exported: bytes, truth: OfflineTruth) -> None:
    proto = onnx.load_from_string(exported)
    assert proto.ir_version <= MAX_IR
    assert {entry.domain: entry.version for entry in proto.opset_import}[""] == OPSET
    (given,), (result,) = proto.graph.input, proto.graph.output
    assert (given.name, result.name) == (wire.MODEL_INPUT, wire.MODEL_OUTPUT)
    rows, width = given.type.tensor_type.shape.dim
    assert rows.dim_param  # any number of rows
    assert width.dim_value == truth.spec.width


def test_the_export_says_nothing_of_the_machine_it_was_made_on(exported: bytes) -> None:
    assert str(Path(__file__).parents[3]).encode() not in exported


def test_the_same_weights_give_the_same_bytes(exported: bytes, truth: OfflineTruth) -> None:
    assert export_onnx(truth.model, truth.spec.width, "aaaaaaaaaaaa") == exported


def test_the_export_scores_as_pytorch_does(exported: bytes, truth: OfflineTruth) -> None:
    assert check_onnx(exported, truth.model, truth.sampled_rows(300)) <= 1e-6


def test_an_export_of_other_weights_is_caught(exported: bytes, truth: OfflineTruth) -> None:
    class Drifted(torch.nn.Module):
        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            scores: torch.Tensor = truth.model(rows) + 1e-4
            return scores

    with pytest.raises(CheckError, match=r"row \d+: ONNX Runtime scores"):
        check_onnx(exported, Drifted(), truth.sampled_rows(10))


def test_a_dialect_that_is_too_new_is_caught(exported: bytes, truth: OfflineTruth) -> None:
    proto = onnx.load_from_string(exported)
    proto.ir_version = MAX_IR + 1
    with pytest.raises(CheckError, match=f"IR {MAX_IR + 1}"):
        check_onnx(proto.SerializeToString(), truth.model, truth.sampled_rows(10))


def of_release(exported: bytes, release: str) -> bytes:
    proto = onnx.load_from_string(exported)
    onnx.helper.set_model_props(proto, {"release": release})
    content: bytes = proto.SerializeToString()
    return content


def test_a_release_keeps_its_version_and_the_next_one_gets_the_next(
    settings: Settings, exported: bytes, truth: OfflineTruth
) -> None:
    width = truth.spec.width
    first, second = (of_release(exported, release) for release in ("aaaaaaaaaaaa", "bbbbbbbbbbbb"))
    assert triton_repo.write_version(settings, "aaaaaaaaaaaa", width, first) == Place("ml_rec", 1)
    assert triton_repo.write_version(settings, "bbbbbbbbbbbb", width, second) == Place("ml_rec", 2)
    assert triton_repo.write_version(settings, "aaaaaaaaaaaa", width, first) == Place("ml_rec", 1)
    assert {place.version: model.release for place, model in triton_repo.versions(settings).items()} == {
        1: "aaaaaaaaaaaa",
        2: "bbbbbbbbbbbb",
    }


def test_other_bytes_of_a_release_become_a_version_of_their_own(
    settings: Settings, exported: bytes, truth: OfflineTruth
) -> None:
    """The version that is there may be served: it is not written over before the new one is checked."""
    first = triton_repo.write_version(settings, "aaaaaaaaaaaa", truth.spec.width, exported)
    path = triton_repo.folder_of(settings, first) / triton_repo.MODEL_FILE
    proto = onnx.load_from_string(exported)
    proto.graph.initializer[0].raw_data = bytes(len(proto.graph.initializer[0].raw_data))
    other = proto.SerializeToString()
    second = triton_repo.write_version(settings, "aaaaaaaaaaaa", truth.spec.width, other)
    assert (first, second) == (Place("ml_rec", 1), Place("ml_rec", 2))
    assert path.read_bytes() == exported
    assert triton_repo.place_of(settings, "aaaaaaaaaaaa") == second


def test_the_mark_of_a_check_holds_for_these_bytes_alone(
    settings: Settings, exported: bytes, truth: OfflineTruth
) -> None:
    place = triton_repo.write_version(settings, "aaaaaaaaaaaa", truth.spec.width, exported)
    assert not triton_repo.is_checked(settings, place)
    triton_repo.mark_checked(settings, place)
    assert triton_repo.is_checked(settings, place)
    (triton_repo.folder_of(settings, place) / triton_repo.MODEL_FILE).write_bytes(of_release(exported, "cccccccccccc"))
    assert not triton_repo.is_checked(settings, place)


def test_what_a_broken_off_write_left_behind_is_no_version(
    settings: Settings, exported: bytes, truth: OfflineTruth
) -> None:
    folder = settings.service_dir("triton") / wire.MODEL
    rest = folder / ".aaaaaaaaaaaa"
    rest.mkdir(parents=True)
    (rest / triton_repo.MODEL_FILE).write_bytes(exported[:100])
    assert triton_repo.versions(settings) == {}
    assert triton_repo.write_version(settings, "aaaaaaaaaaaa", truth.spec.width, exported) == Place("ml_rec", 1)
    assert sorted(path.name for path in folder.iterdir()) == ["1", "config.pbtxt"]


def test_an_untouched_configuration_keeps_its_time_stamp(
    settings: Settings, exported: bytes, truth: OfflineTruth
) -> None:
    """Triton loads all versions again when the configuration is newer."""
    triton_repo.write_version(settings, "aaaaaaaaaaaa", truth.spec.width, exported)
    config = settings.service_dir("triton") / wire.MODEL / "config.pbtxt"
    before = config.stat().st_mtime_ns
    triton_repo.write_version(settings, "aaaaaaaaaaaa", truth.spec.width, exported)
    assert config.stat().st_mtime_ns == before


def of_width(exported: bytes, release: str, width: int) -> bytes:
    """The release's model announcing another number of columns."""
    proto = onnx.load_from_string(of_release(exported, release))
    proto.graph.input[0].type.tensor_type.shape.dim[1].dim_value = width
    content: bytes = proto.SerializeToString()
    return content


def test_another_width_stands_beside_the_first_under_a_name_of_its_own(
    settings: Settings, exported: bytes, truth: OfflineTruth
) -> None:
    width, other = truth.spec.width, of_width(exported, "bbbbbbbbbbbb", 62)
    assert triton_repo.write_version(settings, "aaaaaaaaaaaa", width, exported) == Place("ml_rec", 1)
    assert triton_repo.write_version(settings, "bbbbbbbbbbbb", 62, other) == Place("ml_rec_62", 1)
    assert triton_repo.write_version(settings, "bbbbbbbbbbbb", 62, other) == Place("ml_rec_62", 1)
    assert triton_repo.model_for(settings, width) == "ml_rec"
    assert triton_repo.models(settings) == ["ml_rec", "ml_rec_62"]
    for model, columns in (("ml_rec", width), ("ml_rec_62", 62)):
        text = (settings.service_dir("triton") / model / "config.pbtxt").read_text()
        assert text == triton_repo.config_pbtxt(model, columns)


def record_call(calls: list[tuple[str, str]], name: str, _: TritonSettings, model: str) -> None:
    calls.append((name, model))


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What Triton would have been told, in order."""
    calls: list[tuple[str, str]] = []
    for name in ("load_model", "unload_model"):
        record = partial(record_call, calls, name)
        monkeypatch.setattr(triton_server, name, record)
        if name == "load_model":
            monkeypatch.setattr(triton_repo, name, record)
    return calls


def test_deleting_goes_over_all_models_and_an_empty_one_goes_away(
    settings: Settings, exported: bytes, truth: OfflineTruth, told: list[tuple[str, str]]
) -> None:
    width, store = truth.spec.width, TritonStore(settings)
    for release in ("aaaaaaaaaaaa", "bbbbbbbbbbbb"):
        triton_repo.write_version(settings, release, width, of_release(exported, release))
    other = triton_repo.write_version(settings, "cccccccccccc", 62, of_width(exported, "cccccccccccc", 62))
    store.delete({"aaaaaaaaaaaa"})
    assert store.releases() == {"bbbbbbbbbbbb", "cccccccccccc"}
    assert told == [("load_model", "ml_rec")]
    told.clear()
    store.delete({"bbbbbbbbbbbb"})
    assert told == [("unload_model", "ml_rec")]
    assert triton_repo.models(settings) == [other.model] == ["ml_rec_62"]
    told.clear()
    store.delete({"aaaaaaaaaaaa"})
    assert told == []
    assert store.releases() == {"cccccccccccc"}


@pytest.mark.parametrize("error", [requests.ReadTimeout("too slow"), KeyboardInterrupt(), CheckError("not ready")])
def test_a_version_that_does_not_come_up_is_taken_back_whatever_the_reason(
    settings: Settings,
    exported: bytes,
    truth: OfflineTruth,
    told: list[tuple[str, str]],
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
) -> None:
    def fail(*_: object) -> None:
        raise error

    live = triton_repo.write_version(settings, "aaaaaaaaaaaa", truth.spec.width, exported)
    monkeypatch.setattr(triton_repo, "wait_until_ready", fail)
    with pytest.raises(type(error)):
        triton_repo.publish(settings, "bbbbbbbbbbbb", truth.spec.width, of_release(exported, "bbbbbbbbbbbb"))
    assert list(triton_repo.versions(settings)) == [live]
    with pytest.raises(type(error)):
        triton_repo.publish(settings, "aaaaaaaaaaaa", truth.spec.width, exported)
    assert list(triton_repo.versions(settings)) == [live]  # it was there before


def test_a_file_that_is_no_model_is_named(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"not a model")
    with pytest.raises(CheckError, match=r"model\.onnx is not an exported ranking model"):
        read_model_file(path)


def test_real_rows_are_the_same_every_time(truth: OfflineTruth) -> None:
    rows = truth.sampled_rows(50)
    assert rows.shape == (50, truth.spec.width)
    assert np.array_equal(rows, truth.sampled_rows(50))
