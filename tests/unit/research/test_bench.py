import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path

import pytest

from data_exchange_center import artifacts
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from research.bench.against import OtherCheckout, ratios
from research.bench.load import (
    Answered,
    Loading,
    Run,
    expect_answers,
    generate,
    summary,
)
from research.bench.processes import on_free_ports
from research.bench.shed import point, verdict
from tests.http_server import serving

# load

STALL_S = 1.2  # much longer than a busy machine takes for an answer


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


# against


def test_a_commit_that_was_trained_on_other_data_is_not_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its answers to unknown users are cheap: it looked three times as fast."""
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for folder, name in ((ours, "ml-1m"), (theirs, "ml-100k")):
        artifacts.DATASET.write(folder, {"name": name})
    monkeypatch.setattr(OtherCheckout, "_run", lambda *_: True)
    monkeypatch.setattr(OtherCheckout, "_serve_all", lambda _: True)
    settings = Settings(exchange_dir=ours, services_dir=tmp_path / "services")
    other = OtherCheckout("HEAD", settings, theirs, shares_services=False)
    (tmp_path / "services" / "bench" / "HEAD" / "checkout").mkdir(parents=True)
    with (
        pytest.raises(
            StepError, match="trained on ml-100k, this checkout's release on ml-1m"
        ),
        other.running(keep=True),
    ):
        pass


def test_a_ratio_is_the_median_of_adjacent_turns() -> None:
    this, other = (
        [
            Run(seconds, (Answered(ms / 1e3),) * 10, 0.1, {"server": 0.1})
            for seconds, ms in turns
        ]
        for turns in (
            ((1.0, 5.0), (2.0, 8.0), (1.0, 9.0)),
            ((2.0, 10.0), (2.0, 10.0), (4.0, 10.0)),
        )
    )
    found = ratios(this, other)
    assert found["turns"]["requests_per_s"] == [2.0, 1.0, 4.0]
    assert found["requests_per_s"] == 2.0
    assert (found["p50_ms"], found["turns"]["p50_ms"]) == (0.8, [0.5, 0.8, 0.9])
    assert found["p99_ms"] == 0.9  # of all turns together
    assert summary(this)["turns"]["requests_per_s"] == [10.0, 5.0, 10.0]
    assert summary(this)["requests_per_s"] == 10.0


# shed


def turn(whole: int, degraded: int = 0, refused: int = 0, seconds: float = 1.0) -> Run:
    answers = [Answered(0.1)] * whole + [Answered(0.2, degraded=("triton",))] * degraded
    return Run(
        seconds,
        (*answers, *[Answered(0.0, HTTPStatus.SERVICE_UNAVAILABLE)] * refused),
        generator_s=0.1,
    )


def test_the_verdict_is_of_loads_up_to_the_judged_one() -> None:
    best = {"requests_per_s": 100.0}
    points = [
        point([turn(whole)], factor, best)
        for whole, factor in ((50, 0.5), (91, 1.5), (10, 3.0))
    ]
    assert verdict(points, budget_ms=100)["holds"]
    assert not verdict(points, budget_ms=80)["holds"]  # p99 of 100 ms, 96 are allowed
    assert not verdict([*points, point([turn(89)], 1.0, best)], budget_ms=100)["holds"]


def test_another_stack_has_ports_and_sockets_of_its_own(tmp_path: Path) -> None:
    settings = Settings(exchange_dir=tmp_path)
    other = on_free_ports(settings)
    assert settings.redis.socket
    assert settings.triton.socket_dir
    assert not other.redis.socket
    assert not other.triton.socket_dir
    assert other.server.port != settings.server.port
