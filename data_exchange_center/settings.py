"""Settings of the project and of the four services, in one frozen tree with laptop defaults.

An environment variable overrides a field: ``RECSYS_`` and the path through the tree, levels joined by two underscores,
as ``RECSYS_REDIS__HOST=redis``. Paths are absolute. Settings are built once, in a step's ``main`` or in ``create_app``.
"""

import json
import os
import re
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from data_exchange_center import plugins, recipes


def _absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError(
            f"{str(path)!r} is relative, and each step runs in a folder of its own: give an absolute path"
        )
    return path


def _data(path: Path) -> Path:
    """A path, or the name of a published data set that a plugin downloads."""
    is_name = path == Path(path.name) and path.name in plugins.find(plugins.DATASETS)
    return path if is_name else _absolute(path)


def _file(path: Path) -> Path:
    if not path.is_file():
        raise ValueError(f"there is no file {str(path)!r}")
    return path


def _host(text: str) -> str:
    is_name = re.fullmatch(r"(?![\d.]+$)[\w-]+(\.[\w-]+)*\.?", text)
    if not is_name:
        with suppress(ValueError):
            ip_address(text)
            return text
        raise ValueError(
            f"{text!r} is no host: give a name or an address, as in 'redis.example' or '127.0.0.1'"
        )
    return text


def _nodes(text: str) -> str:
    for node in text.split(",") if text else ():
        host, _, port = node.strip().rpartition(":")
        if not host or not port.isdecimal() or not 1 <= int(port) <= _LAST_PORT:
            raise ValueError(
                f"{node.strip()!r} is no node: expected host:port, as in 'one:6379,two:6379'"
            )
    return text


_LAST_PORT: Final = 65535
_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
AbsolutePath = Annotated[Path, AfterValidator(_absolute)]
Port = Annotated[int, Field(ge=1, le=_LAST_PORT)]
Seconds = Annotated[float, Field(gt=0)]
Host = Annotated[str, AfterValidator(_host)]
Nodes = Annotated[str, AfterValidator(_nodes)]  # "host:port,host:port"
Address = tuple[str, int]  # host, port
REDIS_SERVERS: Final = 6  # of a cluster on this machine, on ports one after the other: three masters, a replica each
ELASTICSEARCH_NODES: Final = 3  # likewise
REDIS_SOCKET: Final = "redis.sock"  # in `RedisSettings.socket_dir`
TRITON_SOCKET: Final = "http.sock"  # in `TritonSettings.socket_dir`
_SOCKET_PATH_BYTES: Final = 107  # at most, of a Unix socket's address


class Part(BaseModel):
    """Base of the parts of the settings tree: frozen; unknown names are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class ServiceSettings(Part):
    """Settings common to all services."""

    host: Host = "127.0.0.1"

    def _places(self, nodes: str, port: int, here: int = 1) -> tuple[Address, ...]:
        """Addresses of ``nodes``; else of ``here`` servers of this machine, on successive ports; else host and port."""
        if nodes:
            named = (node.strip().rpartition(":") for node in nodes.split(","))
            return tuple((host, int(port)) for host, _, port in named)
        return tuple(
            (self.host, port + n) for n in range(here if self.host in _LOOPBACK else 1)
        )


class HttpService(ServiceSettings, ABC):
    """Settings of a service that is reached over HTTP."""

    @property
    @abstractmethod
    def urls(self) -> tuple[str, ...]:
        """Where requests are sent, round robin: URLs of all known servers; ``url``: the first, for messages."""

    @property
    def url(self) -> str:
        return self.urls[0]


# what its connection string cannot express
_NOT_IN_FEAST: Final = re.compile(r'[,"\\\x00-\x1f\x7f]')


def _for_every_client(password: SecretStr) -> SecretStr:
    """Reject passwords that redis.conf or Feast's connection string would need to escape."""
    text = password.get_secret_value()
    if unfit := _NOT_IN_FEAST.search(text):
        raise ValueError(
            f"it has {unfit[0]!r} in it, which Feast's connection string cannot express; choose another"
        )
    try:
        json.loads(text)
    except ValueError:
        return password
    raise ValueError(
        "Feast would read it as a number or a constant, not as text; choose one with more than that in it"
    )


