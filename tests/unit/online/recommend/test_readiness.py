"""Readiness is found out once for everybody who asks at the same time."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from online.recommend import readiness
from tests.unit.online.conftest import Fakes

MANY = 20


def test_a_flood_asks_once(opened: Fakes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "FRESH_S", 60.0)
    go = threading.Event()
    opened.scorer.calls.clear()
    opened.scorer.on_call = lambda: _wait(go)
    with ThreadPoolExecutor(MANY) as callers:
        answers = [callers.submit(opened.recommender.readiness) for _ in range(MANY)]
        go.set()
        assert len({id(answer.result()) for answer in answers}) == 1
    assert len(opened.scorer.calls) == 1


def _wait(go: threading.Event) -> None:
    assert go.wait(10)
