"""Readiness is found out once for everybody who asks at the same time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from online.recommend import readiness
from online.recommend.readiness import Readiness, SharedReadiness

MANY = 20


class Finding:
    """Counts how often it is asked, and answers when it is told to."""

    def __init__(self) -> None:
        self.times = 0
        self.begun = threading.Event()
        self.go = threading.Event()

    def __call__(self) -> Readiness:
        self.times += 1
        self.begun.set()
        assert self.go.wait(10)
        if self.times == 1:
            return Readiness("r", "default", None, {})
        raise RuntimeError(f"time {self.times}")


@pytest.fixture
def finding() -> Iterator[Finding]:
    finding = Finding()
    yield finding
    finding.go.set()


def test_a_flood_asks_once(finding: Finding, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "FRESH_S", 60.0)
    shared = SharedReadiness(finding)
    with ThreadPoolExecutor(MANY) as callers:
        answers = [callers.submit(shared.get) for _ in range(MANY)]
        assert finding.begun.wait(10)
        finding.go.set()
        assert {id(answer.result()) for answer in answers} == {id(answers[0].result())}
        assert shared.get() is answers[0].result()
    assert finding.times == 1


def test_what_is_no_longer_fresh_is_found_out_anew_and_an_error_is_not_kept(
    finding: Finding, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "FRESH_S", 0.0)
    finding.go.set()
    shared = SharedReadiness(finding)
    assert shared.get().ready
    for time in (2, 3):
        with pytest.raises(RuntimeError, match=f"time {time}"):
            shared.get()