def _unfit_for_redis(socket_dir: Path) -> str:
    """Why Redis and its clients cannot use a socket in a folder; empty where they can."""
    socket = socket_dir / REDIS_SOCKET
    if len(os.fsencode(socket)) > _SOCKET_PATH_BYTES:
        return f"{str(socket)!r} is longer than the {_SOCKET_PATH_BYTES} bytes of a socket's address"
    if unfit := _NOT_IN_FEAST.search(str(socket)):
        return f"{str(socket)!r} has {unfit[0]!r} in it, which Feast's connection string cannot express"
    return ""


def _redis_folder(path: Path) -> Path:
    if why := _unfit_for_redis(_absolute(path)):
        raise ValueError(f"{why}; choose another folder")
    return path


class Guarded(Part):
    """Settings of a service with a password, which comes from ``password`` or ``password_file``; see ``secret``."""

    password: SecretStr | None = None
    # empty file: no password. Left out, for a service on this machine: the file that the stack makes (`Settings`)
    password_file: AbsolutePath | None = None

    @model_validator(mode="after")
    def _one_readable_password(self) -> Self:
        if self.password and self.password_file:
            raise ValueError(
                "password and password_file are both given; unset one of them"
            )
        try:
            if self.password_file:
                self.password_file.read_bytes()
        except OSError as error:
            raise ValueError(
                f"password_file {str(self.password_file)!r} cannot be read: {error.strerror}"
            ) from error
        return self

    @property
    def secret(self) -> str | None:
        """The password, read from its file each time; None: there is none. Raises OSError for an unreadable file."""
        if self.password or self.password_file is None:
            return self.password.get_secret_value() if self.password else None
        try:
            return self.password_file.read_text(encoding="utf-8").rstrip("\n") or None
        except FileNotFoundError:  # the stack has not made it yet
            return None


class RedisSettings(Guarded, ServiceSettings):
    """Redis: user state for recall."""

    port: Port = 6379
    password: Annotated[SecretStr, AfterValidator(_for_every_client)] | None = None
    # Folder with the Unix socket that Redis listens on in place of a port, so that its owner alone reaches it, and it
    # alone gets the password. Left out, where neither host nor port is given: the stack's own folder (`Settings`)
    socket_dir: Annotated[Path, AfterValidator(_redis_folder)] | None = None
    timeout_s: Seconds = 0.5
    # Feast's online store; the user state lives in database 0
    feast_db: Annotated[int, Field(ge=1, le=15)] = 1
    cluster: bool = False  # Redis Cluster, which has one database; the local stack then starts six servers
    nodes: Nodes = ""  # of a cluster, to discover the others from; empty: host and port
    # of a cluster, that have an event before it is acknowledged
    write_replicas: Annotated[int, Field(ge=0, le=5)] = 1

    @model_validator(mode="after")
    def _a_password_for_every_client_and_a_clusters_nodes(self) -> Self:
        if self.nodes and not self.cluster:
            raise ValueError(
                "nodes are given and cluster is not; set RECSYS_REDIS__CLUSTER=true"
            )
        if self.socket_dir and self.cluster:
            raise ValueError("socket_dir and cluster are both given; unset one of them")
        if self.secret:
            _for_every_client(SecretStr(self.secret))
        return self

    def may_use(self, socket_dir: Path) -> bool:
        """Whether it listens on a socket in a folder: nothing else is given."""
        on_port = self.cluster or self.model_fields_set & {"host", "port"}
        return not (self.socket_dir or on_port or _unfit_for_redis(socket_dir))

    @property
    def socket(self) -> Path | None:
        """The Unix socket it listens on; None: it listens on `addresses`."""
        return self.socket_dir / REDIS_SOCKET if self.socket_dir else None

    @property
    def addresses(self) -> tuple[Address, ...]:
        return self._places(self.nodes, self.port, REDIS_SERVERS if self.cluster else 1)

    @property
    def url(self) -> str:
        """Where it listens, for messages."""
        if self.socket:
            return f"unix:{self.socket}"
        return ", ".join(f"{host}:{port}" for host, port in self.addresses)


