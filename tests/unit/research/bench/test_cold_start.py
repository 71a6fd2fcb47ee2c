from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from data_exchange_center.settings import Settings
from research.bench import cold_start
from research.bench.asking import Drawn
from research.bench.generator import Answered, Run, Target


class Asks:
    """A generator whose requests are answered at once, but for every tenth."""

    def fixed_rate(self, target: Target, userids: Sequence[Any], per_s: float) -> Run:
        assert target.strict is None
        answers = (Answered(0.01, 503 if number % 10 == 0 else 200) for number in range(len(userids)))
        return Run(len(userids) / per_s, tuple(answers), 0.0)


def test_elasticsearch_and_the_server_are_started_anew_before_the_first_requests(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done: list[str] = []
    for name in ("down", "restart", "up"):
        note = lambda settings, services, name=name: done.append(f"{name} {services[0].name}")  # noqa: E731
        monkeypatch.setattr(cold_start.commands, name, note)
    started = cold_start.start(Settings(), Asks(), Drawn([1, 2, 3], 0))  # type: ignore[arg-type]
    assert done == ["down server", "restart elasticsearch", "up server"]
    assert len(started.answers) == cold_start.REQUESTS
    found = cold_start.summary([started, started])
    assert (found["requests"], found["failed"]) == (2 * cold_start.REQUESTS, 2 * cold_start.REQUESTS // 10)
    assert cold_start.table({"0 s": found}).row_count == 1
