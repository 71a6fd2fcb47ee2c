from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from data_exchange_center.steps import StepError
from research.bench.load import Loading, expect_answers, generate
from tests.http_server import serving

STALL_S = 3.0  # much longer than a busy machine takes for an answer


@contextmanager
def answering(
    requested: Counter[int] | None = None, stall_s: float = 0.0
) -> Iterator[str]:
    """Its address. Release b for user 7, an error for user 13, release a for the others.

    ``requested``: counts the users; ``stall_s``: for so long after the first request, nobody is answered.
    """
    until: list[float] = []

    def answer(_: object, body: bytes) -> tuple[int, bytes]:
        if not until:
            until.append(time.monotonic() + stall_s)
        time.sleep(max(until[0] - time.monotonic(), 0.0))
        userid = json.loads(body)["userid"]
        if requested is not None:
            requested[userid] += 1
        reported = {
            "release": "b" if userid == 7 else "a",
            "took_ms": {"redis": 1.0, "total": float(userid)},
        }
        return 503 if userid == 13 else 200, json.dumps(reported).encode()

    with serving(answer) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.mark.parametrize("loading", [Loading(in_flight=5), Loading(per_s=1_000.0)])
def test_every_user_is_requested_once(loading: Loading) -> None:
    users, requested = list(range(100, 137)), Counter[int]()
    with answering(requested) as url:
        run = generate(url, users, loading)
    assert requested == Counter(users)
    assert (
        sorted(answer.took_ms["total"] for answer in run.good if answer.took_ms)
        == users
    )
    assert run.seconds > 0
    assert run.generator_s > 0


def test_an_error_is_not_a_fast_answer() -> None:
    with answering() as url:
        run = generate(url, [1, 13], Loading(1))
    assert [answer.status for answer in run.answers] == [200, 503]
    with pytest.raises(StepError, match=r"answered 503: .* \(1 of 2 requests\)"):
        expect_answers(url, run)


def test_a_stall_counts_for_requests_due_meanwhile() -> None:
    """A closed loop sees one slow answer; at a fixed rate, all who come during the stall wait for its end."""
    with answering(stall_s=STALL_S) as url:
        fixed = generate(url, [1, 2, 3, 4], Loading(per_s=100.0))
    assert min(answer.seconds for answer in fixed.answers) > STALL_S / 2
    with answering(stall_s=STALL_S) as url:
        closed = generate(url, [1, 2, 3, 4], Loading(1))
    assert sorted(answer.seconds > STALL_S / 2 for answer in closed.answers) == [
        False,
        False,
        False,
        True,
    ]