class ElasticsearchSettings(Guarded, HttpService):
    """Elasticsearch: inverted index and vector index of the items."""

    port: Port = 9200
    transport_port: Port = 9300
    # the local stack and the containers speak http
    scheme: Literal["http", "https"] = "http"
    # PEM file, for https with your own authority
    ca_certs: Annotated[AbsolutePath, AfterValidator(_file)] | None = None
    user: str = "elastic"
    timeout_s: Seconds = 1.0
    cluster: bool = False  # several nodes; the local stack then starts three
    nodes: Nodes = ""  # of a cluster; empty: host and port
    # of an index that is made from now on
    shards: Annotated[int, Field(ge=1, le=1024)] = 1
    # further copies of each shard, on other nodes
    replicas: Annotated[int, Field(ge=0, le=10)] = 0

    @property
    def urls(self) -> tuple[str, ...]:
        places = self._places(
            self.nodes, self.port, ELASTICSEARCH_NODES if self.cluster else 1
        )
        return tuple(f"{self.scheme}://{host}:{port}" for host, port in places)

    @property
    def login(self) -> tuple[str, str] | None:
        """User and password; None: Elasticsearch asks for none."""
        return (self.user, self.secret) if self.secret else None

    @model_validator(mode="after")
    def _certificates_are_for_https(self) -> Self:
        if self.ca_certs and self.scheme != "https":
            raise ValueError(
                "ca_certs is given and the scheme is http; set RECSYS_ELASTICSEARCH__SCHEME=https"
            )
        return self


class FeastSettings(HttpService):
    """Feast feature server: user and item features for ranking."""

    port: Port = 6566
    timeout_s: Seconds = 1.0
    # of all feature servers, where there are several, each of which must know a release before it goes live
    nodes: Nodes = ""

    @property
    def urls(self) -> tuple[str, ...]:
        return tuple(
            f"http://{host}:{port}"
            for host, port in self._places(self.nodes, self.port)
        )


class TritonSettings(HttpService):
    """Triton Inference Server: scores of the ranking model, over HTTP."""

    http_port: Port = 8000
    metrics_port: Port = 8002
    timeout_s: Seconds = 1.0
    # Folder with the Unix socket that Triton listens on in place of a port, so that its owner alone reaches it.
    # Left out, for a Triton on this machine without ``nodes``: the folder that the stack makes (`Settings`)
    socket_dir: AbsolutePath | None = None
    nodes: Nodes = ""  # of all Tritons, each of which must serve a release before it goes live; empty: host and port

    def may_use(self, socket_dir: Path) -> bool:
        """Whether it listens on a socket in a folder: nothing else is given."""
        return not self.socket_dir

    @property
    def urls(self) -> tuple[str, ...]:
        """Where requests are sent: the host, a load balancer, if one is named, else each Triton; or ``unix:/path``."""
        return self._urls_of(self.nodes if self.host in _LOOPBACK else "")

    @property
    def node_urls(self) -> tuple[str, ...]:
        """Each Triton by itself."""
        return self._urls_of(self.nodes)

    def _urls_of(self, nodes: str) -> tuple[str, ...]:
        if self.socket_dir:
            return (f"unix:{self.socket_dir / TRITON_SOCKET}",)
        return tuple(
            f"http://{host}:{port}"
            for host, port in self._places(nodes, self.http_port)
        )

    @model_validator(mode="after")
    def _on_a_socket_or_ports(self) -> Self:
        if self.socket_dir and self.nodes:
            raise ValueError("socket_dir and nodes are both given; unset one of them")
        return self


EXCHANGE_DIR = Path(__file__).resolve().parent


