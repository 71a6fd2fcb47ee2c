import json
import os
import runpy
import tempfile
from pathlib import Path
from typing import Any

import pytest
from feast import FeatureService
from feast.infra.online_stores.redis import RedisOnlineStore
from feast.infra.registry.file import FileRegistryStore
from feast.repo_config import RegistryConfig, load_repo_config

from data_exchange_center.feast_repo import feast_environment, prepare_feast_repo
from data_exchange_center.settings import RedisSettings, Settings

FIELDS = {
    "user": [["gender", "String"], ["age", "Int64"]],
    "item": [["genre_drama", "Int64"]],
}


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return prepare_feast_repo(Settings(exchange_dir=tmp_path))


def add_release(repo: Path, name: str, age_s: int) -> None:
    fields = repo / "releases" / name / "fields.json"
    fields.parent.mkdir(parents=True)
    fields.write_text(json.dumps(FIELDS))
    os.utime(fields, (1_700_000_000 - age_s,) * 2)


def defined(repo: Path, kind: type) -> dict[str, Any]:
    """What the repository defines of a kind, by name."""
    values = runpy.run_path(str(repo / "definitions.py")).values()
    return {value.name: value for value in values if isinstance(value, kind)}


def test_a_server_without_a_release_reads_an_empty_registry(repo: Path) -> None:
    """Feast writes one where there is none, which a read-only folder refuses. One that is there stays."""
    store = FileRegistryStore(RegistryConfig(path="data/registry.db"), repo)
    assert list(store.get_registry_proto().feature_views) == []
    (repo / "data/registry.db").write_bytes(b"kept")
    prepare_feast_repo(Settings(exchange_dir=repo.parents[2]))
    assert (repo / "data/registry.db").read_bytes() == b"kept"


@pytest.mark.parametrize(
    ("pointer", "behind"),
    [(None, "bbb"), ("aaa", "aaa"), ("gone", "bbb"), (..., "bbb")],
)
def test_the_plain_names_are_the_live_release_or_the_newest(
    repo: Path, pointer: object, behind: str
) -> None:
    add_release(repo, "aaa", 60)
    add_release(repo, "bbb", 10)
    if pointer is not ...:
        (repo / "live.json").write_text(json.dumps({"live": pointer}))
    service = defined(repo, FeatureService)["ml_item"]
    assert [projection.name for projection in service.feature_view_projections] == [
        f"ml_item_{behind}"
    ]


@pytest.mark.parametrize("folder", ["a folder", "it's $HOME #1"])
def test_feast_s_client_takes_redis_s_socket(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # a path that leaves room for a socket's, which has 107 bytes at most
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        settings = Settings(exchange_dir=Path(short) / folder)
        online = configured(settings, monkeypatch).online_store
    client = RedisOnlineStore()._get_client(online)
    place = client.connection_pool.connection_kwargs
    assert place["path"] == str(settings.redis.socket)
    assert place["db"] == settings.redis.feast_db


@pytest.mark.parametrize("password", ["hush", "p@ss w0rd #1 $x'"])
def test_feast_reads_what_the_settings_and_its_commands_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, password: str
) -> None:
    """It puts the environment's values into the text, and then reads it as YAML."""
    redis = RedisSettings(host="redis", port=6400, feast_db=3, password=password)
    config = configured(Settings(exchange_dir=tmp_path, redis=redis), monkeypatch)
    address = config.online_store.connection_string
    assert address == f"redis:6400,db=3,password={password}"
    assert config.online_store.skip_dedup
    assert config.registry.path == "data/next.db"
    assert (config.offline_store.type, config.batch_engine.type) == ("file", "local")
    assert config.entity_key_serialization_version == 3


def configured(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Feast's configuration, as its commands read it."""
    repository = prepare_feast_repo(settings)
    monkeypatch.setenv("FEAST_REGISTRY", "data/next.db")
    for name, value in feast_environment(settings).items():
        monkeypatch.setenv(name, value)
    return load_repo_config(repository, repository / "feature_store.yaml")
