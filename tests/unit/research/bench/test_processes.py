from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from research.bench import processes
from research.bench.processes import PARTS, Part, held, parts_of, ports

LISTENS = """
import socket, subprocess, sys
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(5)]
child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
print(child.pid, *(each.getsockname()[1] for each in sockets), flush=True)
input()
"""


FORKS = """
import os, socket, sys
listener = socket.create_server(("127.0.0.1", 0))
if child := os.fork():
    print(child, listener.getsockname()[1], flush=True)
sys.stdin.read()
"""


@pytest.fixture
def listening() -> Iterator[tuple[psutil.Popen, list[int]]]:
    with psutil.Popen(
        [sys.executable, "-c", LISTENS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process, [int(word) for word in process.stdout.readline().split()]
        process.communicate("\n")


def on_ports(*numbers: int) -> Settings:
    server, redis, elasticsearch, feast, triton = numbers
    return Settings.model_validate(
        {
            "server": {"port": server},
            "redis": {"port": redis},
            "elasticsearch": {"port": elasticsearch},
            "feast": {"port": feast},
            "triton": {"http_port": triton},
        }
    )


def test_a_part_is_who_listens_on_its_port_with_all_children(listening: tuple[psutil.Popen, list[int]]) -> None:
    process, (child, *numbers) = listening
    settings = on_ports(*numbers)
    assert list(ports(settings)) == list(PARTS)
    parts = parts_of(settings)
    assert list(parts) == list(PARTS)
    assert all({each.pid for each in part.processes} == {process.pid, child} for part in parts.values())
    use = parts["redis"].use()
    assert set(use) == {str(process.pid), str(child)}
    assert all(each.rss_mb > 1 and each.threads >= 1 for each in use.values())
    assert parts["redis"].processor_s() > 0


def test_workers_that_inherited_a_socket_are_found_with_their_master(
    listening: tuple[psutil.Popen, list[int]],
) -> None:
    _, (_, *numbers) = listening
    with psutil.Popen(
        [sys.executable, "-c", FORKS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as master:
        child, port = (int(word) for word in master.stdout.readline().split())
        server = parts_of(on_ports(port, *numbers[1:]))["server"]
        assert {each.pid for each in server.processes} == {master.pid, child}
        master.stdin.close()


def test_what_does_not_run_is_named(listening: tuple[psutil.Popen, list[int]]) -> None:
    _, (_, server, redis, elasticsearch, feast, _) = listening
    with pytest.raises(StepError, match="listens on port 1, where triton should"):
        parts_of(on_ports(server, redis, elasticsearch, feast, 1))


def test_what_is_held_goes_on_afterwards(listening: tuple[psutil.Popen, list[int]]) -> None:
    process, _ = listening
    part = Part("server", (psutil.Process(process.pid),))
    with held({"server": part}):
        _, status = os.waitpid(process.pid, os.WUNTRACED)  # until it stands
        assert os.WIFSTOPPED(status)
    assert process.status() != psutil.STATUS_STOPPED


def test_workers_go_on_before_their_master_looks_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_UNNOTICED_S", -1.0)
    with psutil.Popen(
        [sys.executable, "-c", FORKS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as master:
        worker = psutil.Process(int(master.stdout.readline().split()[0]))
        standing: list[list[bool]] = []

        def look(_: float) -> None:
            standing.append([each.status() == psutil.STATUS_STOPPED for each in (master, worker)])

        monkeypatch.setattr(processes.time, "sleep", look)
        with held({"server": Part("server", (psutil.Process(master.pid), worker))}):
            os.waitpid(master.pid, os.WUNTRACED)  # until it stands
        assert standing == [[True, False]]
        assert master.status() != psutil.STATUS_STOPPED
        master.stdin.close()


def test_a_process_that_has_ended_is_told() -> None:
    with psutil.Popen([sys.executable, "-c", ""]) as process:
        part = Part("feast", (psutil.Process(process.pid),))
    with pytest.raises(StepError, match=f"feast: process {process.pid} has ended"):
        part.processor_s()
