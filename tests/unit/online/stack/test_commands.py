"""The commands as a person gives them, where no service is needed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from data_exchange_center.settings import Settings
from online.stack import commands, preflight
from online.stack.commands import SERVICES, by_name
from online.stack.service import Service


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


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch) -> type[FakeSupervisor]:
    FakeSupervisor.alive, FakeSupervisor.changed = set(), set()
    monkeypatch.setattr(commands, "Supervisor", FakeSupervisor)
    monkeypatch.setattr(preflight, "check", lambda *_: None)
    monkeypatch.setattr(commands, "wait_until_ready", lambda _, __, service: waited.append(service.name) or "1.0")
    waited.clear()
    return FakeSupervisor


waited: list[str] = []


def test_a_program_that_a_new_setting_stopped_is_started_again(
    settings: Settings, supervisor: type[FakeSupervisor]
) -> None:
    supervisor.alive, supervisor.changed = {"redis", "elasticsearch", "triton"}, {"triton"}
    commands.up(settings, [by_name("redis")])
    assert supervisor.alive == {"redis", "elasticsearch", "triton"}
    assert waited == ["redis", "triton"]


def test_what_a_person_stopped_stays_stopped(settings: Settings, supervisor: type[FakeSupervisor]) -> None:
    supervisor.alive, supervisor.changed = {"redis"}, {"triton", "redis"}
    commands.up(settings, [by_name("elasticsearch")])
    assert supervisor.alive == {"redis", "elasticsearch"}


def test_a_server_that_is_started_again_need_not_be_ready(settings: Settings, supervisor: type[FakeSupervisor]) -> None:
    """It may have no release yet, which is no reason for `up` to fail."""
    supervisor.alive, supervisor.changed = {"redis", "server"}, {"server"}
    commands.up(settings, [by_name("redis")])
    assert supervisor.alive == {"redis", "server"}
    assert waited == ["redis"]


def command(settings: Settings, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", f"online.{module}", *arguments],
        env={**settings.environment(), "PATH": "/usr/bin:/bin", "RECSYS_UID": "1000"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


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
def test_an_exchange_folder_that_cannot_be_made_is_one_sentence(
    settings: Settings, tmp_path: Path, call: tuple[str, ...]
) -> None:
    (tmp_path / "file").touch()
    answer = command(settings.model_copy(update={"exchange_dir": tmp_path / "file" / "exchange"}), *call)
    assert answer.returncode == 1
    (sentence,) = answer.stderr.strip().splitlines()
    assert str(tmp_path / "file") in sentence
    assert "RECSYS_EXCHANGE_DIR" in sentence
