"""Proxies before the real services do what networks and broken services do: there is always an answer."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any

import pytest
from flask.testing import FlaskClient
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from data_exchange_center.settings import Settings
from online.clients.base import OUT_OF_TIME
from online.main.s1_server import create_app
from online.recommend.recommend import Recommender
from tests.fault_proxy import FAULTS, Fault, FaultProxy
from tests.services.online.faults import INSTEAD, PORTS, RECOVERY_S, behind_proxies, with_fault
from tests.unit.online.world import AT, DefaultWorld, World

BUDGET_MS = 1000  # the default is for a machine of one's own; half of what a delayed answer is late
MARGIN = 1.2
STALL_S = 3.0
KNOWN_USER = 1

pytestmark = pytest.mark.parametrize("world", [DefaultWorld], ids=["DefaultWorld"], indirect=True)


@dataclass(frozen=True)
class Behind:
    """A server that reaches every service through a proxy."""

    http: FlaskClient
    proxies: Mapping[str, FaultProxy]

    def ask(self, userid: int = KNOWN_USER, **more: Any) -> tuple[dict[str, Any], float]:
        """The answer, and the seconds that it took."""
        started = time.perf_counter()
        response = self.http.post("/ml/rec", json={"userid": userid, "timestamp": AT, "budget_ms": BUDGET_MS, **more})
        seconds = time.perf_counter() - started
        assert response.status_code == 200, response.text
        assert len(response.json["item_list"]) == 50
        return dict(response.json), seconds

    def whole(self, within_s: float) -> dict[str, Any]:
        """An answer of full quality."""
        retrying = Retrying(
            stop=stop_after_delay(within_s), wait=wait_fixed(0.05), retry=retry_if_exception_type(AssertionError),
            reraise=True,
        )  # fmt: skip

        def full() -> dict[str, Any]:
            answer, _ = self.ask()
            assert "degraded" not in answer, answer["degraded"]
            return answer

        return dict(retrying(full))


def itemids(answer: Mapping[str, Any]) -> list[int]:
    return [item["itemid"] for item in answer["item_list"]]


def check_times(seconds: Sequence[float]) -> None:
    """Within the budget, but for one answer that a busy machine may delay, and that one not for ever."""
    *others, slowest = sorted(seconds)
    assert others[-1] <= MARGIN * BUDGET_MS / 1e3, seconds
    assert slowest <= BUDGET_MS / 1e3 + STALL_S, seconds


@pytest.fixture(scope="module")
def behind(stack: Settings, world: World) -> Iterator[Behind]:
    with behind_proxies(stack) as (settings, proxies), closing(Recommender.from_settings(settings)) as recommender:
        yield Behind(create_app(recommender).test_client(), proxies)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", PORTS)
def test_the_answer_comes_in_time_says_what_it_lacks_and_is_whole_again_soon(
    behind: Behind, world: World, name: str, fault: Fault
) -> None:
    before = behind.whole(10)
    with with_fault(behind.proxies[name], fault):
        answers = [behind.ask() for _ in range(8)]
    after = behind.whole(RECOVERY_S)
    assert itemids(after) == itemids(before)
    check_times([seconds for _, seconds in answers])
    left_alone = late = 0
    for answer, _ in answers:
        lacking, *others = sorted(answer["degraded"], key=lambda each: str(each["service"]) != name)
        assert lacking["service"] == name
        assert lacking["instead"] in INSTEAD[name]
        assert lacking["reason"]
        assert not set(itemids(answer)) & set(world.seen[KNOWN_USER])
        left_alone += "left alone" in lacking["reason"]
        late += bool(others)
        assert {each["reason"] for each in others} <= {OUT_OF_TIME}
    assert late <= 1, "the other services are well: a busy machine may delay one answer, no more"
    assert left_alone >= 2, "after a few failures a service is not waited for"


def test_all_four_at_once(behind: Behind, world: World) -> None:
    behind.whole(10)
    with ExitStack() as ends:
        for proxy in behind.proxies.values():
            ends.enter_context(with_fault(proxy, Fault.SILENT))
        answers = [behind.ask() for _ in range(8)]
    check_times([seconds for _, seconds in answers])
    for answer, _ in answers:
        lacking = {each["service"]: each["instead"] for each in answer["degraded"]}
        assert lacking.keys() == set(PORTS)
    behind.whole(2 * RECOVERY_S)