def is_loopback(host: str) -> bool:
    """Whether an address, or ``localhost``, is of this machine alone."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _rates(text: str) -> str:
    if re.fullmatch(r"([1-9]\d*/(second|minute|hour|day)(; ?(?!$)|$))*", text):
        return text
    raise ValueError(
        f"{text!r} is no limit of requests; say for example '20/second; 1000/hour'"
    )


class ServerSettings(ServiceSettings):
    """The Flask server. ``host`` is the address it binds."""

    port: Port = 5000
    workers: Annotated[int, Field(ge=1)] = 2
    threads: Annotated[int, Field(ge=1)] = 8  # requests a worker answers at once
    # requests in a worker, answered or waiting; beyond: 503
    max_in_flight: Annotated[int, Field(ge=1)] = 64
    # connections of a worker, at most half of the files that it may open; beyond: a new one replaces another
    max_connections: Annotated[int, Field(ge=1)] = 1_000
    # of a connection's first head, of each body from its head to its last byte, and of a client that reads no answer
    arrival_timeout_s: Seconds = 5.0
    # host names that requests may name, "a.example, .b.example"; empty: any, or on loopback only its own
    allowed_hosts: str = ""
    # address that the port of a container is published on, where it is not ``host``
    published_on: str = ""
    # who may send requests to an open server that may take longer than budget_ms: strict ones, or with a larger budget
    strict_for: Literal["keys", "all"] = "keys"
    # what needs a key; None: all on an open server, else writes. "writes" on an open server: anybody may read
    keys_for: Literal["writes", "all"] | None = None
    # hashes of the keys; `make api-key` writes it
    keys_file: AbsolutePath | None = None
    key: SecretStr | None = None  # what the project's own client sends
    # requests a client may send: "20/second; 1000/hour"
    rate: Annotated[str, AfterValidator(_rates)] = ""
    # reverse proxies in front, each adding to X-Forwarded-For
    proxies: Annotated[int, Field(ge=0)] = 0
    # of a request that names no budget of its own
    budget_ms: Annotated[int, Field(ge=20, le=10_000)] = 250
    # at most, before the first request: see extras/warm_up
    warm_up_s: Annotated[float, Field(ge=0, le=10)] = 5.0
    # "all", "none", or some: "page,keys"
    extras: Annotated[str, Field(pattern=r"^[\w-]+(, *[\w-]+)*$")] = "all"

    @property
    def is_open(self) -> bool:
        """Whether other machines can reach the server: its address is not loopback, or proxies are in front of it."""
        return self.proxies > 0 or not is_loopback(self.published_on or self.host)

    @property
    def reads_need_key(self) -> bool:
        return self.keys_for == "all" or (self.keys_for is None and self.is_open)

    @property
    def url(self) -> str:
        host = "127.0.0.1" if self.host == "0.0.0.0" else self.host  # noqa: S104 (compared, not bound)
        return f"http://{host}:{self.port}"


Service = TypeVar("Service", RedisSettings, ElasticsearchSettings, TritonSettings)
IN_MEMORY: Final = "pandas"  # the built-in engine


def _known_recipe(name: str) -> str:
    if name.endswith(".json"):
        name = str(Path(name).absolute())
    recipes.recipe_called(name)
    return name


class ExtensionSettings(BaseSettings):
    """Settings from environment variables: base of those of an extension, or of one step, under an ``env_prefix``."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", env_ignore_empty=True
    )

    @classmethod
    def load(cls) -> Self:
        """Read the environment; a wrong value ends the process with one sentence that names it."""
        try:
            return cls()
        except ValidationError as error:
            prefix = cls.model_config["env_prefix"]
            problems = []
            for each in error.errors():
                variable = "__".join(map(str, each["loc"])).upper().removeprefix(prefix)
                problems.append(
                    f"{prefix}{variable}: {each['msg'].removeprefix('Value error, ')}"
                )
            sys.exit(f"Wrong setting: {'; '.join(problems)}")


