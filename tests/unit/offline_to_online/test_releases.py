"""Which release may go live, in which order that happens, and what is deleted afterwards."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pandas as pd
import pytest

from data_exchange_center.manifest import FORMAT, Manifest, ParityRecord
from data_exchange_center.recipes import SOURCE
from data_exchange_center.release_parts import release_of_artifacts
from data_exchange_center.settings import FeastSettings, Settings
from data_exchange_center.steps import StepError
from offline_to_online import releases
from offline_to_online.release import s1_go_live
from offline_to_online.releases import (
    CHECK,
    Stores,
    manifest_path,
    open_release,
    record_parity,
    require_parity,
    settings_of_live,
)
from offline_to_online.stores.elasticsearch import ElasticsearchStore
from offline_to_online.stores.feast import FeastStore
from offline_to_online.stores.redis import RedisStore
from offline_to_online.stores.triton import Place, TritonStore
from tests.http_server import serving
from tests.synthetic_release import write_artifacts

RECORD = ParityRecord(
    users=10,
    pairs=2_560,
    largest_difference=3e-7,
    triton_model="ml_rec",
    triton_version=4,
)
TITLES = ("Redis", "Elasticsearch", "Feast", "Triton")
STORES = (RedisStore, ElasticsearchStore, FeastStore, TritonStore)
CHANGES = (
    "wait_until_served",
    "publish",
    "activate",
    "retire",
    "delete",
    "apply_pending",
)


class Loaded:
    """A release that four stores hold, whole and checked, next to two others, of which one is kept."""

    def __init__(self, settings: Settings, manifest: Manifest) -> None:
        self.settings = settings
        self.manifest = manifest
        release = manifest.release
        self.called = Mock()
        stores = []
        for title, kind in zip(TITLES, STORES, strict=True):
            store = Mock(spec=kind, title=title, step=f"offline_to_online/{title}.py")
            store.is_checked.return_value = True
            store.releases.return_value = {"oldest", "before", release}
            self.called.attach_mock(store, title)
            stores.append(store)
        self.stores = Stores(*stores)
        redis = self.stores.redis
        redis.retire.side_effect = lambda releases: releases - {release, "before"}
        redis.listed.return_value = release, [release, "before"]
        redis.published.side_effect = lambda _: redis.publish.call_args.args[0]
        self.stores.triton.find.return_value = Place("ml_rec", 4)

    @property
    def changes(self) -> list[str]:
        """Calls of the stores, and waited for, in order."""
        return [
            name
            for name, *_ in self.called.mock_calls
            if name.partition(".")[2] in CHANGES
        ]

    def publish(self) -> None:
        releases.publish(self.settings, self.manifest.release)

    def activate(self) -> None:
        releases.activate(self.settings, self.manifest.release)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    write_artifacts(tmp_path)
    return Settings(exchange_dir=tmp_path)


@pytest.fixture
def manifest(settings: Settings) -> Manifest:
    return open_release(settings)


@pytest.fixture
def loaded(
    settings: Settings, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> Loaded:
    loaded = Loaded(settings, manifest)
    monkeypatch.setattr(Stores, "of", lambda _: loaded.stores)
    return loaded


@pytest.fixture
def passed(loaded: Loaded) -> Loaded:
    """It has passed the check of offline against online, too."""
    record_parity(loaded.settings, loaded.manifest, RECORD)
    return loaded


def test_a_release_without_the_record_of_its_check_is_refused(loaded: Loaded) -> None:
    with pytest.raises(
        StepError,
        match=rf"{loaded.manifest.release} must not be published.*s3_check_offline_and_online\.py",
    ):
        loaded.publish()
    assert loaded.changes == []


def test_loading_again_takes_the_record_away(
    settings: Settings, manifest: Manifest
) -> None:
    record_parity(settings, manifest, RECORD)
    read, record = require_parity(settings, manifest.release)
    assert (read.release, record) == (manifest.release, RECORD)
    assert read.model_copy(update={"parity": None}) == manifest
    open_release(settings)  # as every step that loads does first
    with pytest.raises(StepError, match="has not passed the check"):
        require_parity(settings, manifest.release)


def test_a_damaged_or_foreign_manifest_is_refused(
    settings: Settings, manifest: Manifest
) -> None:
    # as the first format was
    content = json.loads(manifest.model_dump_json(exclude={"format"}))
    reads = f"this version of the project reads {FORMAT}"
    for found, said in (
        ({}, "Field required"),
        (content, f"it is of format 1, {reads}"),
        (content | {"format": 9}, f"it is of format 9, {reads}"),
    ):
        manifest_path(settings, manifest.release).write_text(json.dumps(found))
        said = rf"manifest\.json cannot be read \({said}\)\. Run {CHECK} again"
        with pytest.raises(StepError, match=said):
            require_parity(settings, manifest.release)


def test_publishing_leaves_the_pointer_where_it_is(passed: Loaded) -> None:
    passed.publish()
    assert passed.changes == [
        *(f"{title}.wait_until_served" for title in TITLES),
        "Redis.publish",
    ]
    (document,) = passed.stores.redis.publish.call_args.args
    assert (document.triton_model, document.triton_version) == ("ml_rec", 4)
    assert document.manifest == passed.manifest.model_copy(update={"parity": RECORD})


def test_the_pointer_moves_after_publishing_and_before_deleting(passed: Loaded) -> None:
    s1_go_live.main(passed.settings)
    served = [f"{title}.wait_until_served" for title in TITLES]
    moved, deleted = (
        [f"{title}.{change}" for title in TITLES] for change in ("activate", "delete")
    )
    assert passed.changes == [
        *served,
        "Redis.publish",
        *served,
        *moved,
        "Redis.retire",
        *deleted,
        "Feast.apply_pending",
    ]
    for store in passed.stores:
        store.delete.assert_called_once_with({"oldest"})


def test_a_release_activated_meanwhile_is_not_deleted(passed: Loaded) -> None:
    passed.stores.redis.retire.side_effect = lambda releases: set()
    assert releases.retire(passed.settings) == set()
    for store in passed.stores:
        store.delete.assert_called_once_with(set())


def test_a_release_missing_in_a_store_names_its_step(passed: Loaded) -> None:
    for store in passed.stores:
        store.is_checked.return_value = False
        said = rf"not in {store.title}, .*: run {store.step}"
        with pytest.raises(StepError, match=said):
            passed.publish()
        store.is_checked.return_value = True
    assert passed.changes == []


def test_a_model_that_was_exchanged_after_the_check_is_refused(passed: Loaded) -> None:
    passed.stores.triton.find.return_value = Place("ml_rec", 5)
    with pytest.raises(
        StepError,
        match="was checked with ml_rec version 4 in Triton, and is ml_rec version 5 now",
    ):
        passed.publish()


def test_activating_a_release_that_is_not_published_is_refused(
    passed: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "offline_to_online.stores.redis.read_published", lambda *_: None
    )
    passed.stores.redis.published.side_effect = RedisStore(passed.settings).published
    with pytest.raises(
        StepError,
        match=rf"^release {passed.manifest.release} is not published, .*`make releases`",
    ):
        passed.activate()


def test_activation_deletes_nothing_and_needs_a_checked_release(passed: Loaded) -> None:
    passed.publish()
    before = len(passed.changes)
    passed.activate()
    after = passed.changes[before:]
    assert (after.count("Redis.activate"), after[-1]) == (1, "Feast.apply_pending")
    assert not any("delete" in change for change in after)
    open_release(passed.settings)
    with pytest.raises(StepError, match="has not passed the check"):
        passed.activate()
    assert passed.changes[before:] == after


def test_an_answer_that_is_no_features_is_one_sentence(
    settings: Settings,
) -> None:
    items = pd.DataFrame({"itemid": [1]})
    with serving(lambda *_: (200, b"no JSON")) as port:
        elsewhere = settings.model_copy(update={"feast": FeastSettings(port=port)})
        with pytest.raises(StepError, match=r"^Feast at .* cannot be read"):
            FeastStore(elsewhere).read_back("a", {"item": items}, {})


@pytest.mark.parametrize(
    ("live", "order", "dataset", "said"),
    [
        (None, [], None, ()),
        ("before", ["before"], None, ("replaces release before",)),
        (
            "older",
            ["before", "older", "oldest"],
            None,
            ("deletes oldest", "replaces release older"),
        ),
        ("before", ["before"], "shop", ("before of another data set, shop",)),
    ],
)
def test_loading_says_what_is_replaced_and_deleted(
    passed: Loaded,
    monkeypatch: pytest.MonkeyPatch,
    live: str | None,
    order: list[str],
    dataset: str | None,
    said: tuple[str, ...],
) -> None:
    redis, manifest = passed.stores.redis, passed.manifest
    redis.listed.return_value = live, order
    own = manifest.dataset
    other = own.model_copy(update={"name": dataset or own.name})
    published = Mock(manifest=Mock(dataset=other))
    redis.published.side_effect = lambda _: published
    monkeypatch.setattr(releases, "RedisStore", lambda _: redis)
    sentence = releases.consequences(passed.settings, manifest)
    assert bool(sentence) == bool(said)
    assert all(part in sentence for part in said)


def test_artifacts_of_the_live_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not those that were made last, unless RECSYS_RECIPE names them."""
    settings = Settings(exchange_dir=tmp_path)
    for recipe in ("source", "default"):
        folder = settings.trained_dir / "synthetic" / recipe
        write_artifacts(folder, recipe=recipe)
    write_artifacts(tmp_path)  # the data set in use
    live = release_of_artifacts(settings.made_of("synthetic", SOURCE))
    store = SimpleNamespace(
        listed=lambda: (live.release, []),
        published=lambda _: SimpleNamespace(manifest=live),
    )
    monkeypatch.setattr(releases, "RedisStore", lambda _: store)
    found = settings_of_live(settings)
    assert release_of_artifacts(found).release == live.release
    named = Settings(exchange_dir=tmp_path, recipe_name="default")
    assert settings_of_live(named) is named
    store.listed = Mock(side_effect=StepError("Redis does not answer"))
    assert settings_of_live(settings) is settings
    store.listed = lambda: (None, [])
    assert settings_of_live(settings) is settings
    store.listed = lambda: (live.release, [])
    shutil.rmtree(found.artifacts_dir)
    assert settings_of_live(settings) is settings
