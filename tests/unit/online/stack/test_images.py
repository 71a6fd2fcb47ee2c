"""The images that are built here: their health check, the packages of the server's, the entry points in them."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
import threading
import tomllib
from importlib.machinery import SourceFileLoader
from importlib.metadata import distributions, packages_distributions
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest

from data_exchange_center import VERSION
from online.stack.images.entry_points import main
from online.stack.service import LOOPBACK, ROOT


@pytest.fixture(scope="module")
def healthy() -> ModuleType:
    loader = SourceFileLoader("healthy", str(ROOT / "online/stack/images/healthy"))
    spec = spec_from_loader("healthy", loader)
    assert spec
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


class Redis:
    """Answers each command with the next of the answers, and keeps what it was sent."""

    def __init__(self, *answers: bytes) -> None:
        self.asked: list[bytes] = []
        self._answers = answers
        self._listening = socket.create_server((LOOPBACK, 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        connection, _ = self._listening.accept()
        with connection:
            for answer in self._answers:
                self.asked.append(connection.recv(1000))
                connection.sendall(answer)


def test_without_a_password_it_only_pings(healthy: ModuleType, tmp_path: Path) -> None:
    redis = Redis(b"+PONG\r\n")
    assert healthy.ask_redis(redis.port, tmp_path / "none") == ""
    assert redis.asked == [b"*1\r\n$4\r\nPING\r\n"]


@pytest.mark.parametrize("content", ["s3cret", "s3cret\n"])
def test_the_password_of_the_file_is_sent_without_the_newline_that_editors_add(
    healthy: ModuleType, tmp_path: Path, content: str
) -> None:
    (tmp_path / "password").write_text(content)
    redis = Redis(b"+OK\r\n", b"+PONG\r\n")
    assert healthy.ask_redis(redis.port, tmp_path / "password") == ""
    assert redis.asked[0] == b"*2\r\n$4\r\nAUTH\r\n$6\r\ns3cret\r\n"


def test_an_error_that_is_answered_is_no_health(healthy: ModuleType, tmp_path: Path) -> None:
    redis = Redis(b"-NOAUTH Authentication required.\r\n")
    assert "NOAUTH" in healthy.ask_redis(redis.port, tmp_path / "none")


RUN_IN_IT = ("online.stack.containers", "online.main.s1_server", "online.gunicorn_conf", "gunicorn.workers.gasgi")
OWN = "recsys-pipeline"
WITHOUT = """
import importlib, json, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

absent = set(json.loads(sys.argv[2]))
sys.meta_path.insert(0, Absent())
importlib.import_module(sys.argv[1])
"""


def absent_packages() -> list[str]:
    """Packages of this environment that the image does not install."""
    lock = (ROOT / "online/stack/images/server.txt").read_text(encoding="utf-8")
    installed = {*re.findall(r"^([a-z0-9-]+)==", lock, re.MULTILINE), OWN}
    return [
        package
        for package, distributions in packages_distributions().items()
        if not {name.lower().replace("_", "-").replace(".", "-") for name in distributions} & installed
    ]


@pytest.mark.parametrize("module", RUN_IN_IT)
def test_it_starts_with_what_the_image_installs(module: str) -> None:
    absent = absent_packages()
    assert {"torch", "pandas", "psutil"} <= set(absent)
    command = [sys.executable, "-c", WITHOUT, module, json.dumps(absent)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr


def test_python_finds_in_an_image_what_pyproject_declares(tmp_path: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    main(tmp_path)
    (found,) = distributions(path=[str(tmp_path)])
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert (found.name, found.version) == (declared["name"], declared["version"])
    assert declared["version"] == VERSION
    points = {(point.group, point.name, point.value) for point in found.entry_points}
    assert points == {
        (group, name, value) for group, named in declared["entry-points"].items() for name, value in named.items()
    }
