from __future__ import annotations

from functools import partial
from pathlib import Path

import onnx
import pytest
import requests
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from data_exchange_center import wire
from data_exchange_center.features import Widths
from data_exchange_center.settings import Settings
from data_exchange_center.steps import CheckError
from offline_to_online.parity.offline_truth import OfflineTruth
from offline_to_online.stores import triton_repo, triton_server
from offline_to_online.stores.triton import TritonStore
from offline_to_online.stores.triton_server import Place


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(exchange_dir=tmp_path)


@pytest.mark.parametrize(
    ("widths", "batch", "inputs", "output"),
    [
        (Widths(59, 0), 256, [("ml_input", [59])], [1]),
        (Widths(62, 0), 256, [("ml_input", [62])], [1]),
        (Widths(16, 60), 0, [("ml_input", [-1, 16]), ("ml_history", [1, 60])], [-1, 1]),
    ],
)
def test_the_configuration_is_what_the_spec_says(
    widths: Widths, batch: int, inputs: list[tuple[str, list[int]]], output: list[int]
) -> None:
    config = text_format.Parse(triton_repo.config_pbtxt(wire.MODEL, widths), model_config_pb2.ModelConfig())
    assert config.name == "ml_rec"
    assert config.max_batch_size == batch
    assert [(entry.name, list(entry.dims)) for entry in config.input] == inputs
    assert [(entry.name, list(entry.dims)) for entry in config.output] == [("ml_output", output)]
    assert {entry.data_type for entry in (*config.input, *config.output)} == {model_config_pb2.TYPE_FP32}
    assert (config.backend, config.platform) == ("onnxruntime", "onnxruntime_onnx")
    assert config.version_policy.WhichOneof("policy_choice") == "all"


def of_release(exported: bytes, release: str) -> bytes:
    proto = onnx.load_from_string(exported)
    onnx.helper.set_model_props(proto, {"release": release})
    content: bytes = proto.SerializeToString()
    return content


def test_a_release_keeps_its_version_and_the_next_one_gets_the_next(
    settings: Settings, exported: bytes, truth: OfflineTruth
) -> None:
    widths = truth.spec.widths
    first, second = (of_release(exported, release) for release in ("aaaaaaaaaaaa", "bbbbbbbbbbbb"))
    assert triton_repo.write_version(settings, "aaaaaaaaaaaa", widths, first) == Place("ml_rec", 1)
    assert triton_repo.write_version(settings, "bbbbbbbbbbbb", widths, second) == Place("ml_rec", 2)
    assert triton_repo.write_version(settings, "aaaaaaaaaaaa", widths, first) == Place("ml_rec", 1)
    assert {place.version: model.release for place, model in triton_repo.versions(settings).items()} == {
        1: "aaaaaaaaaaaa",
        2: "bbbbbbbbbbbb",
    }


def test_other_bytes_of_a_release_become_a_version_of_their_own(
    settings: Settings, exported: bytes, truth: OfflineTruth
) -> None:
    """The version that is there may be served: it is not written over before the new one is checked."""
    first = triton_repo.write_version(settings, "aaaaaaaaaaaa", truth.spec.widths, exported)
    path = triton_repo.folder_of(settings, first) / triton_repo.MODEL_FILE
    proto = onnx.load_from_string(exported)
    proto.graph.initializer[0].raw_data = bytes(len(proto.graph.initializer[0].raw_data))
    other = proto.SerializeToString()
    second = triton_repo.write_version(settings, "aaaaaaaaaaaa", truth.spec.widths, other)
    assert (first, second) == (Place("ml_rec", 1), Place("ml_rec", 2))
    assert path.read_bytes() == exported
    assert triton_repo.place_of(settings, "aaaaaaaaaaaa") == second


