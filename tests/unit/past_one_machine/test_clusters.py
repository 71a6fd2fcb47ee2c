from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from past_one_machine.balancer import KINDS, render
from stack.service import StackError
from tests.needs import program
from tests.waiting import until

PROGRAM = """
import sys
from past_one_machine import clusters
clusters.RESTART_S = 0.1
sleep = "import time, sys; time.sleep(600)"
commands = {name: [sys.executable, "-c", sleep, name] for name in ("one", "two")}
clusters.keep_running(commands, lambda: print("next to", flush=True))
"""


def test_ended_nodes_restart_and_all_stop_together(tmp_path: Path) -> None:
    with (tmp_path / "said").open("w") as said:
        started = subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=said)
    children = psutil.Process(started.pid).children
    try:
        until(lambda: len(children()) == 2)
        before = {child.pid for child in children()}
        gone = min(before)
        os.kill(gone, signal.SIGKILL)
        until(lambda: len({child.pid for child in children()} - before) == 1)
        assert gone not in {child.pid for child in children()}
        left = children()
        started.terminate()
        assert started.wait(60) == 0
        assert not any(child.is_running() for child in left)
        assert (tmp_path / "said").read_text() == "next to\n", "once"
    finally:
        started.kill()


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_balanced_and_haproxy_takes_it(tmp_path: Path, kind: str) -> None:
    text = render(kind, 8080, ("127.0.0.1:5001", "127.0.0.2:5002"))
    assert f"server {kind}-1 127.0.0.1:5001 check\n    server {kind}-2 127.0.0.2:5002 check" in text
    assert f"use_backend {kind}-unchecked if {{ nbsrv({kind}) eq 0 }}" in text
    assert f"server {kind}-1 127.0.0.1:5001\n    server {kind}-2 127.0.0.2:5002\n" in text, "all are called then"
    assert [part.count("disable-l7-retry") for part in text.split("\nbackend ")] == [0, 1, 1]
    assert "event" not in text, "an event is sent once"
    haproxy = program("haproxy")
    path = tmp_path / "haproxy.cfg"
    path.write_text(text)
    checked = subprocess.run([haproxy, "-c", "-f", str(path)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    assert "WARNING" not in checked.stderr


@pytest.mark.parametrize(
    ("kind", "behind", "said"),
    [
        ("redis", ("a:1",), "no kind is called 'redis'; there are: server, feast, triton"),
        ("server", (), "no backend for port 8080"),
        ("server", ("a",), "'a' is no address"),
        ("server", ("a:1\nglobal",), "is no address"),
    ],
)
def test_an_unbalanceable_setup_is_a_one_sentence_error(kind: str, behind: tuple[str, ...], said: str) -> None:
    with pytest.raises(StackError, match=said):
        render(kind, 8080, behind)
