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
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

from pydantic import SecretStr

from data_exchange_center import plugins
from data_exchange_center.errors import RecsysError
from data_exchange_center.files import write_text
from data_exchange_center.settings import Settings

if TYPE_CHECKING:
    from online.clients.base import Client

LOOPBACK: Final = "127.0.0.1"
ROOT: Final = Path(__file__).resolve().parents[1]
BIN: Final = Path(sys.executable).parent
READY_WITHIN_S: Final = 120.0


def environment_of(settings: Settings) -> dict[str, str]:
    """Settings as environment variables, for a child process with the same settings; those of extensions'
    own settings (`ExtensionSettings`) as they are here."""
    variables = {
        name: value for name, value in os.environ.items() if name.startswith("RECSYS_")
    }
    for name, value in settings.model_dump().items():
        group = f"RECSYS_{name.removesuffix('_name').upper()}"
        parts = value if isinstance(value, dict) else {"": value}
        for part, content in parts.items():
            if isinstance(content, SecretStr):
                content = content.get_secret_value()
            variable = f"{group}__{part.upper()}".removesuffix("__")
            variables[variable] = "" if content is None else str(content)
    for name in ("redis", "elasticsearch"):
        service, variable = getattr(settings, name), f"RECSYS_{name.upper()}__PASSWORD"
        # the value, so that a program restarts when it changes
        variables[variable] = service.secret or ""
        file = service.password_file
        if service.secret or (file and not file.exists()):
            variables[f"{variable}_FILE"] = ""
    return {name: value for name, value in variables.items() if value}


def make_private(folder: Path) -> None:
    """Make a folder that only its owner may enter, or close one that is there to all others."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)


def generated_secret(path: Path) -> str:
    """Read a secret that only its owner may read; generate it where the file does not exist yet."""
    make_private(path.parent)
    if not path.is_file():
        write_text(path, secrets.token_urlsafe(32))
    path.chmod(0o600)
    return path.read_text(encoding="utf-8").strip()


class StackError(RecsysError):
    """A command of the stack failed. The message says what is wrong, where, and what to do."""


class NotReadyError(Exception):
    """A service runs but is not ready. The message says what it said, or that it said nothing.

    Attributes:
        absent: services whose absence keeps it from being ready; none of them: it lacks a release.
            None: it needs nothing but time.
        degraded: it answers nevertheless.
    """

    def __init__(
        self,
        message: str,
        absent: Collection[str] | None = None,
        degraded: bool = False,
    ) -> None:
        super().__init__(message)
        self.absent, self.degraded = absent, degraded


class Program(NamedTuple):
    """A process that runs on this machine under the supervisor.

    ``fixed``: of the server, what new workers of a running one cannot take over.
    """

    command: tuple[str, ...]
    environment: Mapping[str, str]
    fixed: str = ""


def cluster_program(settings: Settings, service: str) -> Program:
    """Run the plugin that keeps a service's cluster of several nodes on this machine. Raises PluginError without it."""
    module = plugins.load(plugins.ENGINES, "nodes").__module__
    return Program((sys.executable, "-m", module, service), environment_of(settings))


class Service(ABC):
    """A program of the stack."""

    # of its program, its folder, its group in `Settings` and its container
    name: ClassVar[str]
    title: ClassVar[str]  # how it is called in a sentence
    # settings of its group; the first is not taken where it listens on a socket
    ports: ClassVar[tuple[str, ...]] = ("port",)

    def install(self, settings: Settings) -> None:  # noqa: B027 (most come with requirements.txt)
        """Install the software that is not in requirements.txt, if it is missing. Raises StackError."""

    def check(self, settings: Settings) -> None:  # noqa: B027
        """Raise StackError where its software is missing."""

    def prepare(self, settings: Settings) -> None:
        """Make folders and static files, and a password unless one is configured, before it starts. Safe to repeat."""
        group, own = getattr(settings, self.name), settings.password_file(self.name)
        settings.service_dir(self.name).mkdir(parents=True, exist_ok=True)
        if socket_dir := getattr(group, "socket_dir", None):
            make_private(socket_dir)
        if getattr(group, "password_file", None) == own:
            generated_secret(own)

    @abstractmethod
    def program(self, settings: Settings) -> Program:
        """Command and variables of its process on this machine."""

    @abstractmethod
    def version(self, settings: Settings) -> str:
        """Version of the service that runs. Raises NotReadyError while it does not answer."""

    def where(self, settings: Settings) -> str:
        """Say where it listens."""
        return str(getattr(settings, self.name).url)

    def numbers(self, settings: Settings) -> dict[str, int]:
        """Ports that it takes, of a cluster the first ones, by the variable that moves them."""
        group = getattr(settings, self.name)
        on_socket = getattr(group, "socket_dir", None) is not None
        return {
            f"RECSYS_{self.name}__{port}".upper(): getattr(group, port)
            for port in self.ports[on_socket:]
        }

    def log(self, settings: Settings) -> Path:
        return settings.service_dir("logs") / f"{self.name}.log"


def pinged(client: Client[Any, Any]) -> str:
    """Version that a service tells one of the server's clients. Raises NotReadyError."""
    with closing(client):
        try:
            return client.ping()
        except RecsysError as error:
            raise NotReadyError(str(error)) from error


def until(holds: Callable[[], bool], within_s: float) -> bool:
    """Poll a condition until it holds, for at most ``within_s`` seconds. Returns whether it does."""
    end = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True
