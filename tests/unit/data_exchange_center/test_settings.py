"""Settings come from the environment, and a wrong one is named."""

from collections.abc import Callable, Mapping
from operator import attrgetter
from pathlib import Path

import pytest

from data_exchange_center.recipes import SOURCE
from data_exchange_center.settings import Settings, load_settings
from stack.service import environment_of, generated_secret

Given = Callable[..., Settings]
PATHS = ("DATA", "EXCHANGE_DIR", "SERVICES_DIR", "ELASTICSEARCH__CA_CERTS")
PASSWORDS = ("a,b", 'a"b', "a\\b", "a\tb", "1234", "1e5", "true", "null")
NODES = ("one", "one:", ":1", "one:0", "one:1,,two:2", "one:70000")
CLUSTER = {"REDIS__CLUSTER": "true"}
HTTPS = {"ELASTICSEARCH__SCHEME": "https", "ELASTICSEARCH__CA_CERTS": __file__}
OTHERS = ("p@ss w0rd", "a#b$c", "it's", "a=b:c", "007x")  # passwords that are taken
NODE = "one:1"
WRONG = [
    ({"REDIS__PORT": "70000"}, "_REDIS__PORT: "),
    ({"TRITON__TIMEOUT_S": "0"}, "_TRITON__TIMEOUT_S: "),
    ({"RECIPE": "unheard-of"}, "_RECIPE: "),
    ({"SERVER__WORKERS": "many"}, "_SERVER__WORKERS: "),
    ({"ELASTICSEARCH__SCHEME": "gopher"}, "_ELASTICSEARCH__SCHEME: "),
    ({"ELASTICSEARCH__CA_CERTS": "/no/ca.pem"}, "CA_CERTS: there is no file"),
    ({"ELASTICSEARCH__CA_CERTS": __file__}, "_ELASTICSEARCH__SCHEME=https"),
    # though it is there
    ({"DATA": "pyproject.toml"}, "_DATA: 'pyproject.toml' is relative"),
    ({"REDIS__PASSWORD_FILE": "/dev/null/none"}, "cannot be read: Not a directory"),
    ({"REDIS__PASSWORD_FILE": __file__, "REDIS__PASSWORD": "two"}, "are both given"),
    ({"REDIS__SOCKET_DIR": "/tmp/a,b"}, "_REDIS__SOCKET_DIR: .*another folder"),
    (CLUSTER | {"REDIS__SOCKET_DIR": "/tmp/a"}, "socket_dir and cluster are both"),
    ({"REDIS__NODES": "one:1,two:2"}, "nodes are given and cluster is not"),
    ({"TRITON__NODES": "one:3", "TRITON__SOCKET_DIR": "/tmp/a"}, "socket_dir and"),
    *(
        ({name: "ml.zip"}, f"_{name}: 'ml.zip' is relative.* absolute")
        for name in PATHS
    ),
    # a client would read it otherwise
    *(({"REDIS__PASSWORD": each}, "_REDIS__PASSWORD: .*choose") for each in PASSWORDS),
    *((CLUSTER | {"REDIS__NODES": each}, "_NODES: .* is no node") for each in NODES),
]


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Given:
    """Settings of the environment with these variables, too."""

    def loaded(variables: Mapping[str, str] | None = None, **more: object) -> Settings:
        for name, value in {**(variables or {}), **more}.items():
            monkeypatch.setenv(f"RECSYS_{name}", str(value))
        return load_settings()

    return loaded


