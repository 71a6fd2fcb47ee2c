from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import nullcontext
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from data_exchange_center import artifacts, wire
from data_exchange_center.columns import Columns, Entity, Split
from data_exchange_center.recipes import RECIPES
from data_exchange_center.release_parts import release_of_artifacts
from data_exchange_center.settings import FeastSettings, Settings
from data_exchange_center.steps import CheckError, StepError
from offline_to_online.rows import feature_frames, newest_event
from offline_to_online.stores import feast
from offline_to_online.stores.feast import (
    ENTITIES,
    FeastStore,
    compare,
    release_dir,
    write_features,
)
from online.clients.feast import FeatureRows, feature_rows
from tests.free_ports import free_ports
from tests.http_server import serving
from tests.synthetic_release import write_artifacts


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_of(tmp_path, "source")


def settings_of(folder: Path, recipe: str) -> Settings:
    write_artifacts(folder, recipe=recipe)
    return Settings(exchange_dir=folder, recipe_name=recipe)


def frames_of(settings: Settings) -> dict[Entity, pd.DataFrame]:
    return feature_frames(
        settings.exchange_dir, release_of_artifacts(settings).feature_spec
    )


def write(settings: Settings) -> Path:
    spec = release_of_artifacts(settings).feature_spec
    write_features(
        settings,
        "aaaaaaaaaaaa",
        spec,
        frames_of(settings),
        newest_event(settings.exchange_dir),
    )
    return release_dir(settings, "aaaaaaaaaaaa")


def test_the_same_features_give_the_same_bytes(settings: Settings) -> None:
    folder = write(settings)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    write(settings)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert sorted(before) == ["fields.json", "items.parquet", "users.parquet"]


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_fields_are_the_specs_and_the_key_is_not_among_them(
    tmp_path: Path, recipe: str
) -> None:
    settings = settings_of(tmp_path, recipe)
    fields = json.loads((write(settings) / "fields.json").read_text())
    spec = release_of_artifacts(settings).feature_spec
    for entity in ENTITIES:
        assert [name for name, _ in fields[entity]] == [
            feature.name for feature in spec.stored(entity)
        ]
        table = pq.read_table(
            release_dir(settings, "aaaaaaaaaaaa") / f"{entity}s.parquet"
        )
        key = wire.FEAST_KEY[entity]
        assert table.column_names == [
            key,
            *(feature.name for feature in spec.stored(entity)),
            Columns.EVENT_TIMESTAMP,
        ]
    assert dict(fields["user"])["gender"] == "String"
    assert dict(fields["user"])["age"] == "Int64"


def test_the_event_is_the_newest_served_rating_in_utc(settings: Settings) -> None:
    ratings = artifacts.RATINGS.read(settings.exchange_dir)
    table = pq.read_table(write(settings) / "users.parquet").to_pandas()
    (event,) = set(table["event_timestamp"])
    assert str(event.tz) == "UTC"
    assert (
        event.timestamp()
        == ratings.loc[ratings[Columns.SPLIT] != Split.HOLDOUT, Columns.TIMESTAMP].max()
    )
    # the last ten do not move it
    assert event.timestamp() < ratings[Columns.TIMESTAMP].max()


def test_the_event_is_never_later_than_now(settings: Settings) -> None:
    """Feast is not queried again later, and a user without a row would be served without features."""
    ratings = artifacts.RATINGS.read(settings.exchange_dir)
    artifacts.RATINGS.write(
        settings.exchange_dir, ratings.assign(**{Columns.TIMESTAMP: 4_000_000_000})
    )
    assert newest_event(settings.exchange_dir) <= pd.Timestamp.now("UTC")


OWN_IDS = {number: f"u-{number}" for number in range(1, 1_000)}


def answer_of(frame: pd.DataFrame) -> FeatureRows:
    results = [{"values": frame[name].tolist()} for name in frame.columns]
    answer = {"metadata": {"feature_names": list(frame.columns)}, "results": results}
    return feature_rows(frame.columns[0], frame.iloc[:, 0].tolist(), answer)


