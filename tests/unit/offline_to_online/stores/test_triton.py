"""Triton: versions of a model in its repository, marks, deletion, and what is sent to load them."""

import json
import shutil
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import pytest
import requests

from data_exchange_center import wire
from data_exchange_center.features import InputSizes
from data_exchange_center.settings import Settings, TritonSettings
from data_exchange_center.steps import CheckError, StepError
from offline_to_online.parity import OfflineTruth
from offline_to_online.stores.triton import Place, TritonStore, config_pbtxt
from tests.http_server import serving

A, B, C = "aaaaaaaaaaaa", "bbbbbbbbbbbb", "cccccccccccc"  # releases
FIRST, SECOND = Place(wire.MODEL, 1), Place(wire.MODEL, 2)
SEVENTH = Place(wire.MODEL, 7)


class Store(TritonStore):
    """A store with models of any release and number of columns; Triton serves each at once."""

    def __init__(self, folder: Path, exported: bytes, sizes: InputSizes) -> None:
        super().__init__(Settings(exchange_dir=folder))
        self.exported = exported
        self.sizes = sizes
        self.waited: list[Place] = []

    def wait_until_ready(self, place: Place) -> None:
        self.waited.append(place)

    def expect_alive(self) -> None:
        pass

    def model(self, release: str, width: int | None = None) -> bytes:
        """The release's model; announcing another number of columns where one is given."""
        proto = onnx.load_from_string(self.exported)
        onnx.helper.set_model_props(proto, {"release": release})
        (given,) = [each for each in proto.graph.input if each.name == wire.MODEL_INPUT]
        columns = given.type.tensor_type.shape.dim[1]
        columns.dim_value = width or self.sizes.columns
        content: bytes = proto.SerializeToString()
        return content

    def write(self, release: str, width: int | None = None) -> Place:
        return self.write_version(release, self.model(release, width))

    def load_with_encoder(self, release: str) -> Place:
        model = self.model(release)  # any model will do as an encoder
        return self.load(release, model, {"sasrec": model})

    def seen(self) -> dict[str, tuple[int, set[str]]]:
        """Of each model that Triton sees: when its configuration was written, and the names of all that is there."""
        return {
            folder.name: (
                (folder / "config.pbtxt").stat().st_mtime_ns,
                {path.name for path in folder.iterdir()},
            )
            for folder in self.repository.iterdir()
        }


@pytest.fixture
def store(tmp_path: Path, exported: bytes, truth: OfflineTruth) -> Store:
    return Store(tmp_path, exported, truth.spec.sizes)


def encoder_of(release: str) -> Place:
    return Place(wire.encoder_model("sasrec", release), 1)


def test_a_release_keeps_its_version_and_other_bytes_get_a_new_one(
    store: Store,
) -> None:
    """The version that is there may be served: it is not written over before the new one is checked."""
    assert [store.write(each) for each in (A, B, A)] == [FIRST, SECOND, FIRST]
    proto = onnx.load_from_string(store.model(A))
    weights = proto.graph.initializer[0]
    weights.raw_data = bytes(len(weights.raw_data))
    third = store.write_version(A, proto.SerializeToString())
    assert store.find(A) == third == Place(wire.MODEL, 3)
    assert store.file_of(FIRST).read_bytes() == store.model(A)
    found = [model.release for model in store.versions().values()]
    assert found == [A, B, A]


