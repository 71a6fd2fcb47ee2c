"""Description of a service of the local stack: one class per service, which the commands start and probe.

In containers the same services are described by docker-compose.yml and .env; a test holds the two against each other.
"""

from __future__ import annotations

import os
import secrets
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Final

import requests
from pydantic import SecretStr

from data_exchange_center import plugins
from data_exchange_center.errors import RecsysError
from data_exchange_center.files import written_in_place
from data_exchange_center.http import local_session
from data_exchange_center.settings import Settings
from data_exchange_center.steps import system_problem

LOOPBACK: Final = "127.0.0.1"
ROOT: Final = Path(__file__).resolve().parents[1]
BIN: Final = Path(sys.executable).parent


def environment_of(settings: Settings) -> dict[str, str]:
    """Settings as environment variables, for a child process with the same settings; those of extensions'
    own settings (`ExtensionSettings`) as they are here."""
    variables = {
        name: value for name, value in os.environ.items() if name.startswith("RECSYS_")
    }
    for name, value in settings.model_dump().items():
        group = f"RECSYS_{'RECIPE' if name == 'recipe_name' else name.upper()}"
        variables.pop(group, None)
        for part, content in (
            value if isinstance(value, dict) else {"": value}
        ).items():
            variable = f"{group}__{part.upper()}".removesuffix("__")
            variables.pop(variable, None)
            if content is not None:
                variables[variable] = (
                    content.get_secret_value()
                    if isinstance(content, SecretStr)
                    else str(content)
                )
    for name, service in {
        "REDIS": settings.redis,
        "ELASTICSEARCH": settings.elasticsearch,
    }.items():
        password, file = service.secret, service.password_file
        if (
            password is not None
        ):  # the value, so that a program restarts when it changes
            variables[f"RECSYS_{name}__PASSWORD"] = password
        if file and (password or not file.exists()):
            del variables[f"RECSYS_{name}__PASSWORD_FILE"]
    return variables


def make_private(folder: Path) -> None:
    """Make a folder that only its owner may enter, or close one that is there to all others."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)


def generated_secret(path: Path) -> str:
    """Read a secret that only its owner may read; generate it where the file does not exist yet."""
    make_private(path.parent)
    if not path.is_file():
        with written_in_place(path) as temporary:
            temporary.write_text(secrets.token_urlsafe(32), encoding="utf-8")
    path.chmod(0o600)
    return path.read_text(encoding="utf-8").strip()


class StackError(RecsysError):
    """A command of the stack failed. The message says what is wrong, where, and what to do."""


class NotReadyError(Exception):
    """A service runs but does not answer yet. The message says what it said, or that it said nothing."""


class AbsentError(NotReadyError):
    """The server runs and lacks something: waiting helps only while one of ``services`` runs.

    Attributes:
        services: names of those that it calls and that do not answer; none if it has no release to serve.
        degraded: it answers nevertheless.
    """

    def __init__(
        self, message: str, services: Collection[str], *, degraded: bool
    ) -> None:
        super().__init__(message)
        self.services, self.degraded = frozenset(services), degraded


@dataclass(frozen=True)
class Port:
    """One port of a service and the setting that moves it."""

    setting: tuple[str, str]  # path through `Settings`
    # the port inside the container, which is also the default on this machine
    container: int
    in_cluster_only: bool = False  # a single node of the service does without it
    in_a_row: int = 1  # number of consecutive ports, from this one on, that a cluster of the service takes
    unless: str = ""  # setting of the group that names a socket's folder, which the service then listens in instead

    def number(self, settings: Settings) -> int:
        group, name = self.setting
        return int(getattr(getattr(settings, group), name))

    def socket_dir(self, settings: Settings) -> Path | None:
        """Folder of the socket that the service listens on in place of the port; None: it listens on the port."""
        socket_dir: Path | None = getattr(
            getattr(settings, self.setting[0]), self.unless, None
        )
        return socket_dir

    def numbers(self, settings: Settings) -> range:
        """All ports that the service takes."""
        if self.socket_dir(settings):
            return range(0)
        group = getattr(settings, self.setting[0])
        cluster = getattr(group, "cluster", False)
        if self.in_cluster_only and not cluster:
            return range(0)
        return range(
            self.number(settings),
            self.number(settings) + (self.in_a_row if cluster else 1),
        )

    @property
    def variable(self) -> str:
        """The environment variable that changes the port on this machine."""
        return "RECSYS_" + "__".join(self.setting).upper()


@dataclass(frozen=True)
class Program:
    """A process that runs on this machine under the supervisor."""

    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    # Unix socket that it makes, in the folder it runs in: removed before each start
    socket: Path | None = None


def cluster_program(settings: Settings, service: str) -> Program:
    """Run the plugin that keeps a service's cluster of several nodes on this machine. Raises StackError without it."""
    plugin = plugins.find(plugins.ENGINES).get("nodes")
    if plugin is None:
        raise StackError(
            f"RECSYS_{service.upper()}__CLUSTER is set, and no plugin nodes in the group {plugins.ENGINES} starts "
            f"several nodes of {service}: unset it, or install one."
        )
    return Program(
        (sys.executable, "-m", plugin.module, service),
        environment=environment_of(settings),
    )


