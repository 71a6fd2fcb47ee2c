"""A new server takes over from the one that runs: nobody who asks meanwhile is turned away."""

import math
import sys
import time
from collections.abc import Iterator

import psutil
import pytest
import requests

from data_exchange_center.settings import Settings
from stack import commands, server
from stack.commands import SERVICES, by_name
from stack.redis import REDIS
from stack.server import SERVER
from stack.service import StackError
from stack.supervision import Supervisor
from tests.free_ports import change
from tests.services.conftest import ONE_WORLD
from tests.services.online.load import bodies_of, load
from tests.unit.online.world import AT, World
from tests.waiting import until

CLIENTS = 4
PATIENCE_S = 60.0  # on a busy machine
BODIES = bodies_of((1, 2, 3), AT, 5_000)

pytestmark = ONE_WORLD


def serve(settings: Settings) -> None:
    commands.up(settings, [SERVER])


@pytest.fixture
def served(stack: Settings, world: World) -> Iterator[Settings]:
    serve(stack)
    yield stack
    commands.down(stack, [SERVER])


def pid_of(settings: Settings) -> int:
    return int(Supervisor(settings).processes()["server"]["pid"])


def workers_of(settings: Settings) -> set[int]:
    return {child.pid for child in psutil.Process(pid_of(settings)).children()}


@pytest.mark.parametrize(
    "changed",
    [{}, {"budget_ms": 260, "workers": 3}],
    ids=["same settings", "other settings"],
)
def test_no_request_is_lost_when_the_server_restarts(
    served: Settings, world: World, changed: dict[str, int]
) -> None:
    former, master, settings = (
        workers_of(served),
        pid_of(served),
        change(served, "server", **changed),
    )
    with load(served.server.url, BODIES, CLIENTS) as requested:
        requested.wait(lambda answer: answer.status == 200, PATIENCE_S)
        before = len(requested.answers)
        serve(settings)
        meanwhile = len(requested.answers) - before
        requested.wait(lambda answer: answer.whole, PATIENCE_S)
        # the old ones end when they have answered what they had accepted
        until(
            lambda: len(workers_of(served)) == settings.server.workers,
            despite=(psutil.NoSuchProcess,),
        )
        requested.wait(lambda answer: answer.whole, PATIENCE_S)
    assert pid_of(served) == master
    assert not workers_of(served) & former
    assert [each for each in requested.answers if each.status != 200] == []
    assert meanwhile > CLIENTS, "they are answered while the new workers start"
    assert {each.body["release"] for each in requested.answers} == {world.release}
    for worker in workers_of(served):
        assert psutil.Process(worker).parent() == psutil.Process(master)


def test_workers_have_the_settings_of_the_last_serve(served: Settings) -> None:
    metrics = lambda: (  # noqa: E731
        requests.get(f"{served.server.url}/metrics", timeout=30).status_code
    )
    assert metrics() == 200
    serve(change(served, "server", extras="none"))
    assert {metrics() for _ in range(20)} == {404}


def state(settings: Settings) -> tuple[int, set[int], str]:
    return (
        pid_of(settings),
        workers_of(settings),
        Supervisor(settings).described(SERVER),
    )


@pytest.mark.parametrize(
    "variable", ["RECSYS_SERVER__DIVERSITY", "RECSYS_SERVER__EXTRAS"]
)
def test_a_wrong_setting_leaves_the_running_server_untouched(
    served: Settings, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    before = state(served)
    monkeypatch.setenv(variable, "2")
    wrong = change(served, "server", extras="2") if "EXTRAS" in variable else served
    for command in (serve, lambda settings: commands.up(settings, [REDIS])):
        with pytest.raises(StackError, match=f"{variable}.*goes on as before") as error:
            command(wrong)
        assert "\n" not in str(error.value)
    assert state(served) == before
    assert requests.get(f"{served.server.url}/healthz", timeout=30).status_code == 200


def test_broken_code_leaves_the_running_server_untouched(
    served: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        server,
        "TRIAL",
        (sys.executable, "-c", "raise ImportError('this module is broken')"),
    )
    before = state(served)
    with pytest.raises(
        StackError,
        match=r"does not start.*this module is broken.*goes on as before",
    ):
        serve(served)
    assert state(served) == before
    assert requests.get(f"{served.server.url}/healthz", timeout=30).status_code == 200


def test_workers_that_do_not_start_leave_the_former_settings(
    served: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failure that the trial has not found."""
    before = state(served)
    monkeypatch.setenv("RECSYS_SERVER__DIVERSITY", "2")
    monkeypatch.setattr(server, "try_to_start", lambda *_: None)
    monkeypatch.setattr(server, "READY_WITHIN_S", 15.0)
    with pytest.raises(StackError, match="not all workers"):
        serve(served)
    assert state(served)[::2] == before[::2]
    until(
        lambda: len(workers_of(served)) >= served.server.workers,
        despite=(psutil.NoSuchProcess,),
    )
    assert requests.get(f"{served.server.url}/healthz", timeout=30).status_code == 200


@pytest.mark.parametrize("name", [service.name for service in SERVICES])
def test_a_service_that_is_up_again_is_called(
    patient: Settings, world: World, name: str
) -> None:
    """`up` returns once the next request is answered in full, even where requests have found the service dead."""
    settings = change(patient, "server", warm_up_s=2.0)
    bodies = bodies_of((1, 2, 3), AT, 10_000)
    try:
        serve(settings)
        with load(settings.server.url, bodies, CLIENTS, pause_s=0.2) as requested:
            commands.down(settings, [by_name(name)])
            requested.wait(lambda answer: name in answer.degraded, PATIENCE_S)
            commands.up(settings, [by_name(name)])
            now = time.monotonic()
            requested.wait(lambda answer: answer.began > now, PATIENCE_S)
            time.sleep(1)
        assert [
            each.degraded for each in requested.between(now, math.inf) if not each.whole
        ] == []
    finally:
        commands.down(settings, [SERVER])
