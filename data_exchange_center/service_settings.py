"""Settings of the four services: where they are, how long one may take, and what a cluster of one promises."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator


def _absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError(
            f"{str(path)!r} is relative, and every step runs in a folder of its own; give an absolute path"
        )
    return path


def _file(path: Path) -> Path:
    if not path.is_file():
        raise ValueError(f"there is no file {str(path)!r}")
    return path


def _nodes(text: str) -> str:
    for node in text.split(",") if text else ():
        host, _, port = node.strip().rpartition(":")
        if not host or not port.isdecimal() or not 1 <= int(port) <= _LAST_PORT:
            raise ValueError(f"{node.strip()!r} is no node; say for example 'one:6379,two:6379'")
    return text


_LAST_PORT: Final = 65535
_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
AbsolutePath = Annotated[Path, AfterValidator(_absolute)]
Port = Annotated[int, Field(ge=1, le=_LAST_PORT)]
Seconds = Annotated[float, Field(gt=0)]
Nodes = Annotated[str, AfterValidator(_nodes)]  # "host:port,host:port"
Address = tuple[str, int]  # host, port
REDIS_SERVERS: Final = 6  # of a cluster on this machine, on ports one after the other: three masters, a replica each
ELASTICSEARCH_NODES: Final = 3  # likewise


class ServiceSettings(BaseModel):
    """What all services have."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    host: str = "127.0.0.1"


def _addresses(nodes: str, host: str, port: int, here: int) -> tuple[Address, ...]:
    """Where a service's nodes are: those that are named, or else ``here`` on this machine, or else host and port."""
    if nodes:
        named = (node.strip().rpartition(":") for node in nodes.split(","))
        return tuple((host, int(port)) for host, _, port in named)
    return tuple((host, port + n) for n in range(here if host in _LOOPBACK else 1))


def _http(addresses: tuple[Address, ...]) -> tuple[str, ...]:
    return tuple(f"http://{host}:{port}" for host, port in addresses)


def _for_every_client(password: SecretStr) -> SecretStr:
    """A password that Redis's configuration file and Feast's connection string can be told as it is."""
    text = password.get_secret_value()
    if unfit := re.search(r'[,"\\\x00-\x1f\x7f]', text):
        raise ValueError(f"it has {unfit[0]!r} in it, which Feast's connection string cannot express; choose another")
    try:
        json.loads(text)
    except ValueError:
        return password
    raise ValueError("Feast would read it as a number or a constant, not as text; choose one with more than that in it")


