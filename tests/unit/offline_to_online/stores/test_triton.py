"""Triton: versions of a model in its repository, marks, deletion, and what is sent to load them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import pytest
import requests

from data_exchange_center import wire
from data_exchange_center.features import InputSizes
from data_exchange_center.files import sha256
from data_exchange_center.settings import Settings, TritonSettings
from data_exchange_center.steps import CheckError, StepError
from offline_to_online.parity import OfflineTruth
from offline_to_online.stores.triton import MODEL_FILE, Place, TritonStore, config_pbtxt
from tests.http_server import serving

A, B, C = "aaaaaaaaaaaa", "bbbbbbbbbbbb", "cccccccccccc"  # releases


@pytest.fixture
def store(tmp_path: Path) -> TritonStore:
    return TritonStore(Settings(exchange_dir=tmp_path))


@dataclass
class Models:
    """Models of any release and number of columns, as they are written into a store."""

    store: TritonStore
    exported: bytes
    sizes: InputSizes

    def of(self, release: str, width: int | None = None) -> bytes:
        """The release's model; announcing another number of columns where one is given."""
        proto = onnx.load_from_string(self.exported)
        onnx.helper.set_model_props(proto, {"release": release})
        given = next(
            each for each in proto.graph.input if each.name == wire.MODEL_INPUT
        )
        given.type.tensor_type.shape.dim[1].dim_value = width or self.sizes.columns
        content: bytes = proto.SerializeToString()
        return content

    def write(self, release: str, width: int | None = None) -> Place:
        return self.store.write_version(release, self.of(release, width))

    def load(self, release: str) -> Place:
        return self.store.load(release, self.of(release))


@pytest.fixture
def models(store: TritonStore, exported: bytes, truth: OfflineTruth) -> Models:
    return Models(store, exported, truth.spec.sizes)


def test_a_release_keeps_its_version_and_the_next_increments(
    store: TritonStore, models: Models
) -> None:
    assert [models.write(release) for release in (A, B, A)] == [
        Place("ml_rec", version) for version in (1, 2, 1)
    ]
    assert {
        place.version: model.release for place, model in store.versions().items()
    } == {1: A, 2: B}


def test_other_bytes_of_a_release_become_a_version_of_their_own(
    store: TritonStore, models: Models
) -> None:
    """The version that is there may be served: it is not written over before the new one is checked."""
    first = models.write(A)
    proto = onnx.load_from_string(models.of(A))
    proto.graph.initializer[0].raw_data = bytes(
        len(proto.graph.initializer[0].raw_data)
    )
    second = store.write_version(A, proto.SerializeToString())
    assert (first, second) == (Place("ml_rec", 1), Place("ml_rec", 2))
    assert (store.folder_of(first) / MODEL_FILE).read_bytes() == models.of(A)
    assert store.find(A) == second


