"""A service is killed or paused while many ask: there is an answer. What else a service may send: unit tests."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
from tenacity import Retrying, retry_if_exception_type, stop_after_delay

from data_exchange_center.settings import Settings
from offline_to_online.stores import base
from online.clients.base import OUT_OF_TIME
from online.recommend.recommend import BUSY
from stack import commands
from stack.commands import by_name
from stack.supervision import Supervisor
from tests.services.conftest import ONE_WORLD
from tests.services.online.load import (
    INSTEAD,
    RECOVERY_S,
    SERVICES,
    Answered,
    Load,
    bodies_of,
    few,
    kill,
    paused,
    under_load,
)
from tests.unit.online.world import AT, World

CLIENTS, PAUSE_S = 4, 0.05
BUDGET_MS = 4000  # the default is for a machine of one's own
USERS = (1, 2, 3)
MARGIN = 1.2
LASTS_S = 1.5
ASKS = {"redis": ("feast",)}  # Feast reads from Redis
NOTICED_S = 3.0  # a killed service, if it is away for as long as it takes to ask it
CALL_S = 2.5  # of a service
PATIENCE_S = 60.0  # a process that starts again on a busy machine

pytestmark = ONE_WORLD


@pytest.fixture(scope="module")
def busy(
    patient: Settings, world: World, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Load]:
    """A server under gunicorn that many ask."""
    with under_load(
        base.patient(patient, CALL_S),
        tmp_path_factory.mktemp("busy"),
        bodies_of(USERS, AT, BUDGET_MS),
        CLIENTS,
        PAUSE_S,
        **{"budget_ms": BUDGET_MS, "workers": 1, "threads": 8},
    ) as (_, requested):
        yield requested


@contextmanager
def killed(stack: Settings, busy: Load, name: str) -> Iterator[None]:
    """The supervisor starts it again, Redis before anybody asks: killed until an answer lacks it."""
    since = time.monotonic()
    try:
        for attempt in Retrying(
            stop=stop_after_delay(PATIENCE_S),
            retry=retry_if_exception_type(AssertionError),
            reraise=True,
        ):
            with attempt:
                kill(stack, name)
                busy.wait(lambda answer: name in answer.degraded, NOTICED_S, since)
        yield
    finally:
        commands.wait_until_ready(stack, Supervisor(stack), by_name(name))


FAULT_OF: dict[str, Callable[[Settings, Load, str], AbstractContextManager[None]]] = {
    "killed": killed,
    "paused": lambda stack, _, name: paused(stack, name),
}


def check_answers(answers: list[Answered]) -> None:
    """All of fifty items, all but a few within the budget."""
    assert answers
    assert {each.status for each in answers} == {200}, [
        each.body for each in answers if each.status != 200
    ][:3]
    assert {len(each.body["item_list"]) for each in answers} == {50}
    late = [each.seconds for each in answers if each.seconds > MARGIN * BUDGET_MS / 1e3]
    assert few(late, answers), late


@pytest.mark.parametrize("fault", FAULT_OF)
@pytest.mark.parametrize("name", SERVICES)
def test_a_fault_of_a_service(
    patient: Settings, busy: Load, name: str, fault: str
) -> None:
    for userid in USERS:  # that the server knows then
        busy.wait(
            lambda answer, requested=userid: (
                answer.whole and answer.body["userid"] == requested
            ),
            PATIENCE_S,
        )
    begin = time.monotonic()
    with FAULT_OF[fault](patient, busy, name):
        busy.wait(lambda answer: name in answer.degraded, PATIENCE_S, begin)
        time.sleep(LASTS_S)
    recovered = time.monotonic()
    busy.wait(lambda answer: answer.whole, PATIENCE_S)
    time.sleep(max(0.0, recovered + RECOVERY_S - time.monotonic()))
    for attempt in Retrying(
        stop=stop_after_delay(PATIENCE_S),
        retry=retry_if_exception_type(AssertionError),
        reraise=True,
    ):
        with (
            attempt
        ):  # a service that has just started times out again on a busy machine
            well = time.monotonic()
            time.sleep(0.5)
            end = time.monotonic()
            after = busy.between(well, end)
            assert few([each for each in after if not each.whole], after), [
                each.degraded for each in after
            ]
    answers = busy.between(begin, end)
    check_answers(answers)
    degraded = [each for each in answers if name in each.degraded]
    assert {each.degraded[name]["instead"] for each in degraded} == INSTEAD[name]
    assert all(each.degraded[name]["reason"] for each in degraded)
    expected = {name, *ASKS.get(name, ())}
    others = [each for each in answers if each.degraded.keys() - expected]
    reasons = {
        what["reason"]
        for each in others
        for service, what in each.degraded.items()
        if service not in expected
    }
    assert all(OUT_OF_TIME in reason or BUSY in reason for reason in reasons), reasons
    assert few(others, answers), others[:5]