def handed_on(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings as a process of the stack reads them."""
    for name, value in environment_of(settings).items():
        monkeypatch.setenv(name, value)
    return load_settings()


@pytest.mark.parametrize(("variables", "said"), WRONG, ids=str)
def test_a_wrong_value_is_one_sentence_with_its_name(
    given: Given, variables: dict[str, str], said: str
) -> None:
    with pytest.raises(SystemExit, match=rf"RECSYS.*{said}") as caught:
        given(variables)
    assert "\n" not in str(caught.value)
    assert variables.get("REDIS__PASSWORD", "\n") not in str(caught.value)


@pytest.mark.parametrize(
    ("variables", "name", "expected"),
    [
        ({}, "elasticsearch.url", "http://127.0.0.1:9200"),
        (HTTPS, "elasticsearch.url", "https://127.0.0.1:9200"),
        ({"DATA": ""}, "data", None),  # an empty variable is an unset one
        ({"REDIS__PASSWORD": ""}, "redis.password", None),
        *(({"REDIS__PASSWORD": each}, "redis.secret", each) for each in OTHERS),
        (
            {"REDIS__SOCKET_DIR": "/tmp", "REDIS__PORT": 1},
            "redis.url",
            "unix:/tmp/redis.sock",
        ),
        ({"SERVER__HOST": "0.0.0.0"}, "server.url", "http://127.0.0.1:5000"),
        ({"TRITON__NODES": NODE}, "triton.urls", ("http://one:1",)),
        (
            {"TRITON__NODES": NODE, "TRITON__HOST": "all"},
            "triton.urls",
            ("http://all:8000",),
        ),
        (
            {"TRITON__NODES": NODE, "TRITON__HOST": "all"},
            "triton.node_urls",
            ("http://one:1",),
        ),
    ],
    ids=str,
)
def test_what_follows_from_a_value(
    given: Given, variables: dict[str, object], name: str, expected: object
) -> None:
    assert attrgetter(name)(given(variables)) == expected


def test_the_stacks_own_services_are_found(tmp_path: Path) -> None:
    settings = Settings(exchange_dir=tmp_path)
    assert settings.redis.secret is None  # not made yet
    assert settings.elasticsearch.login is None
    passwords = {
        name: generated_secret(settings.password_file(name))
        for name in ("redis", "elasticsearch")
    }
    assert settings.redis.secret == passwords["redis"]
    assert settings.elasticsearch.login == ("elastic", passwords["elasticsearch"])
    environment = environment_of(settings)
    for name, password in passwords.items():
        assert environment[f"RECSYS_{name.upper()}__PASSWORD"] == password
    assert settings.triton.url == f"unix:{tmp_path}/online/triton-sockets/http.sock"
    assert settings.triton.node_urls == settings.triton.urls
    sockets = tmp_path / "online" / "redis-sockets"
    assert settings.redis.socket == sockets / "redis.sock"
    assert environment["RECSYS_REDIS__SOCKET_DIR"] == str(sockets)


@pytest.mark.parametrize(
    "variables",
    [
        {"REDIS__PORT": "6379"},
        {"REDIS__HOST": "127.0.0.1"},
        CLUSTER,
        {"EXCHANGE_DIR": f"/{'x' * 99}"},
        {"EXCHANGE_DIR": "/tmp/a,b"},
    ],
)
def test_redis_listens_on_a_port_where_one_is_given(
    given: Given, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or where its clients could not express the socket's path."""
    settings = given(variables)
    assert settings.redis.socket is None
    assert settings.redis.url.startswith("127.0.0.1:6379")
    assert handed_on(settings, monkeypatch).redis.socket is None


def test_services_elsewhere_have_no_password_or_socket_of_ours(
    given: Given, tmp_path: Path
) -> None:
    names = ("redis", "elasticsearch", "triton")
    there = {f"{name.upper()}__HOST": name for name in names}
    settings = given(there, EXCHANGE_DIR=tmp_path)
    for name in names:
        generated_secret(settings.password_file(name))
    assert settings.redis.secret is None
    assert settings.elasticsearch.login is None
    assert settings.triton.urls == ("http://triton:8000",)


@pytest.mark.parametrize(
    ("content", "password"), [("s3cret", "s3cret"), ("s3cret\n", "s3cret"), ("", None)]
)
def test_redis_password_may_come_from_a_file(
    given: Given, tmp_path: Path, content: str, password: str | None
) -> None:
    """An empty one means no password, although the stack has generated one."""
    generated_secret(Settings(exchange_dir=tmp_path).password_file("redis"))
    file = tmp_path / "password"
    file.write_text(content)
    settings = given(REDIS__PASSWORD_FILE=file, EXCHANGE_DIR=tmp_path)
    assert settings.redis.secret == password
    handed = environment_of(settings)
    assert handed.get("RECSYS_REDIS__PASSWORD") == password
    assert password or handed["RECSYS_REDIS__PASSWORD_FILE"] == str(file)


def test_cluster_addresses_are_local_or_the_named_nodes(
    given: Given, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = "127.0.0.1"
    settings = given()
    assert settings.redis.addresses == ((here, 6379),)
    settings = given(CLUSTER, ELASTICSEARCH__CLUSTER="true")
    assert settings.redis.addresses == tuple((here, 6379 + n) for n in range(6))
    urls = tuple(f"http://{here}:{9200 + n}" for n in range(3))
    assert settings.elasticsearch.urls == urls
    # a name may stand for all of them
    assert given(REDIS__HOST="redis").redis.addresses == (("redis", 6379),)
    nodes = "one:1, two:2"
    settings = given(REDIS__NODES=nodes, ELASTICSEARCH__NODES=nodes)
    assert settings.redis.addresses == (("one", 1), ("two", 2))
    assert settings.elasticsearch.urls == ("http://one:1", "http://two:2")
    assert handed_on(settings, monkeypatch) == settings


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
