"""The jars that make an Elasticsearch node: locked by coordinate and sha256, downloaded from Maven Central.

They are the runtime dependencies of org.elasticsearch:elasticsearch, org.elasticsearch:elasticsearch-simdvec and
org.elasticsearch.plugin:transport-netty4, as Maven resolves them.
Run     python -m stack.elasticsearch.jars FOLDER
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Final, NamedTuple

from data_exchange_center.files import sha256, written_in_place
from data_exchange_center.steps import progress, run
from stack.service import StackError

LOCK: Final = Path(__file__).with_name("jars.lock")


class Jar(NamedTuple):
    """One line of jars.lock: ``group:artifact:version sha256``."""

    coordinate: str
    sha256: str

    @property
    def filename(self) -> str:
        _, artifact, version = self.coordinate.split(":")
        return f"{artifact}-{version}.jar"

    @property
    def in_plugin(self) -> bool:
        """A plugin has a class loader of its own: its jars must not be on the class path too."""
        return self.filename.startswith(("netty-", "transport-netty4-"))


@cache
def locked_jars() -> tuple[Jar, ...]:
    lines = LOCK.read_text(encoding="utf-8").splitlines()
    return tuple(Jar(*line.split()) for line in lines)


def fetch(jar: Jar, folder: Path) -> None:
    """Download a jar unless it is there with the locked sha256; an interrupted download is never taken for a whole one.

    Raises StackError when it cannot be downloaded or has another sha256.
    """
    from maven_artifact import (
        Artifact,
        Downloader,
        RequestException,
    )  # where nothing is fetched, it is not installed

    path = folder / jar.filename
    if path.is_file() and sha256(path) == jar.sha256:
        return
    with written_in_place(path, mode=0o644) as temporary:
        try:
            Downloader().download(Artifact.parse(jar.coordinate), str(temporary))
        except RequestException as error:
            raise StackError(
                f"{jar.coordinate} could not be downloaded from Maven Central ({error}). Check the network, then run "
                "`make setup` again; the jars downloaded so far are kept."
            ) from error
        if (found := sha256(temporary)) != jar.sha256:
            raise StackError(
                f"{jar.coordinate}: sha256 is {found}, {LOCK.name} says {jar.sha256}. "
                "The download is damaged or another file: run `make setup` again."
            )


def fetch_all(folder: Path) -> None:
    """Download the locked jars, eight at a time. Raises StackError naming the jar that failed."""
    folder.mkdir(parents=True, exist_ok=True)
    jars = locked_jars()
    with (
        redirect_stdout(StringIO()),
        ThreadPoolExecutor(8) as pool,
    ):  # the downloader prints two lines a jar
        fetched = pool.map(lambda jar: fetch(jar, folder), jars)
        list(progress(fetched, total=len(jars), desc="Elasticsearch", unit="jar"))


if __name__ == "__main__":
    run(lambda _: fetch_all(Path(sys.argv[1])))
