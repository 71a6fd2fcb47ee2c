"""Which release may go live, in which order that happens, and what is deleted afterwards."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from data_exchange_center.release import FORMAT, Manifest, ParityRecord, Published
from data_exchange_center.settings import RedisSettings, Settings
from data_exchange_center.steps import StepError
from offline_to_online import releases
from offline_to_online.releases import CHECK, Stores, manifest_path, open_release, record_parity, require_parity
from offline_to_online.stores.redis import RedisStore
from offline_to_online.stores.triton import Place
from tests.synthetic_release import write_artifacts

RECORD = ParityRecord(users=10, pairs=2_560, largest_difference=3e-7, triton_model="ml_rec", triton_version=4)


class Store:
    """One of four; all write into one log."""

    step = "offline_to_online/some/step.py"

    def __init__(self, title: str, log: list[str]) -> None:
        self.title, self.log = title, log
        self.held = {"oldest", "before"}
        self.checked: set[str] = set()

    def is_checked(self, release: str) -> bool:
        return release in self.checked

    def releases(self) -> set[str]:
        return self.held

    def wait_until_served(self, release: str) -> None:
        self.log.append(f"{self.title} serves")

    def activate(self, release: str) -> None:
        self.log.append(f"{self.title} activate")

    def delete(self, releases: set[str]) -> None:
        self.log.append(f"{self.title} delete {sorted(releases)}")

    def settle(self) -> None:
        self.log.append(f"{self.title} settle")


class Redis(Store):
    def __init__(self, log: list[str]) -> None:
        super().__init__("Redis", log)
        self.documents: dict[str, Published] = {}

    def publish(self, published: Published) -> None:
        self.log.append("Redis publish")
        self.documents[published.manifest.release] = published

    def published(self, release: str) -> Published:
        return self.documents[release]

    def activated(self) -> list[str]:
        return [*self.documents, "before"]


class Triton(Store):
    place = Place("ml_rec", 4)

    def place_of(self, release: str) -> Place:
        return self.place


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    write_artifacts(tmp_path)
    return Settings(exchange_dir=tmp_path)


@pytest.fixture
def manifest(settings: Settings) -> Manifest:
    return open_release(settings)


@pytest.fixture
def stores(manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Four stores that hold the release, whole and checked."""
    log: list[str] = []
    four = Stores(*cast(Any, (Redis(log), Store("Elasticsearch", log), Store("Feast", log), Triton("Triton", log))))
    for store in four:
        cast(Any, store).checked.add(manifest.release)
        cast(Any, store).held.add(manifest.release)
    monkeypatch.setattr(Stores, "of", lambda _: four)
    monkeypatch.setattr(releases, "plugins", SimpleNamespace(RELEASED="", find=lambda _: ()))
    return four


def test_a_release_without_the_record_of_its_check_is_refused(
    settings: Settings, manifest: Manifest, stores: Any
) -> None:
    with pytest.raises(StepError, match=rf"{manifest.release} must not go live.*s3_check_offline_and_online\.py"):
        releases.go_live(settings, manifest.release)
    assert stores.redis.log == []


def test_loading_again_takes_the_record_away(settings: Settings, manifest: Manifest) -> None:
    record_parity(settings, manifest, RECORD)
    read, record = require_parity(settings, manifest.release)
    assert (read.release, record) == (manifest.release, RECORD)
    assert read.model_copy(update={"parity": None}) == manifest
    open_release(settings)  # as every step that loads does first
    with pytest.raises(StepError, match="has not passed the check"):
        require_parity(settings, manifest.release)


def test_a_manifest_that_is_damaged_or_of_another_format_is_one_sentence(
    settings: Settings, manifest: Manifest
) -> None:
    content = json.loads(manifest.model_dump_json(exclude={"format"}))  # as the first format was
    reads = f"this version of the project reads {FORMAT}"
    for found, said in (
        ({}, "Field required"),
        (content, f"it is of format 1, {reads}"),
        (content | {"format": 9}, f"it is of format 9, {reads}"),
    ):
        manifest_path(settings, manifest.release).write_text(json.dumps(found))
        with pytest.raises(StepError, match=rf"manifest\.json cannot be read \({said}\)\. Run {CHECK} again"):
            require_parity(settings, manifest.release)


