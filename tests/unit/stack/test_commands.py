from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest

from data_exchange_center.settings import Settings
from stack import commands, preflight
from stack.commands import by_name
from stack.service import (
    AbsentError,
    NotReadyError,
    Service,
    StackError,
    environment_of,
)
from stack.supervision import describe


class FakeSupervisor:
    """Programs that run, and some that were started with other settings."""

    running = True
    environment: ClassVar[dict[str, str]] = {}

    def __init__(
        self, former: Settings, names: Iterable[str], changed: Iterable[str] = ()
    ) -> None:
        self.former, self.names, self.changed = former, set(names), changed
        self.done: list[str] = []

    def described(self, service: Service) -> str:
        return describe(service, self.former) + " " * (service.name in self.changed)

    def describe(self, *_: object) -> None:
        pass

    def launch(self) -> None:
        pass

    def stop(self, service: Service) -> None:
        self.names.discard(service.name)

    def run(self, service: Service) -> None:
        self.names.add(service.name)
        self.done.append(f"run {service.name}")

    def alive(self) -> set[str]:
        return self.names

    def processes(self) -> dict[str, dict[str, object]]:
        return {name: {"statename": "RUNNING", "start": 1} for name in self.names}


@pytest.mark.parametrize(
    ("alive", "changed", "former", "given", "done"),
    [
        pytest.param(
            {"redis", "elasticsearch", "triton"},
            {"triton"},
            {},
            "redis",
            ["run triton", "wait redis", "wait triton"],
            id="what a new setting stopped is started again",
        ),
        pytest.param(
            {"redis"},
            {"triton", "redis"},
            {},
            "elasticsearch",
            ["run redis", "run elasticsearch", "wait redis", "wait elasticsearch"],
            id="what a person stopped stays stopped",
        ),
        pytest.param(
            {"redis"},
            set(),
            {},
            "server",
            ["try", "run server", "wait server"],
            id="a server is tried, then started",
        ),
        pytest.param(
            {"redis", "server"},
            set(),
            {},
            "redis",
            ["wait redis"],
            id="nothing to do for a server that runs",
        ),
        pytest.param(
            {"redis", "server"},
            set(),
            {"budget_ms": 300},
            "redis",
            ["try", "wait redis", "renew"],
            id="a server with other settings gets new workers",
        ),
        pytest.param(
            {"redis", "server"},
            set(),
            {"port": 1},
            "redis",
            ["try", "run server", "wait redis"],
            id="a server with another address is restarted, and may have no release yet",
        ),
        pytest.param(
            {"redis", "server"},
            set(),
            {},
            "feast",
            ["try", "run feast", "wait feast", "renew"],
            id="new workers call a service that was started",
        ),
    ],
)
def test_what_up_does(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    alive: set[str],
    changed: set[str],
    former: dict[str, int],
    given: str,
    done: list[str],
) -> None:
    server = settings.server.model_copy(update=former)
    supervisor = FakeSupervisor(
        settings.model_copy(update={"server": server}), alive, changed
    )
    monkeypatch.setattr(commands, "Supervisor", lambda _: supervisor)
    monkeypatch.setattr(preflight, "check", lambda *_: None)
    monkeypatch.setattr(
        commands.server, "try_to_start", lambda *_: supervisor.done.append("try")
    )
    monkeypatch.setattr(
        commands.server, "renew", lambda *_: supervisor.done.append("renew")
    )
    waits = lambda _, __, service: supervisor.done.append(f"wait {service.name}")  # noqa: E731
    monkeypatch.setattr(commands, "wait_until_ready", waits)
    commands.up(settings, [by_name(given)])
    assert supervisor.done == done


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("RECSYS_SERVER__DIVERSITY", "2"),
        ("RECSYS_SEARCH__TEXT_WEIGHT", "2"),
        ("RECSYS_SEARCH__ENCODER", "foo"),
        ("RECSYS_QUALITY__WINDOW_S", "-5"),
        ("RECSYS_CANARY__SLOW", "abc"),
        ("RECSYS_SERVER__EXTRAS", "foo"),
        ("RECSYS_SERVER__HOST", "300.1.1.1"),
        ("RECSYS_REDIS__HOST", "300.1.1.1"),
        ("RECSYS_FEAST__HOST", "no.such.host.invalid"),
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


def command(
    settings: Settings, module: str, *arguments: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    environment = {
        **environment_of(settings),
        "PATH": "/usr/bin:/bin",
        "RECSYS_UID": "1000",
        **variables,
    }
    given = [sys.executable, "-m", module, *arguments]
    return subprocess.run(
        given, env=environment, capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize(
    ("names", "said"),
    [(["redis"], "Redis is stopped"), ([], "everything is stopped; the data stays")],
)
def test_down_without_a_stack_is_no_error(
    settings: Settings, names: list[str], said: str
) -> None:
    answer = command(settings, "stack", "down", *names)
    assert (answer.returncode, answer.stderr.strip()) == (0, said)


def test_status_without_a_stack_names_what_is_stopped(settings: Settings) -> None:
    answer = command(settings, "stack", "status")
    assert answer.returncode == 1
    assert "Redis: stopped" in answer.stdout
    assert "server: stopped" not in answer.stdout.lower()  # nobody need have started it


@pytest.mark.parametrize(
    "call", [("stack", "up"), ("stack", "serve"), ("stack.containers",)], ids=" ".join
)
def test_an_unusable_exchange_folder_is_one_sentence(
    settings: Settings, tmp_path: Path, call: tuple[str, ...]
) -> None:
    (tmp_path / "file").touch()
    answer = command(
        settings.model_copy(update={"exchange_dir": tmp_path / "file" / "exchange"}),
        *call,
    )
    assert answer.returncode == 1
    (sentence,) = answer.stderr.strip().splitlines()
    assert str(tmp_path / "file") in sentence
    assert "RECSYS_EXCHANGE_DIR" in sentence


@pytest.mark.parametrize("degraded", [True, False])
def test_a_server_without_a_stopped_service_is_not_waited_for(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, degraded: bool
) -> None:
    def version(*_: object) -> str:
        raise AbsentError("redis cannot be reached.", ["redis"], degraded=degraded)

    server = by_name("server")
    monkeypatch.setattr(type(server), "version", version)
    started = time.monotonic()
    with pytest.raises(
        AbsentError if degraded else StackError, match="redis cannot be reached"
    ):
        commands.wait_until_ready(
            settings, FakeSupervisor(settings, ["server"]), server
        )  # type: ignore[arg-type]
    assert time.monotonic() - started < 5


def test_a_service_that_will_be_started_again_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    states, service = ["EXITED", "STARTING", "RUNNING"], by_name("redis")

    def version(*_: object) -> str:
        if states:
            raise NotReadyError("it does not answer yet")
        return "9.1"

    monkeypatch.setattr(type(service), "version", version)
    supervisor = SimpleNamespace(
        processes=lambda: {"redis": {"statename": states.pop(0), "start": 1}}
    )
    assert commands.wait_until_ready(Settings(), supervisor, service) == "9.1"  # type: ignore[arg-type]
