"""Triton: versions of a model in its repository, marks, deletion, and what is sent to load them."""

from __future__ import annotations

from pathlib import Path

import pytest
import requests
from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from data_exchange_center.features import Widths
from data_exchange_center.settings import Settings, TritonSettings
from data_exchange_center.steps import CheckError
from offline_to_online.stores.triton import MODEL_FILE, Place, TritonStore, config_pbtxt


@pytest.fixture
def store(tmp_path: Path) -> TritonStore:
    return TritonStore(Settings(exchange_dir=tmp_path))


RELEASE, OTHER = "aaaaaaaaaaaa", "bbbbbbbbbbbb"
WIDTHS = Widths(16, 60)


def test_a_release_keeps_its_place_and_other_bytes_become_a_version_of_their_own(store: TritonStore) -> None:
    """The version that is there may be served: it is not written over before the new one is checked."""
    first, second = Place("ml_rec_aaaaaaaaaaaa", 1), Place("ml_rec_aaaaaaaaaaaa", 2)
    for content, place in ((b"model", first), (b"model", first), (b"other", second), (b"other", second)):
        assert store.write_version(RELEASE, WIDTHS, content) == place
        assert store.find(RELEASE) == place
    assert (store.folder_of(first) / MODEL_FILE).read_bytes() == b"model"
    wider = WIDTHS._replace(row=62)
    assert store.write_version(OTHER, wider, b"model") == Place("ml_rec_bbbbbbbbbbbb", 1)
    assert store.releases() == {RELEASE, OTHER}
    for release, widths in ((RELEASE, WIDTHS), (OTHER, wider)):
        name = f"ml_rec_{release}"
        assert (store.repository / name / "config.pbtxt").read_text() == config_pbtxt(name, widths)


def test_the_mark_of_a_check_holds_for_these_bytes_alone(store: TritonStore) -> None:
    place = store.write_version(RELEASE, WIDTHS, b"model")
    assert not store.is_checked(RELEASE)
    store.mark_checked(place)
    assert store.is_checked(RELEASE)
    (store.folder_of(place) / MODEL_FILE).write_bytes(b"other")
    assert not store.is_checked(RELEASE)


def test_what_a_broken_off_write_left_behind_is_no_version(store: TritonStore) -> None:
    folder = store.repository / "ml_rec_aaaaaaaaaaaa"
    (folder / ".arriving").mkdir(parents=True)
    (folder / ".arriving" / MODEL_FILE).write_bytes(b"mo")
    (folder / "1").mkdir()
    assert store.find(RELEASE) is None
    assert store.write_version(RELEASE, WIDTHS, b"model") == Place("ml_rec_aaaaaaaaaaaa", 1)
    assert sorted(path.name for path in folder.iterdir()) == ["1", "config.pbtxt"]


def test_an_untouched_configuration_keeps_its_time_stamp(store: TritonStore) -> None:
    """Triton loads all versions again when the configuration is newer."""
    store.write_version(RELEASE, WIDTHS, b"model")
    config = store.repository / "ml_rec_aaaaaaaaaaaa" / "config.pbtxt"
    before = config.stat().st_mtime_ns
    store.write_version(RELEASE, WIDTHS, b"other")
    assert config.stat().st_mtime_ns == before


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """The commands that Triton would have been sent, in order."""
    calls: list[tuple[str, str]] = []
    monkeypatch.setattr(TritonStore, "command", lambda _, what, model: calls.append((what, model)))
    return calls


def test_a_deleted_model_is_unloaded_and_gone(store: TritonStore, told: list[tuple[str, str]]) -> None:
    for release in (RELEASE, OTHER):
        store.write_version(release, WIDTHS, b"model")
    store.delete({RELEASE, "cccccccccccc"})
    assert store.releases() == {OTHER}
    assert told == [("unload", "ml_rec_aaaaaaaaaaaa")]


@pytest.mark.parametrize("error", [requests.ReadTimeout("too slow"), KeyboardInterrupt(), CheckError("not ready")])
def test_a_version_that_does_not_come_up_is_taken_back_whatever_the_reason(
    store: TritonStore, told: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fail(*_: object) -> None:
        raise error

    there = store.write_version(RELEASE, WIDTHS, b"model")
    monkeypatch.setattr(TritonStore, "wait_until_ready", fail)
    for release, content in ((OTHER, b"model"), (RELEASE, b"other"), (RELEASE, b"model")):
        with pytest.raises(type(error)):
            store.publish(release, WIDTHS, content)
        assert store.find(OTHER) is None
        assert store.find(RELEASE) == there


@pytest.fixture
def elsewhere(tmp_path: Path) -> Settings:
    """Triton's port is one that nobody listens on."""
    return Settings(exchange_dir=tmp_path, triton=TritonSettings(grpc_port=1))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """Headers of each model that Triton was asked to load; it knows one."""
    sent: list[dict[str, str]] = []

    def load_model(_: InferenceServerClient, model: str, *, headers: dict[str, str], client_timeout: float) -> None:
        sent.append(headers)
        if model != "ml_rec":
            raise InferenceServerException(f"failed to load '{model}'")

    monkeypatch.setattr(InferenceServerClient, "load_model", load_model)
    return sent


def test_the_secret_is_sent_where_there_is_one(elsewhere: Settings, asked: list[dict[str, str]]) -> None:
    TritonStore(elsewhere).command("load", "ml_rec")
    elsewhere.repository_key_file.parent.mkdir(parents=True)
    elsewhere.repository_key_file.write_text("hush\n")
    TritonStore(elsewhere).command("load", "ml_rec")
    assert asked == [{}, {"triton-grpc-protocol-recsys-repository-key": "hush"}]


def test_what_cannot_be_loaded_is_told_with_the_reason(elsewhere: Settings, asked: list[dict[str, str]]) -> None:
    with pytest.raises(CheckError, match=r"cannot load ml_rec_62: failed to load 'ml_rec_62'"):
        TritonStore(elsewhere).command("load", "ml_rec_62")