class Settings(ExtensionSettings):
    """Every setting that is not an extension's own.

    Raises pydantic's ValidationError; `load` turns it into one clear sentence.
    """

    model_config = SettingsConfigDict(
        env_prefix="RECSYS_",
        env_nested_delimiter="__",
        populate_by_name=True,
    )

    # folder or zip with a data set, or a name such as ta-feng; see offline/preprocess/s0_get_data.py
    data: Annotated[Path, AfterValidator(_data)] | None = None
    # merge the feedback that `make events` has fetched into the data set
    train_on_events: bool = True
    final: bool = False  # fit on all events: nothing is held out, so there is nothing to evaluate on
    # where steps and services hand data to each other
    exchange_dir: AbsolutePath = EXCHANGE_DIR
    # software of the local stack that is not in .venv
    services_dir: AbsolutePath = EXCHANGE_DIR.parent / ".services"
    recipe_name: Annotated[str, AfterValidator(_known_recipe)] = Field(
        default="default", validation_alias="RECSYS_RECIPE"
    )
    # published ones that the stores keep, the active one among them
    kept_releases: Annotated[int, Field(ge=2)] = 3
    # what the steps and Feast compute with: pandas, or the name of a plugin (see past_one_machine)
    engine: Annotated[str, Field(pattern=r"^\w+$")] = IN_MEMORY
    redis: RedisSettings = RedisSettings()
    elasticsearch: ElasticsearchSettings = ElasticsearchSettings()
    feast: FeastSettings = FeastSettings()
    triton: TritonSettings = TritonSettings()
    server: ServerSettings = ServerSettings()
    _made_of: tuple[str, recipes.Recipe] | None = PrivateAttr(default=None)

    @field_validator("redis", "elasticsearch", "triton")
    @classmethod
    def _on_this_machine(cls, service: Service, info: ValidationInfo) -> Service:
        """Fill in the password's file and the socket of the stack's own services, where no others are named."""
        own = info.data.get("exchange_dir", EXCHANGE_DIR) / "online"
        name = info.field_name
        if service.host not in _LOOPBACK or service.nodes:
            return service
        filled: dict[str, Path] = {}
        if isinstance(service, Guarded) and not (
            service.password or service.password_file
        ):
            filled["password_file"] = own / "secrets" / f"{name}" / "password"
        sockets = own / f"{name}-sockets"
        if isinstance(service, RedisSettings | TritonSettings) and service.may_use(
            sockets
        ):
            filled["socket_dir"] = sockets
        return service.model_copy(update=filled)

    @property
    def recipe(self) -> recipes.Recipe:
        """The recipe that RECSYS_RECIPE names: see `recipe_called`. A data set may name another one for `default`."""
        if self._made_of is not None:
            return self._made_of[1]
        name = self.recipe_name
        if name == recipes.DEFAULT.name:
            name = self._dataset_in_use.get("recipe", name)
        return recipes.recipe_called(name)

    @property
    def offline_dir(self) -> Path:
        """What is kept of every data set and recipe, and the data set in use, as step 0 wrote it last: ``raw``."""
        return self.exchange_dir / "offline"

    @property
    def trained_dir(self) -> Path:
        """An exchange folder for each data set and recipe, ``<data set>/<recipe>``: see `artifacts_dir`."""
        return self.exchange_dir / "trained"

    @property
    def artifacts_dir(self) -> Path:
        """The exchange folder of the data set in use and the recipe: the paths in `artifacts` are below it.

        Where step 0 has made none, as in version 1.0, it is the exchange folder of all.
        """
        if self._made_of is not None:
            dataset, recipe = self._made_of
        else:
            name = str(self._dataset_in_use.get("name", ""))
            dataset, recipe = name.partition("+")[0], self.recipe  # its `base_name`
        if not (dataset and any(self.trained_dir.glob("*"))):
            return self.exchange_dir
        return self.trained_dir / dataset / recipe.name

    @property
    def _dataset_in_use(self) -> Mapping[str, Any]:
        """`Dataset` of the data set that step 0 wrote last, as JSON; empty where there is none, or a damaged one."""
        dataset = self.offline_dir / "raw" / "dataset.json"  # `artifacts.DATASET`
        try:
            found = json.loads(dataset.read_bytes())
        except (OSError, ValueError):  # the next step that reads it says so
            return {}
        return found if isinstance(found, dict) else {}

    def made_of(self, dataset: str, recipe: recipes.Recipe) -> Self:
        """The settings of another data set's and recipe's artifacts; ``dataset``: `Dataset.base_name`."""
        settings = self.model_copy()
        settings._made_of = (dataset, recipe)
        return settings

    @property
    def release_dir(self) -> Path:
        """Manifests of the releases, one folder a release."""
        return self.exchange_dir / "offline_to_online"

    def service_dir(self, service: str) -> Path:
        """The folder that a service's container mounts: ``data_exchange_center/online/<service>``."""
        return self.exchange_dir / "online" / service

    def events_dir(self, dataset: str) -> Path:
        """The log of a data set's events, brought by `make events`; ``dataset``: `Dataset.base_name`."""
        return self.service_dir("events") / dataset

    @property
    def keys_file(self) -> Path:
        """File with the hashes of the server's keys, in a folder of its own, which a container mounts."""
        return self.server.keys_file or self.service_dir("keys") / "api_keys"

    def password_file(self, service: str) -> Path:
        """File with the password that the stack generates for a service of its own, likewise."""
        return self.service_dir("secrets") / service / "password"

    def workers_dir(self, kind: str) -> Path:
        """A folder of the server's workers. ``metrics``: Prometheus metrics of each, summed when scraped; ``workers``:
        a marker file of each, named by its pid and made once it is ready."""
        return self.service_dir("server") / f"{kind}-{self.server.port}"


load_settings = Settings.load