class Service(ABC):
    """A program of the stack."""

    # of its program, its folder, its group in `Settings` and its container
    name: ClassVar[str]
    title: ClassVar[str]  # how it is called in a sentence
    ports: ClassVar[tuple[Port, ...]]
    ready_within_s: ClassVar[float] = 120.0

    def prepare(self, settings: Settings) -> None:  # noqa: B027 (the server has nothing to prepare)
        """Lay out folders and static files before it starts. Safe to repeat."""

    @abstractmethod
    def missing(self, settings: Settings) -> str | None:
        """Say what software is missing, if any is."""

    def install(self, settings: Settings) -> None:  # noqa: B027 (most come with requirements.txt)
        """Install the software that is not in requirements.txt, if it is missing. Raises StackError."""

    @abstractmethod
    def program(self, settings: Settings) -> Program:
        """Command and variables of its process on this machine."""

    @abstractmethod
    def version(self, settings: Settings) -> str:
        """Version of the service that runs. Raises NotReadyError while it does not answer."""

    def where(self, settings: Settings) -> str:
        """Say where it listens."""
        socket_dir = self.ports[0].socket_dir(settings)
        return (
            f"socket {socket_dir}"
            if socket_dir
            else f"port {self.ports[0].number(settings)}"
        )

    def log(self, settings: Settings) -> Path:
        return settings.service_dir("logs") / f"{self.name}.log"

    def ask(
        self,
        settings: Settings,
        path: str,
        timeout_s: float = 2.0,
        statuses: Collection[int] = (requests.codes.ok,),
        login: tuple[str, str] | None = None,
    ) -> requests.Response:
        """GET from its first port. Raises NotReadyError unless it answers with one of ``statuses``."""
        port = self.ports[0].number(settings)
        try:
            with local_session() as session:
                response = session.get(
                    f"http://{LOOPBACK}:{port}{path}", timeout=timeout_s, auth=login
                )
        except requests.RequestException as error:
            raise NotReadyError(
                f"{self.title} does not answer on port {port} yet"
            ) from error
        if response.status_code not in statuses:
            raise NotReadyError(
                f"{self.title} answers {response.status_code} to {path}"
            )
        return response


def until(holds: Callable[[], bool], within_s: float) -> bool:
    """Poll a condition until it holds, for at most ``within_s`` seconds. Returns whether it does."""
    end = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def run(command: Callable[[], None], *, interrupted: str) -> None:
    """Run a command of the stack; StackError and OSError end the process with one sentence, without a stack trace."""
    try:
        command()
    except StackError as problem:
        sys.exit(str(problem))
    except OSError as error:
        sys.exit(system_problem(error))
    except KeyboardInterrupt:
        sys.exit(interrupted)
