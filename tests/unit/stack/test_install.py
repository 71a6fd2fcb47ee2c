import hashlib
import sys
from pathlib import Path
from typing import Any

import maven_artifact
import pytest

from data_exchange_center.settings import Settings
from stack.elasticsearch import jars, node, service
from stack.elasticsearch.jars import Jar
from stack.elasticsearch.service import ELASTICSEARCH
from stack.service import StackError
from stack.triton import service as triton
from stack.triton.service import TRITON

CONTENT = b"a jar"


class Repository:
    """Stands in for Maven Central: gives every artifact the same bytes and counts."""

    def __init__(self) -> None:
        self.content, self.requested = CONTENT, list[str]()
        self.fails_after = 100

    def download(self, artifact: Any, filename: str) -> None:
        if len(self.requested) >= self.fails_after:
            # what a broken connection leaves
            Path(filename).write_bytes(self.content[:2])
            raise maven_artifact.RequestException("connection lost")
        self.requested.append(str(artifact))
        Path(filename).write_bytes(self.content)


@pytest.fixture
def repository(monkeypatch: pytest.MonkeyPatch) -> Repository:
    made = Repository()
    monkeypatch.setattr(maven_artifact, "Downloader", lambda: made)
    digest = hashlib.sha256(CONTENT).hexdigest()
    locked = [Jar(f"org.example:part{n}:1.0", digest) for n in range(20)]
    for module in (jars, service):
        monkeypatch.setattr(module, "locked_jars", lambda: locked)
    return made


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(exchange_dir=tmp_path, services_dir=tmp_path / "services")


def test_an_interrupted_installation_goes_on_where_it_was(
    settings: Settings, repository: Repository
) -> None:
    repository.fails_after = 7
    with pytest.raises(StackError, match="could not be downloaded from Maven Central"):
        ELASTICSEARCH.install(settings)
    left = list(service.library(settings).iterdir())
    # nothing that is half written
    assert all(path.read_bytes() == CONTENT for path in left)
    with pytest.raises(StackError, match="jars are missing"):
        ELASTICSEARCH.check(settings)

    repository.fails_after = 100
    for _ in range(2):
        ELASTICSEARCH.install(settings)
        ELASTICSEARCH.check(settings)
        assert len(repository.requested) == 20  # none was brought twice


def test_bytes_that_are_not_the_locked_ones_are_refused(
    settings: Settings, repository: Repository
) -> None:
    repository.content = b"something else"
    with pytest.raises(StackError, match=r"part\d+:1.0: sha256 is .*, jars.lock says"):
        ELASTICSEARCH.install(settings)
    assert list(service.library(settings).iterdir()) == []


def test_triton_s_environment_is_made_once_until_its_pins_are_others(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It counts as whole only once everything has been done."""
    ran: list[str] = []
    stub = f"python_backend_stubs/{triton.PYTHON}/triton_python_backend_stub"

    def run(*arguments: str) -> None:
        ran.append(arguments[0])
        wheel = triton.site_packages(settings) / "pytriton" / "tritonserver"
        for name in (stub, "backends/python/x.so"):
            (wheel / name).parent.mkdir(parents=True, exist_ok=True)
            (wheel / name).write_text("x")

    def interrupted(_: Settings) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(triton, "uv", run)
    with monkeypatch.context() as patch:
        patch.setattr(triton, "lay_out_backends", interrupted)
        with pytest.raises(KeyboardInterrupt):
            TRITON.install(settings)
    for _ in range(2):
        with pytest.raises(StackError, match="make setup"):
            TRITON.check(settings)
        ran.clear()
        for _ in range(2):
            TRITON.install(settings)
        TRITON.check(settings)
        assert ran == ["venv", "pip"]
        other = tmp_path / "requirements.txt"
        other.write_text("nvidia-pytriton==0.8.0\n")
        monkeypatch.setattr(triton, "REQUIREMENTS", other)
    copied = triton.backends_dir(settings) / "python" / "triton_python_backend_stub"
    assert copied.stat().st_mode & 0o100


# Homes of the services


def test_plugin_jars_leave_the_class_path_old_ones_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two versions of one jar in a plugin stop the node: it would not start on the data of an earlier version."""
    locked = [Jar(f"org.example:{name}:2.0", "0") for name in ("server", "netty-x")]
    monkeypatch.setattr(node, "locked_jars", lambda: locked)
    plugin, data = tmp_path / "modules/transport-netty4", tmp_path / "data/kept"
    jars = [tmp_path / "server-2.0.jar", tmp_path / "netty-x-2.0.jar"]
    for path in (*jars, plugin / "netty-x-1.0.jar", data):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    for _ in range(2):
        node.lay_out(tmp_path, tmp_path)
    names = sorted(path.name for path in plugin.iterdir())
    assert names == ["netty-x-2.0.jar", "plugin-descriptor.properties"]
    assert data.exists()


def test_a_bundled_library_is_stood_in_for(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    libraries = triton.site_packages(settings) / "nvidia_pytriton.libs"
    libraries.mkdir(parents=True)
    name = f"libpython3-0a1b.{sys.version_info[1]}.so.1.0"
    (libraries / name).touch()
    monkeypatch.setattr(triton, "libpython_dir", lambda: Path("/usr/lib/here"))
    for _ in range(2):  # each start
        triton.replace_libpython(settings)
        found = (libraries / name).readlink()
        assert found == Path(f"/usr/lib/here/libpython{triton.PYTHON}.so.1.0")
    environment = TRITON.program(settings).environment
    assert environment["LD_LIBRARY_PATH"] == f"{libraries}:/usr/lib/here"
