"""A new server takes over from the one that runs: nobody who asks meanwhile is turned away."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import requests

from data_exchange_center.settings import Settings
from stack import commands
from stack.server import SERVER
from stack.service import StackError
from stack.supervision import Supervisor
from tests.services.online.load import load
from tests.unit.online.world import AT, DefaultWorld, World
from tests.waiting import until

CLIENTS = 4
PATIENCE_S = 60.0  # on a busy machine
BODIES = [{"userid": userid, "timestamp": AT, "budget_ms": 5_000} for userid in (1, 2, 3)]

pytestmark = pytest.mark.parametrize("world", [DefaultWorld], ids=["DefaultWorld"], indirect=True)


@pytest.fixture
def served(stack: Settings, world: World) -> Iterator[Settings]:
    commands.serve(stack)
    yield stack
    commands.down(stack, [SERVER])


def pid_of(settings: Settings) -> int:
    return int(Supervisor(settings).processes()["server"]["pid"])


def workers_of(settings: Settings) -> set[int]:
    return {child.pid for child in psutil.Process(pid_of(settings)).children()}


def test_no_request_is_lost_when_the_server_restarts(served: Settings, world: World) -> None:
    former = workers_of(served)
    with load(served.server.url, BODIES, CLIENTS) as requested:
        requested.wait(lambda answer: answer.status == 200, PATIENCE_S)
        before = len(requested.answers)
        commands.serve(served)
        meanwhile = len(requested.answers) - before
        requested.wait(lambda answer: answer.whole, PATIENCE_S)
        # the old ones end when they have answered what they had accepted
        until(lambda: len(workers_of(served)) == served.server.workers, despite=(psutil.NoSuchProcess,))
        requested.wait(lambda answer: answer.whole, PATIENCE_S)
    assert not workers_of(served) & former
    assert [each for each in requested.answers if each.status != 200] == []
    assert meanwhile > CLIENTS, "they are answered while the new workers start"
    assert {each.body["release"] for each in requested.answers} == {world.release}


def test_broken_code_leaves_the_running_server_untouched(
    served: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "orjson.py").write_text("raise ImportError('this orjson is broken')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    before = pid_of(served), workers_of(served)
    with pytest.raises(StackError, match=r"(?s)does not start.*is unchanged.*this orjson is broken"):
        commands.serve(served)
    assert (pid_of(served), workers_of(served)) == before
    assert requests.get(f"{served.server.url}/healthz", timeout=30).status_code == 200
