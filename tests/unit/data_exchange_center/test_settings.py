"""Settings come from the environment, and a wrong one is named."""

from pathlib import Path

import pytest

from data_exchange_center.recipes import RECIPES
from data_exchange_center.settings import Settings, load_settings


def test_defaults_are_a_laptops() -> None:
    settings = Settings()
    assert (settings.redis.port, settings.elasticsearch.port, settings.feast.port) == (6379, 9200, 6566)
    assert (settings.triton.http_port, settings.triton.grpc_port, settings.triton.metrics_port) == (8000, 8001, 8002)
    assert settings.server.port == 5000
    assert settings.recipe is RECIPES["default"]


def test_the_environment_reaches_every_level(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSYS_DATA", "/some/ml-1m.zip")
    monkeypatch.setenv("RECSYS_REDIS__HOST", "redis")
    monkeypatch.setenv("RECSYS_REDIS__PASSWORD", "secret")
    monkeypatch.setenv("RECSYS_RECIPE", "source")
    settings = load_settings()
    assert settings.data == Path("/some/ml-1m.zip")
    assert settings.redis.host == "redis"
    assert settings.redis.password is not None
    assert "secret" not in repr(settings)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RECSYS_REDIS__PORT", "70000"),
        ("RECSYS_TRITON__TIMEOUT_S", "0"),
        ("RECSYS_RECIPE", "unheard-of"),
        ("RECSYS_SERVER__WORKERS", "many"),
        ("RECSYS_ELASTICSEARCH__SCHEME", "gopher"),
        ("RECSYS_ELASTICSEARCH__CA_CERTS", "/no/such/ca.pem"),
    ],
)
def test_a_wrong_value_is_one_sentence_with_its_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as caught:
        load_settings()
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["RECSYS_DATA", "RECSYS_EXCHANGE_DIR", "RECSYS_SERVICES_DIR", "RECSYS_ELASTICSEARCH__CA_CERTS"]
)
@pytest.mark.parametrize("value", ["data/ml-1m.zip", "here", "pyproject.toml"])
def test_a_relative_path_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as caught:
        load_settings()
    assert str(caught.value).count(name) == 1
    assert repr(value) in str(caught.value)
    assert "absolute" in str(caught.value)


def test_elasticsearch_may_speak_https(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert Settings().elasticsearch.url == "http://127.0.0.1:9200"
    certificate = tmp_path / "ca.pem"
    certificate.touch()
    monkeypatch.setenv("RECSYS_ELASTICSEARCH__SCHEME", "https")
    monkeypatch.setenv("RECSYS_ELASTICSEARCH__CA_CERTS", str(certificate))
    settings = load_settings()
    assert settings.elasticsearch.url == "https://127.0.0.1:9200"
    assert settings.elasticsearch.ca_certs == certificate
    assert settings.environment()["RECSYS_ELASTICSEARCH__CA_CERTS"] == str(certificate)


def test_certificates_without_https_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSYS_ELASTICSEARCH__CA_CERTS", __file__)
    with pytest.raises(SystemExit, match="RECSYS_ELASTICSEARCH__SCHEME=https"):
        load_settings()


def test_an_empty_variable_is_an_unset_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSYS_REDIS__PASSWORD", "")
    monkeypatch.setenv("RECSYS_DATA", "")
    assert load_settings().redis.password is None
    assert load_settings().data is None


def test_settings_of_an_environment_are_the_same_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = Settings(exchange_dir=tmp_path, data=tmp_path / "x.zip")
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    assert load_settings() == settings


def test_a_bound_wildcard_is_reached_through_loopback() -> None:
    settings = Settings(server={"host": "0.0.0.0", "port": 5001})  # type: ignore[arg-type]
    assert settings.server.url == "http://127.0.0.1:5001"


@pytest.mark.parametrize("content", ["s3cret", "s3cret\n"])
def test_redis_password_may_come_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str) -> None:
    (tmp_path / "password").write_text(content)
    monkeypatch.setenv("RECSYS_REDIS__PASSWORD_FILE", str(tmp_path / "password"))
    settings = load_settings()
    assert settings.redis.password
    assert settings.redis.password.get_secret_value() == "s3cret"
    assert settings.environment()["RECSYS_REDIS__PASSWORD"] == "s3cret"


def test_an_empty_password_file_means_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSYS_REDIS__PASSWORD_FILE", "/dev/null")
    assert load_settings().redis.password is None


