from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from data_exchange_center.steps import StepError
from online.bench import Answered, Load, load, summarise
from tests.unit.online.answering import Handler, answering


@pytest.fixture
def url() -> Iterator[str]:
    with answering() as address:
        yield address


def test_every_user_is_asked_for_once(url: str) -> None:
    users = list(range(100, 137))
    seconds, answers = load(url, users, concurrency=5)
    assert Handler.asked == Counter(users)
    assert sorted(answer.took_ms["total"] for answer in answers) == users
    assert seconds > 0


def test_an_error_is_not_a_fast_answer(url: str) -> None:
    with pytest.raises(StepError, match="503 for user 13"):
        load(url, [1, 13], concurrency=1)


def test_summary() -> None:
    answers = [Answered(ms / 1e3, "a", {"redis": 1.0, "total": ms / 2}) for ms in range(1, 101)]
    level = summarise(4, 2.0, [*answers, Answered(0.05, "a", {"total": 25.0})])
    assert (level.concurrency, level.requests, level.requests_per_s) == (4, 101, 50.5)
    assert level.p50_ms == pytest.approx(50, abs=1)
    assert level.p99_ms == pytest.approx(99, abs=1)
    assert level.stage_p50_ms == {"redis": 1.0, "total": pytest.approx(25, abs=0.6)}


def test_an_answer_of_another_release_is_told(url: str) -> None:
    asking = Load(url, userids=[1, 7], levels=[1], requests=2, warm_up=1, seed=0)
    with pytest.raises(StepError, match="release b, too"):
        asking.measure("a")
    assert [level.requests for level in Load(url, [1, 2], [1, 2], 2, 1, seed=0).measure("a")] == [2, 2]
