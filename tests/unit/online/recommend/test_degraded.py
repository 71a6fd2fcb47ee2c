import threading
import time
from dataclasses import replace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from online.clients.base import (
    FAILURES,
    NEVER,
    OUT_OF_TIME,
    PROBE_S,
    Deadline,
    ServiceError,
)
from online.clients.feast import FeatureQuery, FeatureRows
from online.recommend.outcomes import Outcome
from online.recommend.recommend import MAX_QUEUE_SHARE
from online.recommend.types import Answer, Request, Stopwatch
from tests.unit.online.conftest import SERVICES, Fakes
from tests.unit.online.world import AT, LONG_HISTORY_USER, NO_TERMS_USER, World
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("opened")

USERS = (1, 8, LONG_HISTORY_USER, NO_TERMS_USER)


def ask(fakes: Fakes, userid: int = 1, waited_s: float = 0, **more: Any) -> Answer:
    request = Request(userid=userid, timestamp=AT, explain="recall", **more)
    watch = Stopwatch(time.perf_counter() - waited_s)
    return fakes.recommender.recommend(request, watch)


def scores(answer: Answer) -> list[float]:
    return [item.score for item in answer.item_list]


def degraded(answer: Answer) -> list[tuple[Outcome, str]]:
    return [(each.outcome, each.service) for each in answer.degraded]


def popular(world: World) -> list[int]:
    return [itemid for itemid, _ in world.popular[:50]]


@pytest.mark.parametrize(
    ("away", "userid", "outcomes"),
    [
        *((["triton"], userid, [Outcome.NOT_RANKED]) for userid in USERS),
        (["feast"], 3, [Outcome.NOT_RANKED]),
        (["redis"], 3, [Outcome.POPULAR]),
        (
            [*SERVICES],
            1,
            [
                Outcome.LAST_STATE,
                Outcome.EXACT_SEARCH,
                Outcome.LAST_FEATURES,
                Outcome.NOT_RANKED,
            ],
        ),
    ],
)
def test_what_is_not_ranked_comes_in_recalls_order_or_is_popular(
    fakes: Fakes, away: list[str], userid: int, outcomes: list[Outcome]
) -> None:
    """User 3 was never here."""
    ask(fakes)
    fakes.down(*away)
    answer = ask(fakes, userid)
    assert degraded(answer) == list(zip(outcomes, away, strict=True))
    assert not answer.cold_start
    if outcomes == [Outcome.POPULAR]:
        assert answer.itemids == popular(fakes.world)
        return
    recalled = fakes.world.recalled(userid)
    assert answer.itemids == answer.recall["fused"][:50] == recalled.ids.tolist()[:50]
    np.testing.assert_allclose(scores(answer), recalled.scores[:50], rtol=1e-5)


@pytest.mark.parametrize("userid", USERS)
@pytest.mark.parametrize(
    ("away", "outcome"),
    [
        ("redis", Outcome.LAST_STATE),
        (
            "elasticsearch",
            Outcome.EXACT_SEARCH,
        ),  # the server searches the same vectors itself
        ("feast", Outcome.LAST_FEATURES),
    ],
)
def test_without_one_a_known_user_gets_the_same_list(
    fakes: Fakes, userid: int, away: str, outcome: Outcome
) -> None:
    before = ask(fakes, userid)
    fakes.down(away)
    answer = ask(fakes, userid)
    assert answer.recall == before.recall
    assert answer.itemids == before.itemids
    np.testing.assert_allclose(scores(answer), scores(before), rtol=1e-5)
    assert degraded(answer) == [(outcome, away)]


NONSENSE = {
    "text": "many",
    "a nested list": [1, 2],
    "no number": float("nan"),
    "too large": 10**400,
    "absent": None,
}