def test_a_password_and_a_file_with_one_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("one")
    monkeypatch.setenv("RECSYS_REDIS__PASSWORD_FILE", str(tmp_path / "password"))
    monkeypatch.setenv("RECSYS_REDIS__PASSWORD", "two")
    with pytest.raises(SystemExit, match=r"RECSYS_REDIS: password and password_file are both given"):
        load_settings()


def test_a_password_file_that_is_not_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RECSYS_REDIS__PASSWORD_FILE", str(tmp_path / "none"))
    with pytest.raises(SystemExit, match=r"none' cannot be read: No such file"):
        load_settings()


@pytest.mark.parametrize("password", ["a,b", 'a"b', "a\\b", "a\tb", "1234", "1e5", "true", "null"])
def test_a_password_that_a_client_would_read_otherwise_is_refused(
    monkeypatch: pytest.MonkeyPatch, password: str
) -> None:
    monkeypatch.setenv("RECSYS_REDIS__PASSWORD", password)
    with pytest.raises(SystemExit, match=r"RECSYS_REDIS__PASSWORD: .*choose") as caught:
        load_settings()
    assert password not in str(caught.value)


@pytest.mark.parametrize("password", ["p@ss w0rd", "a#b$c", "it's", "a=b:c", "007x"])
def test_any_other_password_is_taken(monkeypatch: pytest.MonkeyPatch, password: str) -> None:
    monkeypatch.setenv("RECSYS_REDIS__PASSWORD", password)
    settings = load_settings()
    assert settings.redis.password
    assert settings.redis.password.get_secret_value() == password


def test_a_cluster_is_found_on_this_machine_or_where_its_nodes_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().redis.addresses == (("127.0.0.1", 6379),)
    assert load_settings().elasticsearch.urls == ("http://127.0.0.1:9200",)
    monkeypatch.setenv("RECSYS_REDIS__CLUSTER", "true")
    monkeypatch.setenv("RECSYS_ELASTICSEARCH__CLUSTER", "true")
    assert load_settings().redis.addresses == tuple(("127.0.0.1", 6379 + n) for n in range(6))
    assert load_settings().elasticsearch.urls == tuple(f"http://127.0.0.1:{9200 + n}" for n in range(3))
    monkeypatch.setenv("RECSYS_REDIS__HOST", "redis")
    assert load_settings().redis.addresses == (("redis", 6379),), "a name may stand for all of them"
    monkeypatch.setenv("RECSYS_REDIS__NODES", "one:1, two:2")
    monkeypatch.setenv("RECSYS_ELASTICSEARCH__NODES", "one:1,two:2")
    settings = load_settings()
    assert settings.redis.addresses == (("one", 1), ("two", 2))
    assert settings.elasticsearch.urls == ("http://one:1", "http://two:2")
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    assert load_settings() == settings


@pytest.mark.parametrize("nodes", ["one", "one:", ":1", "one:0", "one:1,,two:2", "one:70000"])
def test_nodes_without_host_or_port_are_one_sentence(monkeypatch: pytest.MonkeyPatch, nodes: str) -> None:
    monkeypatch.setenv("RECSYS_REDIS__CLUSTER", "true")
    monkeypatch.setenv("RECSYS_REDIS__NODES", nodes)
    with pytest.raises(SystemExit, match=r"RECSYS_REDIS__NODES: .* is no node; say for example 'one:6379,two:6379'"):
        load_settings()


def test_nodes_of_a_single_server_are_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSYS_REDIS__NODES", "one:1,two:2")
    with pytest.raises(SystemExit, match=r"RECSYS_REDIS: nodes are given and cluster is not"):
        load_settings()


def test_several_feature_servers_and_tritons_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().feast.urls == ("http://127.0.0.1:6566",)
    assert load_settings().triton.http_urls == ("http://127.0.0.1:8000",)
    monkeypatch.setenv("RECSYS_FEAST__NODES", "one:1,two:2")
    monkeypatch.setenv("RECSYS_TRITON__HTTP_NODES", "one:3,two:4")
    with pytest.raises(SystemExit, match=r"RECSYS_TRITON: http_nodes names 2 Tritons and nodes 1; name the gRPC"):
        load_settings()
    monkeypatch.setenv("RECSYS_TRITON__NODES", "one:5,two:6")
    settings = load_settings()
    assert settings.feast.urls == ("http://one:1", "http://two:2")
    assert settings.triton.http_urls == ("http://one:3", "http://two:4")
    assert settings.triton.grpc_addresses == ("one:5", "two:6")
