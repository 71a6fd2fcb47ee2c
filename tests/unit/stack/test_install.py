from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

import maven_artifact
import pytest

from data_exchange_center.settings import Settings
from stack.elasticsearch import jars, node, service
from stack.elasticsearch.jars import Jar
from stack.service import StackError
from stack.triton import service as triton
from tests.free_ports import settings_on_free_ports

CONTENT = b"a jar"


class Repository:
    """Stands in for Maven Central: gives every artifact the same bytes and counts."""

    content = CONTENT
    requested: list[str]
    fails_after: int | None = None

    def __init__(self) -> None:
        self.requested = []

    def download(self, artifact: Any, filename: str) -> bool:
        if self.fails_after is not None and len(self.requested) >= self.fails_after:
            # what a broken connection leaves
            Path(filename).write_bytes(self.content[:2])
            raise maven_artifact.RequestException("connection lost")
        self.requested.append(str(artifact))
        Path(filename).write_bytes(self.content)
        return True


@pytest.fixture
def repository(monkeypatch: pytest.MonkeyPatch) -> Repository:
    made = Repository()
    monkeypatch.setattr(maven_artifact, "Downloader", lambda: made)
    locked = tuple(
        Jar(f"org.example:part{n}:1.0", hashlib.sha256(CONTENT).hexdigest())
        for n in range(20)
    )
    for module in (jars, service):
        monkeypatch.setattr(module, "locked_jars", lambda: locked)
    return made


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_on_free_ports(tmp_path).model_copy(
        update={"services_dir": tmp_path / "services"}
    )


def fetch(settings: Settings) -> None:
    jars.fetch_all(service.library(settings))


def test_an_interrupted_installation_goes_on_where_it_was(
    settings: Settings, repository: Repository
) -> None:
    repository.fails_after = 7
    with pytest.raises(StackError, match="could not be downloaded from Maven Central"):
        fetch(settings)
    left = list(service.library(settings).iterdir())
    # nothing that is half written
    assert all(path.read_bytes() == CONTENT for path in left)
    assert service.ELASTICSEARCH.missing(settings) is not None

    repository.fails_after = None
    for _ in range(2):
        fetch(settings)
        assert service.ELASTICSEARCH.missing(settings) is None
        assert len(repository.requested) == 20  # none was brought twice


def test_bytes_that_are_not_the_locked_ones_are_refused(
    settings: Settings, repository: Repository
) -> None:
    repository.content = b"something else"
    with pytest.raises(StackError, match=r"part\d+:1.0: sha256 is .*, jars.lock says"):
        fetch(settings)
    assert list(service.library(settings).iterdir()) == []


class TestTriton:
    """Its environment counts as whole only once everything has been done."""

    @pytest.fixture
    def commands(
        self, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> list[str]:
        ran: list[str] = []

        def run(*command: str) -> None:
            ran.append(command[3])
            if command[3] == "pip":
                wheel = triton.site_packages(settings) / "pytriton" / "tritonserver"
                stub = (
                    f"python_backend_stubs/{triton.PYTHON}/triton_python_backend_stub"
                )
                for name in (stub, "backends/python/x.so"):
                    (wheel / name).parent.mkdir(parents=True, exist_ok=True)
                    (wheel / name).write_text("x")

        monkeypatch.setattr(triton, "run_quietly", run)
        return ran

    def test_it_is_made_once_until_its_pins_are_others(
        self,
        settings: Settings,
        commands: list[str],
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
    ) -> None:
        triton.TRITON.install(settings)
        assert commands == ["venv", "pip"]
        assert triton.TRITON.missing(settings) is None
        stub = triton.backends_dir(settings) / "python" / "triton_python_backend_stub"
        assert stub.stat().st_mode & 0o100
        triton.TRITON.install(settings)
        assert commands == ["venv", "pip"]
        other = tmp_path / "requirements.txt"
        other.write_text("nvidia-pytriton==0.8.0\n")
        monkeypatch.setattr(triton, "REQUIREMENTS", other)
        assert triton.TRITON.missing(settings) is not None

    def test_an_interrupted_installation_is_repeated(
        self, settings: Settings, commands: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupted(_: Settings) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(triton, "lay_out_backends", interrupted)
            with pytest.raises(KeyboardInterrupt):
                triton.TRITON.install(settings)
        assert triton.TRITON.missing(settings) is not None
        triton.TRITON.install(settings)
        assert triton.TRITON.missing(settings) is None


# Homes of the services

JARS = (Jar("org.example:server:2.0", "0"), Jar("org.example:netty-buffer:2.0", "0"))


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(node, "locked_jars", lambda: JARS)
    folder = tmp_path / "library"
    folder.mkdir()
    for jar in JARS:
        (folder / jar.filename).write_bytes(b"jar")
    return folder


def test_plugin_jars_leave_the_class_path_old_ones_go(
    library: Path, tmp_path: Path
) -> None:
    """Two versions of one jar in a plugin stop the node: it would not start on the data of an earlier version."""
    home = tmp_path / "home"
    plugin = home / "modules/transport-netty4"
    plugin.mkdir(parents=True)
    (plugin / "netty-buffer-1.0.jar").touch()
    (home / "data").mkdir()
    (home / "data/kept").touch()
    node.lay_out(library, home)
    node.lay_out(library, home)
    assert sorted(path.name for path in plugin.iterdir()) == [
        "netty-buffer-2.0.jar",
        "plugin-descriptor.properties",
    ]
    assert (home / "data/kept").exists()


def test_a_bundled_library_is_stood_in_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(services_dir=tmp_path)
    bundled = (
        triton.site_packages(settings)
        / "nvidia_pytriton.libs"
        / f"libpython3-0a1b.{sys.version_info[1]}.so.1.0"
    )
    bundled.parent.mkdir(parents=True)
    bundled.touch()
    monkeypatch.setattr(triton, "libpython_dir", lambda: Path("/usr/lib/here"))
    for _ in range(2):  # each start
        link = triton.own_libpython(settings) / bundled.name
        assert link.readlink() == Path(f"/usr/lib/here/libpython{triton.PYTHON}.so.1.0")
    first, second, *_ = (
        triton.TRITON.program(settings).environment["LD_LIBRARY_PATH"].split(":")
    )
    assert (first, second) == (str(link.parent), str(bundled.parent))
