"""The health check of the images that are built here, against a Redis that only pretends."""

from __future__ import annotations

import socket
import threading
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest

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
