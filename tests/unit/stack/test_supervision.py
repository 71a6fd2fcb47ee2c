import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest
from pydantic import SecretStr

from data_exchange_center.settings import FeastSettings, ServerSettings, Settings
from stack.commands import PROGRAMS, by_name
from stack.feast import FEAST
from stack.server import SERVER
from stack.service import ROOT, NotReadyError, Program
from stack.supervision import CONFIGURATION, MARK, Supervisor, describe
from tests.http_server import serving

# supervision

LAUNCHER = CONFIGURATION.with_name("launch.py")
SHOWS = "import json, os, sys; print(json.dumps([sys.argv[1], os.getcwd(), *map(os.getenv, ('ODD', sys.argv[2]))]))"


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
    program = Program((sys.executable, "-c", SHOWS, odd, MARK), {"ODD": odd})
    path = tmp_path / "program.json"
    path.write_text(describe(Mock(program=lambda _: program), settings))
    said = subprocess.check_output([sys.executable, LAUNCHER, path])
    mark = str(settings.service_dir("supervisor"))
    assert json.loads(said) == [odd, str(ROOT), odd, mark]


@pytest.fixture
def secret(settings: Settings) -> Settings:
    redis = settings.redis.model_copy(update={"password": SecretStr("hush")})
    return settings.model_copy(update={"redis": redis})


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
        program.name
        for program in PROGRAMS
        if describe(program, secret) != describe(program, settings)
    ]
    assert changed == ["redis", "feast", "server"]


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
    """A service that is healthy, and a server that is ready, behind a proxy that does not answer."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with serving(lambda *_: (200, b'{"status": "ready"}')) as at:
        yield at


def test_no_proxy_stands_before_a_service(port: int, settings: Settings) -> None:
    there = Settings(feast=FeastSettings(port=port), server=ServerSettings(port=port))
    for service in (FEAST, SERVER):
        assert service.version(there)
        with pytest.raises(NotReadyError):
            service.version(settings)