def test_the_mark_of_a_check_holds_for_these_bytes_alone(
    settings: Settings, exported: bytes, truth: OfflineTruth
) -> None:
    place = triton_repo.write_version(settings, "aaaaaaaaaaaa", truth.spec.widths, exported)
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
    assert triton_repo.write_version(settings, "aaaaaaaaaaaa", truth.spec.widths, exported) == Place("ml_rec", 1)
    assert sorted(path.name for path in folder.iterdir()) == ["1", "config.pbtxt"]


def test_an_untouched_configuration_keeps_its_time_stamp(
    settings: Settings, exported: bytes, truth: OfflineTruth
) -> None:
    """Triton loads all versions again when the configuration is newer."""
    triton_repo.write_version(settings, "aaaaaaaaaaaa", truth.spec.widths, exported)
    config = settings.service_dir("triton") / wire.MODEL / "config.pbtxt"
    before = config.stat().st_mtime_ns
    triton_repo.write_version(settings, "aaaaaaaaaaaa", truth.spec.widths, exported)
    assert config.stat().st_mtime_ns == before


def of_width(exported: bytes, release: str, width: int) -> bytes:
    """The release's model announcing another number of columns."""
    proto = onnx.load_from_string(of_release(exported, release))
    given = next(each for each in proto.graph.input if each.name == wire.MODEL_INPUT)
    given.type.tensor_type.shape.dim[1].dim_value = width
    content: bytes = proto.SerializeToString()
    return content


def test_another_width_stands_beside_the_first_under_a_name_of_its_own(
    settings: Settings, exported: bytes, truth: OfflineTruth
) -> None:
    widths, wider = truth.spec.widths, truth.spec.widths._replace(row=62)
    name, other = f"ml_rec_{wider}", of_width(exported, "bbbbbbbbbbbb", 62)
    assert triton_repo.write_version(settings, "aaaaaaaaaaaa", widths, exported) == Place("ml_rec", 1)
    assert triton_repo.write_version(settings, "bbbbbbbbbbbb", wider, other) == Place(name, 1)
    assert triton_repo.write_version(settings, "bbbbbbbbbbbb", wider, other) == Place(name, 1)
    assert triton_repo.model_for(settings, widths) == "ml_rec"
    assert triton_repo.models(settings) == ["ml_rec", name]
    for model, columns in (("ml_rec", widths), (name, wider)):
        text = (settings.service_dir("triton") / model / "config.pbtxt").read_text()
        assert text == triton_repo.config_pbtxt(model, columns)


def record_call(calls: list[tuple[str, str]], name: str, _: Settings, model: str) -> None:
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
    widths, wider = truth.spec.widths, truth.spec.widths._replace(row=62)
    store = TritonStore(settings)
    for release in ("aaaaaaaaaaaa", "bbbbbbbbbbbb"):
        triton_repo.write_version(settings, release, widths, of_release(exported, release))
    other = triton_repo.write_version(settings, "cccccccccccc", wider, of_width(exported, "cccccccccccc", 62))
    store.delete({"aaaaaaaaaaaa"})
    assert store.releases() == {"bbbbbbbbbbbb", "cccccccccccc"}
    assert told == [("load_model", "ml_rec")]
    told.clear()
    store.delete({"bbbbbbbbbbbb"})
    assert told == [("unload_model", "ml_rec")]
    assert triton_repo.models(settings) == [other.model] == [f"ml_rec_{wider}"]
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

    live = triton_repo.write_version(settings, "aaaaaaaaaaaa", truth.spec.widths, exported)
    monkeypatch.setattr(triton_repo, "wait_until_ready", fail)
    with pytest.raises(type(error)):
        triton_repo.publish(settings, "bbbbbbbbbbbb", truth.spec.widths, of_release(exported, "bbbbbbbbbbbb"))
    assert list(triton_repo.versions(settings)) == [live]
    with pytest.raises(type(error)):
        triton_repo.publish(settings, "aaaaaaaaaaaa", truth.spec.widths, exported)
    assert list(triton_repo.versions(settings)) == [live]  # it was there before
