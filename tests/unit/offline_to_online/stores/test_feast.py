"""Feast: a release's files, what is read back of them, marks, and changes that a killed process has left."""

import json
from collections.abc import Sequence
from contextlib import nullcontext
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from data_exchange_center import artifacts
from data_exchange_center.columns import Columns, Entity, Split
from data_exchange_center.recipes import RECIPES
from data_exchange_center.release_parts import read_feature_spec
from data_exchange_center.settings import FeastSettings, Settings
from data_exchange_center.steps import CheckError, StepError
from offline_to_online.rows import feature_frames, newest_event
from offline_to_online.stores import feast
from offline_to_online.stores.feast import ENTITIES, FeastStore, compare
from online.clients.feast import FeatureRows, feature_rows
from tests.free_ports import free_ports
from tests.http_server import serving
from tests.synthetic_release import write_artifacts

A, B = "aaaaaaaaaaaa", "bbbbbbbbbbbb"
OWN_IDS: Any = {number: f"u-{number}" for number in range(1, 1_000)}


class Store(FeastStore):
    """A store next to the artifacts of a recipe; Feast's commands are only noted."""

    def __init__(self, folder: Path, recipe: str) -> None:
        write_artifacts(folder, recipe=recipe)
        super().__init__(Settings(exchange_dir=folder, recipe_name=recipe))
        self.spec = read_feature_spec(folder)
        self.frames = feature_frames(folder, self.spec)
        self.commands: list[Sequence[str]] = []
        self.folder = self._folder_of(A)

    def run(self, *commands: Sequence[str]) -> None:
        self.commands += commands

    @property
    def loaded(self) -> tuple[Any, ...]:
        return A, self.spec, self.frames, newest_event(self.settings.exchange_dir)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path, "source")


@pytest.mark.parametrize("recipe", RECIPES)
def test_files_have_the_spec_s_features_and_the_same_bytes_each_time(
    tmp_path: Path, recipe: str
) -> None:
    store = Store(tmp_path, recipe)
    store.write(*store.loaded)
    before = {path.name: path.read_bytes() for path in store.folder.iterdir()}
    store.write(*store.loaded)
    assert {path.name: path.read_bytes() for path in store.folder.iterdir()} == before
    assert sorted(before) == ["fields.json", "items.parquet", "users.parquet"]
    fields = json.loads(before["fields.json"])
    for entity in ENTITIES:
        names = [feature.name for feature in store.spec.stored(entity)]
        assert [name for name, _ in fields[entity]] == names


def test_the_event_is_the_newest_served_rating_in_utc_and_never_later_than_now(
    store: Store,
) -> None:
    """Feast is not queried again later, and a user without a row would be served without features."""
    folder = store.settings.exchange_dir
    ratings = artifacts.RATINGS.read(folder)
    store.write(*store.loaded)
    table = pq.read_table(store.folder / "users.parquet").to_pandas()
    (event,) = set(table["event_timestamp"])
    assert str(event.tz) == "UTC"
    served = ratings.loc[ratings[Columns.SPLIT] != Split.HOLDOUT, Columns.TIMESTAMP]
    assert event.timestamp() == served.max() < ratings[Columns.TIMESTAMP].max()
    late = ratings.assign(**{Columns.TIMESTAMP: 4_000_000_000})
    artifacts.RATINGS.write(folder, late)
    assert newest_event(folder) <= pd.Timestamp.now("UTC")


def answer_of(frame: pd.DataFrame) -> FeatureRows:
    results = [{"values": frame[name].tolist()} for name in frame.columns]
    answer = {"metadata": {"feature_names": list(frame.columns)}, "results": results}
    return feature_rows(frame.columns[0], frame.iloc[:, 0].tolist(), answer)


def with_user_5(frame: pd.DataFrame, name: str, value: object) -> pd.DataFrame:
    changed = frame.astype(object)
    changed.loc[4, name] = value
    return changed


def test_a_value_unlike_its_source_is_named(store: Store) -> None:
    """A null, too, even where both agree."""
    users, items = store.frames["user"], store.frames["item"]
    compare("user", users, answer_of(users), OWN_IDS)
    null = with_user_5(users, "age", None)
    other = with_user_5(users, "age", 99)
    wrong: list[tuple[Entity, pd.DataFrame, pd.DataFrame, str]] = [
        ("user", users, null, r"^user 'u-5', feature 'age': .* no value \(null\)"),
        ("user", null, null, r"^user 'u-5', feature 'age': .* no value \(null\)"),
        ("user", users, other, r"^user 'u-5', feature 'age': .* 99, the source says"),
        ("item", items, items[[Columns.ITEM]], "no column 'genre_"),
    ]
    for entity, source, found, said in wrong:
        with pytest.raises(CheckError, match=said):
            compare(entity, source, answer_of(found), OWN_IDS)


def test_feast_applies_changes_of_a_killed_process(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a release that is half deleted it knows nothing."""
    store.write(*store.loaded)
    store.apply_pending()
    assert store.commands == []
    store.activate(B)
    store.activate(B)
    store.apply_pending()
    store.apply_pending()
    assert store.commands == [["apply"]]
    half: list[list[str]] = []
    monkeypatch.setattr(
        feast.shutil,
        "rmtree",
        lambda path: half.append(sorted(each.name for each in path.iterdir())),
    )
    store.delete({A})
    assert half == [["items.parquet", "users.parquet"]]
    monkeypatch.undo()
    store.delete({A})
    store.apply_pending()
    assert not store.folder.exists()
    assert store.commands == [["apply"]] * 2


def test_each_feature_server_must_know_the_release(store: Store) -> None:
    requested: list[str] = []

    def answer(request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, bytes]:
        if request.command == "GET":
            return 200, b""
        query = json.loads(body)
        service = query["feature_service"]
        requested.append(service)
        if requested.count(service) == 1:  # not at once
            return 404, b""
        ((key, ids),) = query["entities"].items()
        known = {"metadata": {"feature_names": [key]}, "results": [{"values": ids}]}
        return 200, json.dumps(known).encode()

    (away,) = free_ports(1)
    with serving(answer) as port:
        nodes = FeastSettings(nodes=f"127.0.0.1:{port}, 127.0.0.1:{away}")
        several = FeastStore(store.settings.model_copy(update={"feast": nodes}))
        for wait in (several.expect_alive, lambda: several.wait_until_served("a")):
            with pytest.raises(
                StepError,
                match=rf"^Feast at http://127\.0\.0\.1:{away} cannot be reached.*make up",
            ):
                wait()
    assert requested == [*["ml_user_a"] * 2, *["ml_item_a"] * 2]


@pytest.mark.parametrize("found", [None, CheckError("user 'u-5', feature 'age'")])
def test_loading_keeps_no_old_mark_and_only_a_passed_check_marks(
    store: Store, monkeypatch: pytest.MonkeyPatch, found: CheckError | None
) -> None:
    def compared(*_: object) -> None:
        if found is not None:
            raise found

    monkeypatch.setattr(store, "wait_until_served", lambda _: None)
    monkeypatch.setattr(store, "read_back", compared)
    for _ in range(2):
        store.load(*store.loaded)
        assert not store.is_checked(A)
        with nullcontext() if found is None else pytest.raises(CheckError):
            store.check(A, store.frames, {"user": OWN_IDS, "item": OWN_IDS})
        assert store.is_checked(A) == (found is None)
