"""The feature repository's definitions: a pair of views and services a release, and the live pair under plain names."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
from types import ModuleType

import pytest
from feast import FeatureService, FeatureView
from feast.repo_config import load_repo_config

from data_exchange_center.settings import RedisSettings, Settings
from online.stack.feast.service import feast_environment, prepare_feast_repo

FIELDS = {"user": [["gender", "String"], ["age", "Int64"]], "item": [["genre_drama", "Int64"]]}


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return prepare_feast_repo(Settings(exchange_dir=tmp_path))


def add_release(repo: Path, name: str, age_s: int) -> None:
    fields = repo / "releases" / name / "fields.json"
    fields.parent.mkdir(parents=True)
    fields.write_text(json.dumps(FIELDS))
    os.utime(fields, (1_700_000_000 - age_s,) * 2)


def definitions(repo: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("definitions", repo / "definitions.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def of_kind(module: ModuleType, kind: type) -> dict[str, object]:
    return {value.name: value for value in vars(module).values() if isinstance(value, kind)}


def test_each_release_has_its_views_and_services(repo: Path) -> None:
    add_release(repo, "aaa", 60)
    add_release(repo, "bbb", 10)
    module = definitions(repo)
    views = of_kind(module, FeatureView)
    assert set(views) == {"ml_user_aaa", "ml_item_aaa", "ml_user_bbb", "ml_item_bbb"}
    view = views["ml_user_aaa"]
    assert isinstance(view, FeatureView)
    assert [field.name for field in view.features] == ["gender", "age"]
    assert view.entities == ["userid"]
    assert set(of_kind(module, FeatureService)) == set(views) | {"ml_user", "ml_item"}


@pytest.mark.parametrize(("pointer", "behind"), [(None, "bbb"), ("aaa", "aaa"), ("gone", "bbb"), (..., "bbb")])
def test_the_plain_names_are_the_live_release_or_the_newest(repo: Path, pointer: object, behind: str) -> None:
    add_release(repo, "aaa", 60)
    add_release(repo, "bbb", 10)
    if pointer is not ...:
        (repo / "live.json").write_text(json.dumps({"live": pointer}))
    service = of_kind(definitions(repo), FeatureService)["ml_item"]
    assert isinstance(service, FeatureService)
    assert [projection.name for projection in service.feature_view_projections] == [f"ml_item_{behind}"]


def test_the_online_store_is_where_the_settings_say(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(redis=RedisSettings(host="redis", port=6400, feast_db=3, password="hush"))
    for name, value in feast_environment(settings).items():
        monkeypatch.setenv(name, value)
    store = load_repo_config(repo, repo / "feature_store.yaml").online_store
    assert store.connection_string == "redis:6400,db=3,password=hush"