def test_the_mark_holds_for_the_bytes_that_came_up_alone(
    store: TritonStore, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loading the very same model again takes it away, until Triton answers."""
    monkeypatch.setattr(
        TritonStore,
        "wait_until_ready",
        lambda *_: store.is_checked(A) and pytest.fail("too early"),
    )
    assert not store.is_checked(A)
    for _ in range(2):
        place = models.load(A)
        assert store.is_checked(A)
    (store.folder_of(place) / MODEL_FILE).write_bytes(models.of(A, 62))
    assert not store.is_checked(A)


def test_a_repository_of_an_earlier_version_is_checked_again(
    store: TritonStore, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Earlier versions kept the marks in the model's folder: the model stays where it is, and is loaded once more."""
    monkeypatch.setattr(TritonStore, "wait_until_ready", lambda *_: None)
    place = models.write(A)
    (store.repository / wire.MODEL / ".checked-1").write_text(
        sha256(store.folder_of(place) / MODEL_FILE)
    )
    shutil.rmtree(store.aside)
    assert not store.is_checked(A)
    assert models.load(A) == place
    assert store.is_checked(A)
    assert models.write(B) == Place("ml_rec", 2)


def test_an_interrupted_write_is_no_version(store: TritonStore, models: Models) -> None:
    rest = store.aside / f"arriving-{A}" / "7"
    rest.mkdir(parents=True)
    (rest / MODEL_FILE).write_bytes(models.exported[:100])
    assert store.versions() == {}
    assert models.write(A) == Place("ml_rec", 1)
    assert sorted(path.name for path in (store.repository / wire.MODEL).iterdir()) == [
        "1",
        "config.pbtxt",
    ]


def test_an_untouched_configuration_keeps_its_time_stamp(
    store: TritonStore, models: Models
) -> None:
    """Triton loads all versions again when the configuration is newer."""
    models.write(A)
    config = store.repository / wire.MODEL / "config.pbtxt"
    before = config.stat().st_mtime_ns
    models.write(A)
    assert config.stat().st_mtime_ns == before


def test_another_width_is_a_model_of_its_own_name(
    store: TritonStore, models: Models
) -> None:
    wider = models.sizes._replace(columns=62)
    name = f"ml_rec_{wider}"
    assert models.write(A) == Place("ml_rec", 1)
    assert models.write(B, 62) == models.write(B, 62) == Place(name, 1)
    assert store.models() == ["ml_rec", name]
    for model, of in (("ml_rec", models.of(A)), (name, models.of(B, 62))):
        text = (store.repository / model / "config.pbtxt").read_text()
        assert text == config_pbtxt(model, of)


def seen_by_triton(store: TritonStore) -> dict[str, tuple[int, frozenset[str]]]:
    """Of each model that Triton sees: when what is no version was changed last, and the names of all that is there."""
    return {
        folder.name: (
            max(
                path.stat().st_mtime_ns
                for path in folder.iterdir()
                if not path.name.isdecimal()
            ),
            frozenset(path.name for path in folder.iterdir()),
        )
        for folder in store.repository.iterdir()
    }


def test_triton_sees_versions_come_and_go_and_nothing_else(
    store: TritonStore, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another file in a model's folder would be a change of all its versions, another folder a broken model."""
    monkeypatch.setattr(TritonStore, "wait_until_ready", lambda *_: None)
    models.load(A)
    ((first, there),) = seen_by_triton(store).values()
    assert there == {"1", "config.pbtxt"}
    models.load(B)
    assert seen_by_triton(store) == {"ml_rec": (first, {"1", "2", "config.pbtxt"})}
    store.delete({A})
    assert seen_by_triton(store) == {"ml_rec": (first, {"2", "config.pbtxt"})}
    store.delete({B})
    assert seen_by_triton(store) == {}


def test_a_number_is_not_given_to_a_second_model(
    store: TritonStore, models: Models
) -> None:
    """What Triton says of a version may be of the one that it has not yet seen go."""
    models.write(A)
    store.delete({A})
    assert models.write(B) == Place("ml_rec", 2)


def test_deleting_covers_all_models_and_removes_empty_ones(
    store: TritonStore, models: Models
) -> None:
    for release in (A, B):
        models.write(release)
    other = models.write(C, 62)
    store.delete({A})
    assert store.releases() == {B, C}
    assert store.models() == ["ml_rec", other.model]
    store.delete({B})
    assert (
        store.models()
        == [other.model]
        == [f"ml_rec_{models.sizes._replace(columns=62)}"]
    )
    store.delete({A})
    assert store.releases() == {C}


@pytest.mark.parametrize(
    "error",
    [requests.ReadTimeout("too slow"), KeyboardInterrupt(), CheckError("not ready")],
)
def test_a_version_that_fails_to_load_is_removed(
    store: TritonStore,
    models: Models,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
) -> None:
    def fail(*_: object) -> None:
        raise error

    live = models.write(A)
    monkeypatch.setattr(TritonStore, "wait_until_ready", fail)
    for release in (B, A):  # the second was there before
        with pytest.raises(type(error)):
            models.load(release)
        assert list(store.versions()) == [live]


@pytest.fixture
def triton(tmp_path: Path) -> Iterator[tuple[SimpleNamespace, TritonStore]]:
    """A Triton that lists versions as it is reported, and a store that knows its address."""
    reported = SimpleNamespace(status=200, index=[], requested=[])

    def answer(request: Any, _: bytes) -> tuple[int, bytes]:
        reported.requested.append(request.path)
        return reported.status, json.dumps(
            reported.index if request.path.endswith("index") else {"version": "2"}
        ).encode()

    with serving(answer) as port:
        yield (
            reported,
            TritonStore(
                Settings(
                    exchange_dir=tmp_path,
                    triton=TritonSettings(nodes=f"127.0.0.1:{port}"),
                )
            ),
        )


def listed(state: str, version: str = "7", **more: str) -> dict[str, str]:
    return {"name": "ml_rec", "version": version, "state": state, **more}


def test_it_waits_for_its_own_version(
    triton: tuple[SimpleNamespace, TritonStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("offline_to_online.stores.triton.READY_S", 0.3)
    reported, store = triton
    for reported.index in ([], [listed("READY", "6")], [listed("LOADING")]):
        with pytest.raises(CheckError, match="ml_rec version 7 is not ready after"):
            store.wait_until_ready(Place("ml_rec", 7))
    reported.index = [listed("UNAVAILABLE", "6", reason="unloaded"), listed("READY")]
    store.wait_until_ready(Place("ml_rec", 7))


def test_a_failed_load_is_an_error_with_the_reason(
    triton: tuple[SimpleNamespace, TritonStore],
) -> None:
    reported, store = triton
    reported.index = [listed("UNAVAILABLE", reason="Internal: InvalidProtobuf")]
    with pytest.raises(
        CheckError, match="cannot load ml_rec version 7: Internal: InvalidProtobuf"
    ):
        store.wait_until_ready(Place("ml_rec", 7))


def test_a_triton_that_is_ending_is_not_alive(
    triton: tuple[SimpleNamespace, TritonStore],
) -> None:
    reported, store = triton
    store.expect_alive()
    reported.status = 400
    with pytest.raises(
        StepError,
        match=r"^Triton at .*answered /v2/health/live with status 400.*make up",
    ):
        store.expect_alive()


@pytest.mark.parametrize(
    ("nodes", "waits"), [("127.0.0.1:1", False), ("127.0.0.1:1,127.0.0.1:2", True)]
)
def test_going_live_waits_for_one_of_several_that_starts_again(
    models: Models, monkeypatch: pytest.MonkeyPatch, nodes: str, waits: bool
) -> None:
    models.write(A)
    elsewhere = TritonSettings(nodes=nodes)
    store = TritonStore(models.store.settings.model_copy(update={"triton": elsewhere}))
    monkeypatch.setattr("offline_to_online.stores.triton._is_ready", lambda *_: True)
    with nullcontext() if waits else pytest.raises(StepError, match="make up"):
        store.wait_until_served(A)


# --- encoders of recall channels


def load_with_encoder(models: Models, release: str) -> Place:
    # any model: its inputs and output are copied into its configuration
    encoder = models.of(release)
    return models.store.load(release, models.of(release), {"sasrec": encoder})


@pytest.fixture
def ready(monkeypatch: pytest.MonkeyPatch) -> list[Place]:
    """The places that were waited for; none is waited for long."""
    waited: list[Place] = []
    monkeypatch.setattr(
        TritonStore, "wait_until_ready", lambda _, place: waited.append(place)
    )
    monkeypatch.setattr(TritonStore, "expect_alive", lambda _: None)
    return waited


def test_an_encoder_is_a_model_of_its_release(
    store: TritonStore, models: Models, ready: list[Place]
) -> None:
    encoder = Place(wire.encoder_model("sasrec", A), 1)
    ranker = Place("ml_rec", 1)
    assert load_with_encoder(models, A) == ranker
    assert ready == [encoder, ranker]
    assert store.encoders([A]) == [encoder]
    folder = store.repository / encoder.model
    assert sorted(path.name for path in folder.rglob("*")) == [
        "1",
        "config.pbtxt",
        MODEL_FILE,
    ]
    store.wait_until_served(A)
    assert ready[2:] == [encoder, ranker]


@pytest.mark.usefixtures("ready")
def test_a_release_without_its_encoder_is_not_checked(
    store: TritonStore, models: Models
) -> None:
    load_with_encoder(models, A)
    assert store.is_checked(A)
    shutil.rmtree(store.repository / wire.encoder_model("sasrec", A))
    assert not store.is_checked(A)
    load_with_encoder(models, A)
    assert store.is_checked(A)


@pytest.mark.usefixtures("ready")
def test_deleting_a_release_takes_its_encoder_alone(
    store: TritonStore, models: Models
) -> None:
    for release in (A, B):
        load_with_encoder(models, release)
    assert store.releases() == {A, B}
    store.delete([A])
    assert store.releases() == {B}
    assert store.encoders([A, B]) == [Place(wire.encoder_model("sasrec", B), 1)]
    assert store.is_checked(B)


def test_an_encoder_that_fails_to_load_is_removed(
    store: TritonStore, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: TritonStore, place: Place) -> None:
        raise CheckError(f"{place} cannot be loaded")

    monkeypatch.setattr(TritonStore, "wait_until_ready", fails)
    with pytest.raises(CheckError):
        load_with_encoder(models, A)
    assert store.releases() == set()
