from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from data_exchange_center import wire
from data_exchange_center.settings import Settings
from offline_to_online.load import triton_repo
from offline_to_online.load.offline_truth import OfflineTruth, offline_truth
from offline_to_online.load.onnx_export import MAX_IR, OPSET, check_onnx, export_onnx, read_model_file
from offline_to_online.load.services import CheckError
from tests.synthetic_release import write_artifacts


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> OfflineTruth:
    folder = tmp_path_factory.mktemp("exchange")
    write_artifacts(folder)
    return offline_truth(folder)


@pytest.fixture(scope="module")
def exported(truth: OfflineTruth) -> bytes:
    return export_onnx(truth.model, truth.spec.width, "aaaaaaaaaaaa")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(exchange_dir=tmp_path)


@pytest.mark.parametrize("width", [59, 62])
def test_the_configuration_is_what_the_spec_says(width: int) -> None:
    config = text_format.Parse(triton_repo.config_pbtxt(width), model_config_pb2.ModelConfig())
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
            return truth.model(rows) + 1e-4

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
    assert triton_repo.write_version(settings, "aaaaaaaaaaaa", width, first) == 1
    assert triton_repo.write_version(settings, "bbbbbbbbbbbb", width, second) == 2
    assert triton_repo.write_version(settings, "aaaaaaaaaaaa", width, first) == 1
    assert {n: model.release for n, model in triton_repo.versions(settings).items()} == {
        1: "aaaaaaaaaaaa",
        2: "bbbbbbbbbbbb",
    }
    assert triton_repo.delete_versions(settings, keep={"bbbbbbbbbbbb"}) == [1]
    assert triton_repo.write_version(settings, "aaaaaaaaaaaa", width, first) == 3  # one more than the highest


def test_a_damaged_version_is_written_anew(settings: Settings, exported: bytes, truth: OfflineTruth) -> None:
    version = triton_repo.write_version(settings, "aaaaaaaaaaaa", truth.spec.width, exported)
    path = triton_repo.model_dir(settings) / str(version) / triton_repo.MODEL_FILE
    proto = onnx.load_from_string(exported)
    proto.graph.initializer[0].raw_data = bytes(len(proto.graph.initializer[0].raw_data))
    path.write_bytes(proto.SerializeToString())
    assert triton_repo.write_version(settings, "aaaaaaaaaaaa", truth.spec.width, exported) == version
    assert path.read_bytes() == exported


def test_what_a_broken_off_write_left_behind_is_no_version(
    settings: Settings, exported: bytes, truth: OfflineTruth
) -> None:
    rest = triton_repo.model_dir(settings) / ".aaaaaaaaaaaa"
    rest.mkdir(parents=True)
    (rest / triton_repo.MODEL_FILE).write_bytes(exported[:100])
    assert triton_repo.versions(settings) == {}
    assert triton_repo.write_version(settings, "aaaaaaaaaaaa", truth.spec.width, exported) == 1
    folder = triton_repo.model_dir(settings)
    assert sorted(path.name for path in folder.iterdir()) == ["1", "config.pbtxt"]


def test_an_untouched_configuration_keeps_its_time_stamp(
    settings: Settings, exported: bytes, truth: OfflineTruth
) -> None:
    """Triton loads all versions again when the configuration is newer."""
    triton_repo.write_version(settings, "aaaaaaaaaaaa", truth.spec.width, exported)
    config = triton_repo.model_dir(settings) / "config.pbtxt"
    before = config.stat().st_mtime_ns
    triton_repo.write_version(settings, "aaaaaaaaaaaa", truth.spec.width, exported)
    assert config.stat().st_mtime_ns == before


def test_a_model_of_another_width_is_refused_and_nothing_is_written(
    settings: Settings, exported: bytes, truth: OfflineTruth
) -> None:
    triton_repo.write_version(settings, "aaaaaaaaaaaa", truth.spec.width, exported)
    before = (triton_repo.model_dir(settings) / "config.pbtxt").read_text()
    with pytest.raises(CheckError, match=rf"62 input columns.*aaaaaaaaaaaa \({truth.spec.width}\)"):
        triton_repo.write_version(settings, "bbbbbbbbbbbb", 62, b"")
    assert (triton_repo.model_dir(settings) / "config.pbtxt").read_text() == before
    assert list(triton_repo.versions(settings)) == [1]


def test_a_file_that_is_no_model_is_named(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"not a model")
    with pytest.raises(CheckError, match=r"model\.onnx is not an exported ranking model"):
        read_model_file(path)


def test_real_rows_are_the_same_every_time(truth: OfflineTruth) -> None:
    rows = truth.sampled_rows(50)
    assert rows.shape == (50, truth.spec.width)
    assert np.array_equal(rows, truth.sampled_rows(50))
