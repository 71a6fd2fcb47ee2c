from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from pydantic import SecretStr

from data_exchange_center.settings import FeastSettings, ServerSettings, Settings
from stack import supervision
from stack.commands import PROGRAMS, by_name
from stack.feast.service import FEAST
from stack.server import SERVER
from stack.service import ROOT, NotReadyError, Program, StackError
from stack.supervision import CONFIGURATION, MARK, Supervisor, describe
from tests.free_ports import free_ports
from tests.http_server import serving

# supervision

LAUNCHER = CONFIGURATION.with_name("launch.py")


@pytest.mark.parametrize(
    "odd",
    [
        "50%(here)s;, x",
        "a\"b'c",
        "'ab'",
        "a #b",
        "two\nlines",
        '["a", "b"]',
        "\u00fcber",
    ],
)
def test_odd_names_of_folders_and_passwords_come_through(
    settings: Settings, tmp_path: Path, odd: str
) -> None:
    shows = "import json, os, sys; print(json.dumps([sys.argv[1], os.getcwd(), *map(os.getenv, ('ODD', sys.argv[2]))]))"
    program = Program(
        (sys.executable, "-c", shows, odd, MARK), environment={"ODD": odd}
    )
    service = Mock(program=lambda _: program)
    path = tmp_path / "program.json"
    path.write_text(describe(service, settings), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, LAUNCHER, path],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert json.loads(done.stdout) == [
        odd,
        str(ROOT),
        odd,
        str(settings.service_dir("supervisor")),
    ]


@pytest.fixture
def secret(settings: Settings) -> Settings:
    return settings.model_copy(
        update={
            "redis": settings.redis.model_copy(update={"password": SecretStr("hush")})
        }
    )


def test_no_password_stands_in_a_process_list(secret: Settings) -> None:
    for service in PROGRAMS:
        assert "hush" not in " ".join(service.program(secret).command)
    config = secret.service_dir("supervisor") / "redis.conf"
    config.parent.mkdir(parents=True)
    config.touch(mode=0o644)  # as somebody has left it
    by_name("redis").prepare(secret)
    assert config.read_text() == 'requirepass "hush"\nprimaryauth "hush"\n'
    assert config.stat().st_mode & 0o077 == 0


def test_another_shell_describes_the_same_programs(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    before = [describe(service, settings) for service in PROGRAMS]
    monkeypatch.setenv("PATH", "/opt/tools/bin:/usr/bin:/bin")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/tools/lib")
    assert [describe(service, settings) for service in PROGRAMS] == before


def test_a_changed_password_changes_redis_and_all_who_use_it(
    settings: Settings, secret: Settings
) -> None:
    """Redis reads it from a file of its own, so nothing else would make the supervisor restart it."""
    changed = [
        p.name
        for p in PROGRAMS
        if p.program(secret).environment != p.program(settings).environment
    ]
    assert changed == ["redis", "feast", "server"]


def test_a_supervisor_that_stays_mute_is_one_sentence(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision, "PATIENCE_S", 0.1)
    monkeypatch.setattr(
        supervision.subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=0)
    )
    with pytest.raises(
        StackError, match=r"supervisord does not answer.*supervisord\.log"
    ):
        Supervisor(settings).launch()


def test_the_exchange_folder_s_path_may_be_longer_than_a_sockets(
    tmp_path: Path,
) -> None:
    supervisor = Supervisor(Settings(exchange_dir=tmp_path / ("x" * 120)))
    try:
        supervisor.launch()
        assert supervisor.running
        assert supervisor.alive() == set()
    finally:
        supervisor.shutdown()
    assert not supervisor.running


# service


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A server that is ready, behind an environment whose proxy nobody answers at."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    known = ("/healthz", "/readyz")
    with serving(
        lambda request, _: (
            200 if request.path in known else 404,
            json.dumps({"status": "ready"}).encode(),
        )
    ) as at:
        yield at


def feast_on(port: int) -> Settings:
    return Settings(feast=FeastSettings(port=port))


def test_no_proxy_stands_before_a_service(port: int) -> None:
    assert FEAST.ask(feast_on(port), "/healthz").json() == {"status": "ready"}
    assert SERVER.version(Settings(server=ServerSettings(port=port)))


def test_another_status_and_no_answer_are_distinct(port: int) -> None:
    with pytest.raises(NotReadyError, match="Feast answers 404 to /nothing"):
        FEAST.ask(feast_on(port), "/nothing")
    with pytest.raises(NotReadyError, match="does not answer on port"):
        FEAST.ask(feast_on(*free_ports(1)), "/healthz")
