import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from pydantic import SecretStr

from data_exchange_center.settings import FeastSettings, ServerSettings, Settings
from data_exchange_center.steps import StepError
from offline_to_online.releases import Stores, manifest_path, open_release
from stack import commands, preflight, releases
from stack.commands import PROGRAMS, by_name
from stack.feast import FEAST
from stack.server import SERVER
from stack.service import (
    BIN,
    ROOT,
    NotReadyError,
    Program,
    Service,
    StackError,
    environment_of,
)
from stack.supervision import CONFIGURATION, MARK, Supervisor, describe
from tests.free_ports import change
from tests.http_server import serving
from tests.synthetic_release import write_artifacts

# commands


@dataclass
class FakeSupervisor:
    """Programs that run, some of them started with other settings; what is asked of it is noted."""

    former: Settings
    names: set[str]
    changed: set[str] = field(default_factory=set)
    done: list[str] = field(default_factory=list)
    running = True

    def described(self, service: Service) -> str:
        return describe(service, self.former) + " " * (service.name in self.changed)

    def stop(self, service: Service) -> None:
        self.names.discard(service.name)

    def run(self, service: Service) -> None:
        self.names.add(service.name)
        self.done.append(f"run {service.name}")

    def alive(self) -> set[str]:
        return {*self.names}

    def note(self, *_: object) -> None:
        """Do nothing."""

    describe = launch = note

    def processes(self) -> dict[str, dict[str, object]]:
        return {name: {"statename": "RUNNING", "start": 1} for name in self.names}


# What runs, what runs with other settings, settings of the server as it was started, what `up` is given -> what is done
UP = {
    "what a new setting stopped is started again": (
        *({"redis", "elasticsearch", "triton"}, {"triton"}, {}, "redis"),
        "run triton, wait redis, wait triton",
    ),
    "what a person stopped stays stopped": (
        *({"redis"}, {"triton", "redis"}, {}, "elasticsearch"),
        "run redis, run elasticsearch, wait redis, wait elasticsearch",
    ),
    "a server is tried, then started": (
        *({"redis"}, set(), {}, "server"),
        "try, run server, wait server",
    ),
    "nothing to do for a server that runs": (
        *({"redis", "server"}, set(), {}, "redis"),
        "wait redis",
    ),
    "a server with other settings gets new workers": (
        *({"redis", "server"}, set(), {"budget_ms": 300}, "redis"),
        "try, wait redis, renew",
    ),
    "a server with another address is restarted, and may have no release yet": (
        *({"redis", "server"}, set(), {"port": 1}, "redis"),
        "try, wait redis, run server",
    ),
    "new workers call a service that was started": (
        *({"redis", "server"}, set(), {}, "feast"),
        "try, run feast, wait feast, renew",
    ),
    "a server of another version answers until the services are ready": (
        *({"redis", "server"}, {"redis"}, {"version": "0.9"}, "server"),
        "try, run redis, wait redis, run server, wait server",
    ),
}


@pytest.mark.parametrize(
    ("alive", "changed", "former", "given", "done"), UP.values(), ids=UP
)
def test_what_up_does(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    alive: set[str],
    changed: set[str],
    former: dict[str, Any],
    given: str,
    done: str,
) -> None:
    before = change(settings, "server", **former)
    supervisor = FakeSupervisor(before, set(alive), changed)

    def noted(what: str) -> Callable[..., None]:
        return lambda *_: supervisor.done.append(what)

    if "version" in former:
        other = json.loads(supervisor.described(by_name("server"))) | {"fixed": "0.9"}
        monkeypatch.setattr(supervisor, "described", lambda _: json.dumps(other))
    monkeypatch.setattr(commands, "Supervisor", lambda _: supervisor)
    monkeypatch.setattr(preflight, "check", supervisor.note)
    monkeypatch.setattr(commands.server, "try_to_start", noted("try"))
    monkeypatch.setattr(commands.server, "renew", noted("renew"))
    waits = lambda _, __, service: noted(f"wait {service.name}")()  # noqa: E731
    monkeypatch.setattr(commands, "wait_until_ready", waits)
    commands.up(settings, [by_name(given)])
    assert ", ".join(supervisor.done) == done


