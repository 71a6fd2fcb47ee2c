"""The jars that make an Elasticsearch node: locked by coordinate and sha256, brought from Maven Central."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from maven_artifact import Artifact, Downloader, RequestException

from data_exchange_center.artifacts import sha256, written_in_place
from online.stack.service import StackError

LOCK: Final = Path(__file__).with_name("jars.lock")
# A plugin has a class loader of its own: its jars must not be on the module path too.
_PLUGIN: Final = re.compile(r"(netty-|transport-netty4-)")


@dataclass(frozen=True)
class Jar:
    """One line of jars.lock: ``group:artifact:version sha256``."""

    coordinate: str
    sha256: str

    @property
    def filename(self) -> str:
        _, artifact, version = self.coordinate.split(":")
        return f"{artifact}-{version}.jar"

    @property
    def in_plugin(self) -> bool:
        return bool(_PLUGIN.match(self.filename))


@cache
def locked_jars(lock: Path = LOCK) -> tuple[Jar, ...]:
    return tuple(Jar(*line.split()) for line in lock.read_text(encoding="utf-8").splitlines() if line)


def fetch(jar: Jar, folder: Path) -> bool:
    """Bring a jar unless its locked bytes are there already; True when it was brought.

    It is written beside its place and renamed, so an interrupted download leaves nothing that looks whole.
    Raises StackError when it cannot be brought or is not what was locked.
    """
    path = folder / jar.filename
    if path.is_file() and sha256(path) == jar.sha256:
        return False
    with written_in_place(path) as temporary:
        try:
            Downloader().download(Artifact.parse(jar.coordinate), str(temporary))
        except RequestException as error:
            raise StackError(
                f"{jar.coordinate} could not be brought from Maven Central ({error}): is the network there? "
                "Run `make services` again; what was brought already is kept."
            ) from error
        found = sha256(temporary)
        if found != jar.sha256:
            raise StackError(
                f"{jar.coordinate}: sha256 is {found}, {LOCK.name} says {jar.sha256}. "
                "The download is not what was locked: run `make services` again."
            )
    return True