@pytest.mark.parametrize(
    ("value", "said"), [(None, r"no value \(null\)"), (99, r"99, the source says \d+")]
)
def test_a_value_unlike_its_source_is_named(
    settings: Settings, value: object, said: str
) -> None:
    frame = frames_of(settings)["user"]
    compare("user", frame, answer_of(frame), OWN_IDS)
    other = frame.astype(object)
    other.loc[4, "age"] = value
    with pytest.raises(
        CheckError, match=rf"user 'u-5', feature 'age': Feast gave {said}"
    ):
        compare("user", frame, answer_of(other), OWN_IDS)


def test_a_source_without_a_value_is_named(settings: Settings) -> None:
    """That both agree is no excuse."""
    frame = frames_of(settings)["user"].astype(object)
    frame.loc[4, "gender"] = None
    with pytest.raises(
        CheckError, match=r"user 'u-5', feature 'gender': Feast gave no value \(null\)"
    ):
        compare("user", frame, answer_of(frame), OWN_IDS)


def test_a_missing_column_is_named(settings: Settings) -> None:
    frame = frames_of(settings)["item"]
    with pytest.raises(CheckError, match="no column 'genre_"):
        compare("item", frame, answer_of(frame[[Columns.ITEM]]), OWN_IDS)


def reported(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> list[Sequence[str]]:
    """The commands that a process runs which finds the repository as another one has left it."""
    commands: list[Sequence[str]] = []
    monkeypatch.setattr(
        feast, "run_feast", lambda _, *reported: commands.extend(reported)
    )
    FeastStore(settings).apply_pending()
    return commands


def test_feast_applies_changes_of_a_killed_process(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(settings)
    assert reported(settings, monkeypatch) == []
    FeastStore(settings).activate("bbbbbbbbbbbb")
    FeastStore(settings).activate("bbbbbbbbbbbb")
    assert reported(settings, monkeypatch) == [["apply"]]
    assert reported(settings, monkeypatch) == []
    FeastStore(settings).delete({"aaaaaaaaaaaa"})
    assert not folder.exists()
    assert reported(settings, monkeypatch) == [["apply"]]


def test_of_a_release_that_is_half_deleted_feast_knows_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(settings)
    found = []
    monkeypatch.setattr(
        feast.shutil,
        "rmtree",
        lambda path: found.append(sorted(each.name for each in path.iterdir())),
    )
    FeastStore(settings).delete({folder.name})
    assert found == [["items.parquet", "users.parquet"]]


def test_each_feature_server_must_know_the_release(settings: Settings) -> None:
    requested: list[str] = []

    def answer(request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, bytes]:
        if request.command == "GET":
            return 200, b""
        query = json.loads(body)
        requested.append(query["feature_service"])
        ((key, ids),) = query["entities"].items()
        known = {"metadata": {"feature_names": [key]}, "results": [{"values": ids}]}
        return (
            (200, json.dumps(known).encode())
            if requested.count(requested[-1]) > 1
            else (404, b"")
        )  # not at once

    (away,) = free_ports(1)
    with serving(answer) as port:
        nodes = FeastSettings(nodes=f"127.0.0.1:{port}, 127.0.0.1:{away}")
        store = FeastStore(settings.model_copy(update={"feast": nodes}))
        for wait in (store.expect_alive, lambda: store.wait_until_served("a")):
            with pytest.raises(
                StepError,
                match=rf"^Feast at http://127\.0\.0\.1:{away} cannot be reached.*make up",
            ):
                wait()
    assert requested == [*["ml_user_a"] * 2, *["ml_item_a"] * 2]


@pytest.mark.parametrize("found", [None, CheckError("user 'u-5', feature 'age'")])
def test_loading_keeps_no_old_mark_and_only_a_passed_check_marks(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, found: CheckError | None
) -> None:
    def compared(*_: object) -> None:
        if found is not None:
            raise found

    for name in ("materialize", "run_feast"):
        monkeypatch.setattr(feast, name, lambda *_: None)
    monkeypatch.setattr(FeastStore, "wait_until_served", lambda *_: None)
    monkeypatch.setattr(feast, "check_features", compared)
    store = FeastStore(settings)
    manifest = release_of_artifacts(settings)
    frames = frames_of(settings)
    for _ in range(2):
        store.load(manifest, frames, newest_event(settings.exchange_dir))
        assert not store.is_checked(manifest.release)
        with nullcontext() if found is None else pytest.raises(CheckError):
            store.check(manifest, frames, {"user": OWN_IDS, "item": OWN_IDS})
        assert store.is_checked(manifest.release) == (found is None)