def test_everything_is_in_place_before_the_pointer_moves_and_the_old_is_deleted_last(
    settings: Settings, manifest: Manifest, stores: Any
) -> None:
    record_parity(settings, manifest, RECORD)
    assert releases.go_live(settings, manifest.release) == {"oldest"}
    four = ("Redis", "Elasticsearch", "Feast", "Triton")
    assert stores.redis.log == [
        *(f"{title} serves" for title in four),
        "Redis publish",
        *(f"{title} activate" for title in four),
        *(f"{title} delete ['oldest']" for title in four),
        *(f"{title} settle" for title in four),
    ]
    document = stores.redis.documents[manifest.release]
    assert (document.triton_model, document.triton_version) == ("ml_rec", 4)
    assert document.manifest.parity == RECORD


def test_plugins_hear_of_what_is_deleted(
    settings: Settings, manifest: Manifest, stores: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[object] = []
    mine = SimpleNamespace(RELEASED="", find=lambda _: ("mine",), load=lambda *_: lambda *each: heard.append(each))
    monkeypatch.setattr(releases, "plugins", mine)
    record_parity(settings, manifest, RECORD)
    releases.go_live(settings, manifest.release)
    assert heard == [(settings, {"oldest"})]


@pytest.mark.parametrize("number", range(4))
def test_a_release_that_a_store_lacks_is_refused_and_its_step_named(
    settings: Settings, manifest: Manifest, stores: Any, number: int
) -> None:
    record_parity(settings, manifest, RECORD)
    store = stores[number]
    store.checked.clear()
    with pytest.raises(StepError, match=rf"not in {store.title}, .*: run {store.step}"):
        releases.go_live(settings, manifest.release)
    assert "Redis publish" not in stores.redis.log


def test_a_model_that_was_exchanged_after_the_check_is_refused(
    settings: Settings, manifest: Manifest, stores: Any
) -> None:
    record_parity(settings, manifest, RECORD)
    stores.triton.place = Place("ml_rec", 5)
    with pytest.raises(StepError, match="was checked with ml_rec version 4 in Triton, and is ml_rec version 5 now"):
        releases.go_live(settings, manifest.release)


@pytest.mark.usefixtures("stores")
def test_going_back_to_a_release_that_was_never_live_is_one_sentence(
    settings: Settings, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RedisStore, "client", lambda _: nullcontext({}))
    monkeypatch.setattr(Redis, "published", lambda _, release: RedisStore(settings).published(release))
    record_parity(settings, manifest, RECORD)
    with pytest.raises(StepError, match=rf"^release {manifest.release} was never live, .*`make releases`"):
        releases.go_back(settings, manifest.release)


def test_going_back_deletes_nothing_and_refuses_what_was_loaded_again_without_a_check(
    settings: Settings, manifest: Manifest, stores: Any
) -> None:
    record_parity(settings, manifest, RECORD)
    releases.go_live(settings, manifest.release)
    stores.redis.log.clear()
    releases.go_back(settings, manifest.release)
    assert "Redis activate" in stores.redis.log
    assert not any("delete" in line for line in stores.redis.log)
    stores.redis.log.clear()
    open_release(settings)
    with pytest.raises(StepError, match="must not go live"):
        releases.go_back(settings, manifest.release)
    assert stores.redis.log == []


def test_redis_that_is_down_is_one_sentence_and_no_warning(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    store = RedisStore(settings.model_copy(update={"redis": RedisSettings(port=1)}))
    for read in (store.live, store.activated, lambda: store.published("aaaaaaaaaaaa")):
        with pytest.raises(StepError, match=r"^Redis at .*make up"):
            read()
    assert caplog.records == []