def test_the_mark_holds_for_the_bytes_that_came_up_alone(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loading the very same models again takes it away, until Triton answers; so does another or no encoder."""
    early: list[bool] = []
    monkeypatch.setattr(
        store, "wait_until_ready", lambda _: early.append(store.is_checked(A))
    )
    assert not store.is_checked(A)
    for _ in range(2):
        place = store.load_with_encoder(A)
        assert store.is_checked(A)
    assert early == [False] * 4
    shutil.rmtree(store.repository / encoder_of(A).model)
    assert not store.is_checked(A)
    store.load_with_encoder(A)
    store.file_of(place).write_bytes(store.model(A, 62))
    assert not store.is_checked(A)


def test_an_interrupted_write_is_no_version(store: Store) -> None:
    rest = store.aside / f"arriving-{wire.MODEL}" / "7"
    rest.mkdir(parents=True)
    (rest / "model.onnx").write_bytes(store.exported[:100])
    assert store.versions() == {}
    assert store.write(A) == FIRST


def test_another_width_is_a_model_of_its_own_name(store: Store) -> None:
    name = f"ml_rec_{store.sizes._replace(columns=62)}"
    assert store.write(A) == FIRST
    assert store.write(B, 62) == store.write(B, 62) == Place(name, 1)
    for model, content in ((wire.MODEL, store.model(A)), (name, store.model(B, 62))):
        text = (store.repository / model / "config.pbtxt").read_text()
        assert text == config_pbtxt(model, content)
    store.delete({A})
    assert set(store.seen()) == {name}
    assert store.releases() == {B}


def test_triton_sees_versions_come_and_go_and_nothing_else(store: Store) -> None:
    """Another file in a model's folder, or a newer configuration, would be a change of all its versions."""
    store.load(A, store.model(A))
    (first, there), *others = store.seen().values()
    assert (there, others) == ({"1", "config.pbtxt"}, [])
    store.load(B, store.model(B))
    assert store.seen() == {wire.MODEL: (first, {"1", "2", "config.pbtxt"})}
    store.delete({A})
    assert store.seen() == {wire.MODEL: (first, {"2", "config.pbtxt"})}
    store.delete({B})
    assert store.seen() == {}
    # a number is not given twice: what Triton says of it may be of the model that it has not yet seen go
    assert store.write(C) == Place(wire.MODEL, 3)


def test_an_encoder_comes_and_goes_with_its_release(store: Store) -> None:
    assert [store.load_with_encoder(each) for each in (A, B)] == [FIRST, SECOND]
    assert store.waited == [encoder_of(A), FIRST, encoder_of(B), SECOND]
    _, there = store.seen()[encoder_of(A).model]
    assert there == {"1", "config.pbtxt"}
    store.wait_until_served(A)
    assert store.waited[4:] == [encoder_of(A), FIRST]
    store.delete({A})
    assert store.releases() == {B}
    assert (store.encoders(A), store.encoders(B)) == ([], [encoder_of(B)])
    assert store.is_checked(B)


@pytest.mark.parametrize(
    "error",
    [requests.ReadTimeout("too slow"), KeyboardInterrupt(), CheckError("not ready")],
)
def test_a_version_that_fails_to_load_is_removed(
    store: Store, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fail(_: object) -> None:
        raise error

    live = store.write(A)
    monkeypatch.setattr(store, "wait_until_ready", fail)
    for release in (B, A):  # the second was there before
        with pytest.raises(type(error)):
            store.load_with_encoder(release)
        assert list(store.versions()) == [live]
        assert store.encoders(release) == []


@pytest.fixture
def triton(tmp_path: Path) -> Iterator[tuple[SimpleNamespace, TritonStore]]:
    """A Triton that lists versions as it is reported, and a store that knows its address."""
    reported = SimpleNamespace(status=200, index=[])

    def answer(request: Any, _: bytes) -> tuple[int, bytes]:
        is_index = request.path.endswith("index")
        said = reported.index if is_index else {"version": "2"}
        return reported.status, json.dumps(said).encode()

    with serving(answer) as port:
        elsewhere = TritonSettings(nodes=f"127.0.0.1:{port}")
        yield reported, TritonStore(Settings(exchange_dir=tmp_path, triton=elsewhere))


def listed(state: str, version: str = "7", **more: str) -> dict[str, str]:
    return {"name": wire.MODEL, "version": version, "state": state, **more}


@pytest.mark.parametrize(
    ("index", "said"),
    [
        ([], "is not ready after"),
        ([listed("READY", "6")], "is not ready after"),
        ([listed("LOADING")], "is not ready after"),
        ([listed("UNAVAILABLE", reason="no protobuf")], "cannot load .*: no protobuf"),
        ([listed("UNAVAILABLE", "6", reason="unloaded"), listed("READY")], ""),
    ],
)
def test_it_waits_for_its_own_version(
    triton: tuple[SimpleNamespace, TritonStore],
    monkeypatch: pytest.MonkeyPatch,
    index: list[dict[str, str]],
    said: str,
) -> None:
    monkeypatch.setattr("offline_to_online.stores.triton.READY_S", 0.3)
    reported, store = triton
    reported.index = index
    with pytest.raises(CheckError, match=said) if said else nullcontext():
        store.wait_until_ready(SEVENTH)


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
    store: Store, monkeypatch: pytest.MonkeyPatch, nodes: str, waits: bool
) -> None:
    store.write(A)
    elsewhere = store.settings.model_copy(
        update={"triton": TritonSettings(nodes=nodes)}
    )
    monkeypatch.setattr("offline_to_online.stores.triton._is_ready", lambda *_: True)
    with nullcontext() if waits else pytest.raises(StepError, match="make up"):
        TritonStore(elsewhere).wait_until_served(A)
