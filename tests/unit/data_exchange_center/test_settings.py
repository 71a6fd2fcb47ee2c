"""Settings come from the environment, and a wrong one is named."""

from pathlib import Path

import pytest

from data_exchange_center.recipes import SOURCE
from data_exchange_center.settings import Settings, load_settings
from stack.service import environment_of, generated_secret

PATHS = ("DATA", "EXCHANGE_DIR", "SERVICES_DIR", "ELASTICSEARCH__CA_CERTS")
NODES = {"REDIS__CLUSTER": "true"}


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"REDIS__PORT": "70000"}, "RECSYS_REDIS__PORT: "),
        ({"TRITON__TIMEOUT_S": "0"}, "RECSYS_TRITON__TIMEOUT_S: "),
        ({"RECIPE": "unheard-of"}, "RECSYS_RECIPE: "),
        ({"SERVER__WORKERS": "many"}, "RECSYS_SERVER__WORKERS: "),
        ({"ELASTICSEARCH__SCHEME": "gopher"}, "RECSYS_ELASTICSEARCH__SCHEME: "),
        (
            {"ELASTICSEARCH__CA_CERTS": "/no/such/ca.pem"},
            "RECSYS_ELASTICSEARCH__CA_CERTS: there is no file",
        ),
        ({"ELASTICSEARCH__CA_CERTS": __file__}, "RECSYS_ELASTICSEARCH__SCHEME=https"),
        *(
            (
                {name: "data/ml-1m.zip"},
                f"RECSYS_{name}: 'data/ml-1m.zip' is relative.* absolute",
            )
            for name in PATHS
        ),
        (
            {"DATA": "pyproject.toml"},
            "RECSYS_DATA: 'pyproject.toml' is relative",
        ),  # though it is there
        (
            {"REDIS__PASSWORD_FILE": "/dev/null/none"},
            "RECSYS_REDIS: .*none' cannot be read: Not a directory",
        ),
        (
            {"REDIS__PASSWORD_FILE": __file__, "REDIS__PASSWORD": "two"},
            "password and password_file are both given",
        ),
        *(
            (
                {"REDIS__PASSWORD": password},
                "RECSYS_REDIS__PASSWORD: .*choose",
            )  # a client would read it otherwise
            for password in (
                "a,b",
                'a"b',
                "a\\b",
                "a\tb",
                "1234",
                "1e5",
                "true",
                "null",
            )
        ),
        *(
            (NODES | {"REDIS__NODES": nodes}, "RECSYS_REDIS__NODES: .* is no node")
            for nodes in ("one", "one:", ":1", "one:0", "one:1,,two:2", "one:70000")
        ),
        (
            {"REDIS__SOCKET_DIR": "/tmp/a,b"},
            "RECSYS_REDIS__SOCKET_DIR: .*choose another folder",
        ),
        (
            NODES | {"REDIS__SOCKET_DIR": "/tmp/a"},
            "RECSYS_REDIS: socket_dir and cluster are both",
        ),
        (
            {"REDIS__NODES": "one:1,two:2"},
            "RECSYS_REDIS: nodes are given and cluster is not",
        ),
        (
            {"TRITON__HTTP_NODES": "one:3,two:4"},
            "RECSYS_TRITON: http_nodes names 2 Tritons and nodes 1; name each",
        ),
    ],
    ids=str,
)
def test_a_wrong_value_is_one_sentence_with_its_name(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], said: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"RECSYS_{name}", value)
    with pytest.raises(SystemExit, match=said) as caught:
        load_settings()
    assert "\n" not in str(caught.value)
    assert variables.get("REDIS__PASSWORD", "\n") not in str(caught.value)


