from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from data_exchange_center.settings import Settings
from stack import commands, preflight
from stack.commands import SERVICES, by_name
from stack.service import AbsentError, NotReadyError, Service, StackError, environment_of


class FakeSupervisor:
    """Programs that run, and some whose setting has changed: `start` stops those, as supervisord's reload does."""

    running = True
    alive: set[str]
    changed: set[str]

    def __init__(self, _: Settings) -> None:
        pass

    def start(self, _: Iterable[Service]) -> None:
        self.alive -= self.changed

    def run(self, service: Service) -> None:
        self.alive.add(service.name)

    def processes(self) -> dict[str, dict[str, object]]:
        return {
            service.name: {"statename": "RUNNING" if service.name in self.alive else "STOPPED"}
            for service in (*SERVICES, by_name("server"))
        }


@pytest.mark.parametrize(
    ("alive", "changed", "given", "expected", "awaited"),
    [
        pytest.param(
            {"redis", "elasticsearch", "triton"}, {"triton"}, "redis", {"redis", "elasticsearch", "triton"},
            ["redis", "triton"], id="what a new setting stopped is started again",
        ),
        pytest.param(
            {"redis"}, {"triton", "redis"}, "elasticsearch", {"redis", "elasticsearch"}, ["redis", "elasticsearch"],
            id="what a person stopped stays stopped",
        ),
        pytest.param(
            {"redis", "server"}, {"server"}, "redis", {"redis", "server"}, ["redis"],
            id="a server that is started again need not be ready, as it may have no release yet",
        ),
    ],
)  # fmt: skip
def test_services_running_after_up(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, alive: set[str], changed: set[str], given: str,
    expected: set[str], awaited: list[str],
) -> None:  # fmt: skip
    waited: list[str] = []
    FakeSupervisor.alive, FakeSupervisor.changed = alive, changed
    monkeypatch.setattr(commands, "Supervisor", FakeSupervisor)
    monkeypatch.setattr(preflight, "check", lambda *_: None)
    monkeypatch.setattr(commands, "wait_until_ready", lambda _, __, service: waited.append(service.name) or "1.0")
    commands.up(settings, [by_name(given)])
    assert (FakeSupervisor.alive, waited) == (expected, awaited)


def command(settings: Settings, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**environment_of(settings), "PATH": "/usr/bin:/bin", "RECSYS_UID": "1000"}
    given = [sys.executable, "-m", module, *arguments]
    return subprocess.run(given, env=environment, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize(
    ("names", "said"), [(["redis"], "Redis is stopped"), ([], "everything is stopped; the data stays")]
)
def test_down_without_a_stack_is_no_error(settings: Settings, names: list[str], said: str) -> None:
    answer = command(settings, "stack", "down", *names)
    assert (answer.returncode, answer.stderr.strip()) == (0, said)


def test_status_without_a_stack_names_what_is_stopped(settings: Settings) -> None:
    answer = command(settings, "stack", "status")
    assert answer.returncode == 1
    assert "Redis: stopped" in answer.stdout
    assert "server: stopped" not in answer.stdout.lower()  # nobody need have started it


@pytest.mark.parametrize("call", [("stack", "up"), ("stack", "serve"), ("stack.containers",)], ids=" ".join)
def test_an_unusable_exchange_folder_is_one_sentence(settings: Settings, tmp_path: Path, call: tuple[str, ...]) -> None:
    (tmp_path / "file").touch()
    answer = command(settings.model_copy(update={"exchange_dir": tmp_path / "file" / "exchange"}), *call)
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
    FakeSupervisor.alive = {"server"}
    monkeypatch.setattr(FakeSupervisor, "processes", running_since(FakeSupervisor.processes))
    monkeypatch.setattr(type(server), "version", version)
    started = time.monotonic()
    with pytest.raises(AbsentError if degraded else StackError, match="redis cannot be reached"):
        commands.wait_until_ready(settings, FakeSupervisor(settings), server)  # type: ignore[arg-type]
    assert time.monotonic() - started < 5


def test_a_service_that_will_be_started_again_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    states, service = ["EXITED", "STARTING", "RUNNING"], by_name("redis")

    def version(*_: object) -> str:
        if states:
            raise NotReadyError("it does not answer yet")
        return "9.1"

    monkeypatch.setattr(type(service), "version", version)
    supervisor = SimpleNamespace(processes=lambda: {"redis": {"statename": states.pop(0), "start": 1}})
    assert commands.wait_until_ready(Settings(), supervisor, service) == "9.1"  # type: ignore[arg-type]


def running_since(processes: Any) -> Any:
    return lambda self: {name: {**info, "start": 1} for name, info in processes(self).items()}