def command(
    settings: Settings, *arguments: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    own = {"PATH": "/usr/bin:/bin", "RECSYS_UID": "1000"}
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        env={**environment_of(settings), **own, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("RECSYS_SERVER__DIVERSITY", "2"),
        ("RECSYS_SERVER__EXTRAS", "foo"),
        ("RECSYS_SERVER__HOST", "300.1.1.1"),
        ("RECSYS_RECIPE", "nothing.json"),
    ],
)
def test_a_wrong_setting_of_the_server_is_one_sentence(
    settings: Settings, variable: str, value: str
) -> None:
    """The sentence names the variable, and nothing was started."""
    answer = command(settings, "stack", "serve", **{variable: value})
    assert answer.returncode == 1
    (sentence,) = answer.stderr.strip().splitlines()
    assert variable in sentence
    assert not (settings.service_dir("supervisor") / "supervisord.pid").exists()


@pytest.mark.parametrize("degraded", [True, False])
def test_a_server_without_a_stopped_service_is_not_waited_for(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, degraded: bool
) -> None:
    def version(*_: object) -> str:
        raise NotReadyError("redis cannot be reached.", ["redis"], degraded)

    server = by_name("server")
    monkeypatch.setattr(type(server), "version", version)
    monkeypatch.setattr(commands.time, "sleep", lambda _: pytest.fail("it waits"))
    supervisor: Any = FakeSupervisor(settings, {"server"})
    expected = NotReadyError if degraded else StackError
    with pytest.raises(expected, match="redis cannot be reached"):
        commands.wait_until_ready(settings, supervisor, server)


def test_a_service_that_will_be_started_again_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    states, service = ["EXITED", "STARTING", "RUNNING"], by_name("redis")

    def version(*_: object) -> str:
        if states:
            raise NotReadyError("it does not answer yet")
        return "9.1"

    monkeypatch.setattr(type(service), "version", version)
    supervisor: Any = SimpleNamespace(
        processes=lambda: {"redis": {"statename": states.pop(0), "start": 1}}
    )
    assert commands.wait_until_ready(Settings(), supervisor, service) == "9.1"


# recsys


def test_the_installed_command_runs_in_any_folder(tmp_path: Path) -> None:
    ratings = tmp_path / "data" / "ratings.csv"
    ratings.parent.mkdir()
    ratings.write_text("user,item,stars,time\n1,2,5,978300760\n2,1,4,978300761\n")

    def run(*arguments: str) -> str:
        return subprocess.check_output(
            [BIN / "recsys", *arguments], cwd=tmp_path, text=True
        )

    assert "import" in run("--help")
    assert "dataset.toml" in run("import", "data")
    assert (tmp_path / "data" / "dataset.toml").is_file()


# releases


def test_list_has_each_releases_data_set_recipe_and_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_artifacts(tmp_path)
    settings = Settings(exchange_dir=tmp_path)
    manifest = open_release(settings)
    os.utime(manifest_path(settings, manifest.release), (86_400, 86_400))
    held = {manifest.release, "published", "loaded"}

    def published(release: str) -> Any:
        if release != manifest.release:
            raise StepError("its manifest cannot be read")
        return SimpleNamespace(manifest=manifest)

    listed = (manifest.release, [manifest.release, "published"])
    redis = Mock(releases=lambda: held, published=published, listed=lambda: listed)
    empty = Mock(releases=set)
    monkeypatch.setattr(Stores, "of", lambda _: Stores(redis, empty, empty, empty))
    table = releases.overview(settings)
    rows = zip(*(column.cells for column in table.columns), strict=True)
    what = (manifest.dataset.name, manifest.recipe.name, "1970-01-02 00:00")
    assert list(rows) == [
        (manifest.release, "live", *what),
        ("published", "published", "-", "-", "-"),
        ("loaded", "loaded", "-", "-", "-"),
    ]


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
    return change(settings, "redis", password=SecretStr("hush"))


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