class RedisSettings(ServiceSettings):
    """Redis: user state for recall. The password may come from a file: RECSYS_REDIS__PASSWORD_FILE."""

    port: Port = 6379
    password: Annotated[SecretStr, AfterValidator(_for_every_client)] | None = None
    timeout_s: Seconds = 0.5
    feast_db: Annotated[int, Field(ge=1, le=15)] = 1  # Feast's online store; the user state lives in database 0
    cluster: bool = False  # Redis Cluster, which has one database; the local stack then starts six servers
    nodes: Nodes = ""  # of a cluster, where it is asked first what nodes it has; empty: host and port
    write_replicas: Annotated[int, Field(ge=0, le=5)] = 1  # of a cluster, that have an event before it is acknowledged

    @model_validator(mode="before")
    @classmethod
    def _password_from_file(cls, values: Any) -> Any:
        """``password_file`` in place of ``password``: where secrets are files. An empty file means no password."""
        if not isinstance(values, dict) or not (file := values.get("password_file")):
            return values
        others = {name: value for name, value in values.items() if name != "password_file"}
        if others.get("password"):
            raise ValueError("password and password_file are both given; unset one of them")
        try:
            password = Path(file).read_text(encoding="utf-8").rstrip("\n")
        except OSError as error:
            raise ValueError(f"password_file {str(file)!r} cannot be read: {error.strerror}") from error
        return others | ({"password": password} if password else {})

    @model_validator(mode="after")
    def _nodes_are_a_clusters(self) -> Self:
        if self.nodes and not self.cluster:
            raise ValueError("nodes are given and cluster is not; set RECSYS_REDIS__CLUSTER=true")
        return self

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where a cluster is asked first, or the one server is."""
        return _addresses(self.nodes, self.host, self.port, REDIS_SERVERS if self.cluster else 1)


class ElasticsearchSettings(ServiceSettings):
    """Elasticsearch: inverted index and vector index of the items."""

    port: Port = 9200
    transport_port: Port = 9300
    scheme: Literal["http", "https"] = "http"  # the local stack and the containers speak http
    ca_certs: Annotated[AbsolutePath, AfterValidator(_file)] | None = (
        None  # PEM file, for https with your own authority
    )
    user: str = "elastic"
    password: SecretStr | None = None
    timeout_s: Seconds = 1.0
    cluster: bool = False  # several nodes; the local stack then starts three
    nodes: Nodes = ""  # of a cluster; empty: host and port
    shards: Annotated[int, Field(ge=1, le=1024)] = 1  # of an index that is made from now on
    replicas: Annotated[int, Field(ge=0, le=10)] = 0  # copies of each shard beside the first, on other nodes

    @property
    def urls(self) -> tuple[str, ...]:
        """Of all nodes that are known."""
        places = _addresses(self.nodes, self.host, self.port, ELASTICSEARCH_NODES if self.cluster else 1)
        return tuple(f"{self.scheme}://{host}:{port}" for host, port in places)

    @property
    def url(self) -> str:
        """Where a person would look."""
        return self.urls[0]

    @model_validator(mode="after")
    def _certificates_are_for_https(self) -> Self:
        if self.ca_certs and self.scheme != "https":
            raise ValueError("ca_certs is given and the scheme is http; set RECSYS_ELASTICSEARCH__SCHEME=https")
        return self


class FeastSettings(ServiceSettings):
    """Feast feature server: user and item features for ranking."""

    port: Port = 6566
    timeout_s: Seconds = 1.0
    nodes: Nodes = ""  # of all feature servers, where there are several; empty: host and port

    @property
    def urls(self) -> tuple[str, ...]:
        """Of all feature servers: each is asked in its turn, and must know a release before it goes live."""
        return _http(_addresses(self.nodes, self.host, self.port, 1))

    @property
    def url(self) -> str:
        """Where a person would look."""
        return self.urls[0]


class TritonSettings(ServiceSettings):
    """Triton Inference Server: scores of the ranking model."""

    http_port: Port = 8000
    grpc_port: Port = 8001
    metrics_port: Port = 8002
    timeout_s: Seconds = 1.0
    nodes: Nodes = ""  # gRPC addresses of all Tritons, each of which must load a model; empty: host's
    http_nodes: Nodes = ""  # of all that requests go to; empty: host, behind which they stand
    # File with the secret that loading a model takes, as a model is code; empty: the one that the stack makes
    repository_key_file: AbsolutePath | None = None

    @property
    def http_urls(self) -> tuple[str, ...]:
        """Of whoever is asked for scores, each in its turn."""
        return _http(_addresses(self.http_nodes, self.host, self.http_port, 1))

    @property
    def http_url(self) -> str:
        """Where a person would look."""
        return self.http_urls[0]

    @property
    def grpc_addresses(self) -> tuple[str, ...]:
        """Of every Triton that is to know a new model."""
        return tuple(f"{host}:{port}" for host, port in _addresses(self.nodes, self.host, self.grpc_port, 1))

    @model_validator(mode="after")
    def _whoever_is_asked_loads_models(self) -> Self:
        if len(self.http_urls) > len(self.grpc_addresses):
            raise ValueError(
                f"http_nodes names {len(self.http_urls)} Tritons and nodes {len(self.grpc_addresses)}; name the gRPC "
                "address of each in RECSYS_TRITON__NODES, or a release would be missing from some"
            )
        return self