def test_elasticsearch_may_speak_https(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert Settings().elasticsearch.url == "http://127.0.0.1:9200"
    certificate = tmp_path / "ca.pem"
    certificate.touch()
    monkeypatch.setenv("RECSYS_ELASTICSEARCH__SCHEME", "https")
    monkeypatch.setenv("RECSYS_ELASTICSEARCH__CA_CERTS", str(certificate))
    settings = load_settings()
    assert settings.elasticsearch.url == "https://127.0.0.1:9200"
    assert settings.elasticsearch.ca_certs == certificate
    assert environment_of(settings)["RECSYS_ELASTICSEARCH__CA_CERTS"] == str(
        certificate
    )


def test_an_empty_variable_is_an_unset_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSYS_REDIS__PASSWORD", "")
    monkeypatch.setenv("RECSYS_DATA", "")
    assert load_settings().redis.password is None
    assert load_settings().data is None


def test_the_stacks_own_services_are_found(tmp_path: Path) -> None:
    settings = Settings(exchange_dir=tmp_path)
    assert settings.redis.secret is None  # not made yet
    password = generated_secret(settings.password_file("redis"))
    assert settings.redis.secret == password
    assert environment_of(settings)["RECSYS_REDIS__PASSWORD"] == password
    assert settings.triton.url == f"unix:{tmp_path}/online/triton-sockets/http.sock"
    assert settings.triton.node_urls == settings.triton.urls
    assert settings.elasticsearch.login is None
    secret = generated_secret(settings.password_file("elasticsearch"))
    assert settings.elasticsearch.login == ("elastic", secret)
    assert environment_of(settings)["RECSYS_ELASTICSEARCH__PASSWORD"] == secret
    assert settings.redis.socket == tmp_path / "online" / "redis-sockets" / "redis.sock"
    assert environment_of(settings)["RECSYS_REDIS__SOCKET_DIR"] == str(
        settings.redis.socket_dir
    )


@pytest.mark.parametrize(
    "variables",
    [
        {"REDIS__PORT": "6379"},
        {"REDIS__HOST": "127.0.0.1"},
        {"REDIS__CLUSTER": "true"},
        {"EXCHANGE_DIR": f"/{'x' * 99}"},
        {"EXCHANGE_DIR": "/tmp/a,b"},
    ],
)
def test_redis_listens_on_a_port_where_one_is_given(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or where its clients could not express the socket's path."""
    for name, value in variables.items():
        monkeypatch.setenv(f"RECSYS_{name}", value)
    settings = load_settings()
    assert settings.redis.socket is None
    assert settings.redis.url.startswith("127.0.0.1:6379")
    for name, value in environment_of(settings).items():
        monkeypatch.setenv(name, value)
    assert load_settings().redis.socket is None


def test_a_socket_s_folder_that_is_given_counts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RECSYS_REDIS__SOCKET_DIR", str(tmp_path))
    monkeypatch.setenv("RECSYS_REDIS__PORT", "6380")
    assert load_settings().redis.url == f"unix:{tmp_path}/redis.sock"


def test_services_elsewhere_have_no_password_or_socket_of_ours(tmp_path: Path) -> None:
    there = {name: {"host": name} for name in ("redis", "elasticsearch", "triton")}
    settings = Settings(exchange_dir=tmp_path, **there)  # type: ignore[arg-type]
    generated_secret(settings.password_file("redis"))
    generated_secret(settings.password_file("elasticsearch"))
    assert settings.redis.secret is None
    assert settings.elasticsearch.login is None
    assert settings.triton.urls == ("http://triton:8000",)


def test_an_empty_file_means_no_password(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    generated_secret(Settings(exchange_dir=tmp_path).password_file("redis"))
    monkeypatch.setenv("RECSYS_REDIS__PASSWORD_FILE", "/dev/null")
    monkeypatch.setenv("RECSYS_EXCHANGE_DIR", str(tmp_path))
    assert load_settings().redis.secret is None
    assert environment_of(load_settings())["RECSYS_REDIS__PASSWORD_FILE"] == "/dev/null"


def test_a_bound_wildcard_is_reached_through_loopback() -> None:
    settings = Settings(server={"host": "0.0.0.0", "port": 5001})  # type: ignore[arg-type]
    assert settings.server.url == "http://127.0.0.1:5001"


@pytest.mark.parametrize(
    ("content", "password"), [("s3cret", "s3cret"), ("s3cret\n", "s3cret"), ("", None)]
)
def test_redis_password_may_come_from_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str, password: str | None
) -> None:
    (tmp_path / "password").write_text(content)
    monkeypatch.setenv("RECSYS_REDIS__PASSWORD_FILE", str(tmp_path / "password"))
    settings = load_settings()
    assert settings.redis.secret == password
    assert environment_of(settings).get("RECSYS_REDIS__PASSWORD") == password


@pytest.mark.parametrize("password", ["p@ss w0rd", "a#b$c", "it's", "a=b:c", "007x"])
def test_any_other_password_is_taken(
    monkeypatch: pytest.MonkeyPatch, password: str
) -> None:
    monkeypatch.setenv("RECSYS_REDIS__PASSWORD", password)
    settings = load_settings()
    assert settings.redis.password
    assert settings.redis.password.get_secret_value() == password


def test_cluster_addresses_are_local_or_the_named_nodes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert load_settings().redis.addresses == (("127.0.0.1", 6379),)
    assert load_settings().elasticsearch.urls == ("http://127.0.0.1:9200",)
    monkeypatch.setenv("RECSYS_REDIS__CLUSTER", "true")
    monkeypatch.setenv("RECSYS_ELASTICSEARCH__CLUSTER", "true")
    assert load_settings().redis.addresses == tuple(
        ("127.0.0.1", 6379 + n) for n in range(6)
    )
    assert load_settings().elasticsearch.urls == tuple(
        f"http://127.0.0.1:{9200 + n}" for n in range(3)
    )
    monkeypatch.setenv("RECSYS_REDIS__HOST", "redis")
    assert load_settings().redis.addresses == (("redis", 6379),), (
        "a name may stand for all of them"
    )
    monkeypatch.setenv("RECSYS_REDIS__NODES", "one:1, two:2")
    monkeypatch.setenv("RECSYS_ELASTICSEARCH__NODES", "one:1,two:2")
    settings = load_settings()
    assert settings.redis.addresses == (("one", 1), ("two", 2))
    assert settings.elasticsearch.urls == ("http://one:1", "http://two:2")
    for name, value in environment_of(settings).items():
        monkeypatch.setenv(name, value)
    assert load_settings() == settings


def in_use(folder: Path, content: str) -> Settings:
    """Settings of an exchange folder whose data set in use is described so."""
    raw = folder / "offline/raw"
    raw.mkdir(parents=True, exist_ok=True)
    (raw / "dataset.json").write_text(content)
    return Settings(exchange_dir=folder)


@pytest.mark.parametrize(
    ("dataset", "recipe", "expected"),
    [
        ('{"name": "films"}', "default", "trained/films/default"),
        ('{"name": "films+events+final"}', "source", "trained/films/source"),
        ('{"name": "films", "recipe": "source"}', "default", "trained/films/source"),
        ("{", "default", ""),
        ("[]", "default", ""),
    ],
)
def test_artifacts_have_a_folder_for_data_set_and_recipe(
    tmp_path: Path, dataset: str, recipe: str, expected: str
) -> None:
    settings = in_use(tmp_path, dataset).model_copy(update={"recipe_name": recipe})
    assert settings.artifacts_dir == tmp_path  # as in version 1.0
    (settings.trained_dir / "films").mkdir(parents=True)
    assert settings.artifacts_dir == tmp_path / expected


def test_settings_of_other_artifacts(tmp_path: Path) -> None:
    settings = in_use(tmp_path, '{"name": "films"}')
    (settings.trained_dir / "films").mkdir(parents=True)
    other = settings.made_of("shop", SOURCE)
    assert other.recipe == SOURCE
    assert other.artifacts_dir == tmp_path / "trained/shop/source"
    assert settings.artifacts_dir == tmp_path / "trained/films/default"