@pytest.mark.parametrize("what", NONSENSE)
def test_nonsense_user_features_are_as_good_as_none(
    fakes: Fakes, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = ask(fakes)
    answered = fakes.features.call
    (name, *_) = [each.name for each in fakes.world.spec.dense if each.entity == "user"]

    def nonsense(
        query: FeatureQuery, deadline: Deadline = NEVER, *, strict: bool = True
    ) -> FeatureRows:
        rows = answered(query, deadline, strict=strict)
        columns = {**rows.columns, name: [NONSENSE[what]] * len(rows.ids)}
        if what == "absent":
            del columns[name]
        return replace(rows, columns=columns)

    monkeypatch.setattr(fakes.features, "call", nonsense)
    for _ in range(2):
        answer = ask(fakes)
        assert answer.item_list == before.item_list
        assert degraded(answer) == [(Outcome.LAST_FEATURES, "feast")]
    unknown_user = ask(fakes, 8)
    assert unknown_user.itemids == unknown_user.recall["fused"][:50]
    assert degraded(unknown_user) == [(Outcome.NOT_RANKED, "feast")]
    with pytest.raises(ServiceError, match="feast: gives user features"):
        ask(fakes, strict=True)


@pytest.mark.parametrize("gone", SERVICES)
def test_a_dead_service_is_skipped_after_a_few_requests(
    fakes: Fakes, gone: str
) -> None:
    for _ in range(2):
        ask(fakes)
    fakes.down(gone)
    requested: list[str] = []
    fakes.service(gone).on_call = lambda: requested.append(gone)
    began = time.monotonic()
    answers = [ask(fakes) for _ in range(20)]
    probes = (time.monotonic() - began) / PROBE_S  # more than none on a busy machine
    assert FAILURES <= len(requested) <= FAILURES + probes
    assert all(len(answer.item_list) == 50 for answer in answers)
    assert any("circuit breaker" in answer.degraded[0].reason for answer in answers)
    fakes.down()
    until(lambda: ask(fakes).degraded == [])


@pytest.mark.parametrize("slow", SERVICES)
def test_a_small_budget_opens_no_breaker(
    fakes: Fakes, slow: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call that had little time says nothing about the service."""
    ask(fakes)
    monkeypatch.setattr(
        fakes.service(slow),
        "_call",
        Mock(side_effect=ServiceError(slow, OUT_OF_TIME)),
    )
    breaker = fakes.service(slow).breaker
    for _ in range(FAILURES + 2):
        ask(fakes, budget_ms=50)
    assert breaker.state == "closed"
    for _ in range(FAILURES):
        ask(fakes)
    assert breaker.state != "closed"  # open; half_open after half a second


@pytest.mark.parametrize("gone", SERVICES)
def test_strict_requests_get_the_error_and_always_call(fakes: Fakes, gone: str) -> None:
    before = ask(fakes)
    fakes.down(gone)
    for _ in range(FAILURES + 2):
        with pytest.raises(ServiceError) as raised:
            ask(fakes, strict=True)
        assert raised.value.service == gone
        assert "circuit breaker" not in raised.value.what
    # open; half_open after half a second
    assert fakes.service(gone).breaker.state != "closed"
    fakes.down()
    assert ask(fakes, strict=True).item_list == before.item_list
    assert fakes.service(gone).breaker.state == "closed"


def test_a_call_that_is_stuck_holds_nobody_beyond_the_budget(fakes: Fakes) -> None:
    before = ask(fakes)
    stuck = threading.Event()
    fakes.features.on_call = lambda: stuck.wait(30)
    try:
        started = time.perf_counter()
        answer = ask(fakes, budget_ms=5_000)
        assert time.perf_counter() - started < 15
    finally:
        stuck.set()
    assert answer.item_list == before.item_list
    assert [each.outcome for each in answer.degraded] == [Outcome.LAST_FEATURES]


def test_late_requests_are_answered_from_memory(fakes: Fakes) -> None:
    ask(fakes)
    before = [len(service.calls) for service in fakes.services]
    budget: Any = {"budget_ms": 10_000}
    late_s, in_time_s = ((MAX_QUEUE_SHARE + more) * 10 for more in (0.1, -0.1))
    answer = ask(fakes, waited_s=late_s, **budget)
    assert answer.itemids == popular(fakes.world)
    assert degraded(answer) == [(Outcome.POPULAR, "server")]
    # nobody's time is taken
    assert [len(service.calls) for service in fakes.services] == before
    assert not ask(fakes, waited_s=in_time_s, **budget).degraded
    assert not ask(fakes, waited_s=late_s, strict=True, **budget).degraded
    request, watch = Request(userid=1, **budget), Stopwatch(time.perf_counter() - 3)
    assert 0 < fakes.recommender.slate(request, watch).deadline.left() <= 7
