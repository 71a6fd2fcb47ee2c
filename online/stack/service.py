"""Description of a service, with Docker and without: one class a service.

The local stack is started from these; `docker-compose.yml` and `.env` are written by hand and a test holds
them against the same classes.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Final

import requests

from data_exchange_center import plugins
from data_exchange_center.errors import RecsysError
from data_exchange_center.http import local_session
from data_exchange_center.settings import Settings
from data_exchange_center.steps import system_problem

LOOPBACK: Final = "127.0.0.1"
ROOT: Final = Path(__file__).resolve().parents[2]
BIN: Final = Path(sys.executable).parent


class StackError(RecsysError):
    """A command of the stack failed. The message says what is wrong, where, and what to do."""


class NotReadyError(Exception):
    """A service runs but does not answer yet. The message says what it said, or that it said nothing."""


class NeedsActionError(NotReadyError):
    """A service runs well, and waiting will not make it ready: somebody has to do what the message says."""


@dataclass(frozen=True)
class Port:
    """One port of a service and the setting that moves it."""

    setting: tuple[str, str]  # path through `Settings`
    container: int  # the port inside the container, which is also the default on this machine
    in_a_row: int = 1  # how many from this one on the service takes where the settings say that it is a cluster

    def number(self, settings: Settings) -> int:
        group, name = self.setting
        number: int = getattr(getattr(settings, group), name)
        return number

    def numbers(self, settings: Settings) -> range:
        """All that the service takes."""
        first = self.number(settings)
        return range(first, first + (self.in_a_row if self._is_of_a_cluster(settings) else 1))

    def _is_of_a_cluster(self, settings: Settings) -> bool:
        return bool(getattr(getattr(settings, self.setting[0]), "cluster", False))

    @property
    def variable(self) -> str:
        """The environment variable that changes the port on this machine."""
        return "RECSYS_" + "__".join(self.setting).upper()


@dataclass(frozen=True)
class Program:
    """A process that runs on this machine under the supervisor."""

    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


def cluster_program(settings: Settings, service: str) -> Program:
    """Run the plugin that keeps a service's cluster of several nodes on this machine. Raises StackError without it."""
    plugin = plugins.find("recsys.clusters").get(service)
    if plugin is None:
        raise StackError(
            f"RECSYS_{service.upper()}__CLUSTER is set, and no plugin in the group recsys.clusters starts several "
            f"nodes of {service}: unset it, or install one."
        )
    command = (sys.executable, "-m", plugin.module, service)
    return Program(command, environment=settings.environment())


@dataclass(frozen=True)
class Container:
    """The same service in a container: in its maker's image, or in the one that is built here."""

    image: str  # the maker's, without tag
    tag: str
    tag_variable: str  # its name in .env
    command: tuple[str, ...]  # empty: the image's own
    mounts: Mapping[str, str]  # folder below the exchange folder's online/ -> path in the container
    healthcheck: tuple[str, ...]  # in the maker's image
    built_healthcheck: tuple[str, ...]  # in the image built here, which has neither curl nor valkey-cli
    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()  # names of files in /run/secrets


class Service(ABC):
    """A service of the stack: what there is to know about it, with Docker and without."""

    name: ClassVar[str]  # program name, folder name and compose service name
    title: ClassVar[str]  # how it is called in a sentence
    group: ClassVar[str]  # its group in `Settings`
    ports: ClassVar[tuple[Port, ...]]
    ready_within_s: ClassVar[float] = 120.0
    container: ClassVar[Container | None] = None  # None: built from this repository

    @abstractmethod
    def prepare(self, settings: Settings) -> None:
        """Lay out folders and static files before it starts. Safe to repeat."""

    @abstractmethod
    def missing(self, settings: Settings) -> str | None:
        """Say what software is missing, if any is."""

    @abstractmethod
    def program(self, settings: Settings) -> Program:
        """Command and variables of its process on this machine."""

    @abstractmethod
    def version(self, settings: Settings) -> str:
        """Version of the service that runs. Raises NotReadyError while it does not answer."""

    def log(self, settings: Settings) -> Path:
        return settings.service_dir("logs") / f"{self.name}.log"


def run(command: Callable[[], None], *, interrupted: str) -> None:
    """Run a command of the stack; what it cannot do, or the system refuses, ends the process with one sentence."""
    try:
        command()
    except StackError as problem:
        sys.exit(str(problem))
    except OSError as error:
        sys.exit(system_problem(error))
    except KeyboardInterrupt:
        sys.exit(interrupted)


def ask(service: str, port: int, path: str, timeout_s: float = 2.0) -> requests.Response:
    """GET from a service on this machine. Raises NotReadyError unless it answers 200."""
    try:
        with local_session() as session:
            response = session.get(f"http://{LOOPBACK}:{port}{path}", timeout=timeout_s)
    except requests.RequestException as error:
        raise NotReadyError(f"{service} does not answer on port {port} yet") from error
    if response.status_code != requests.codes.ok:
        raise NotReadyError(f"{service} answers {response.status_code} to {path}")
    return response
