from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from data_exchange_center.settings import Settings
from research.bench.asking import Drawn
from research.bench.generator import Answered, Run, Target
from research.bench.growth import AT_MOST, Sample
from research.bench.processes import Part, Use
from research.measure import soak
from research.measure.soak import Plan, Soak, problems, table


class Asks:
    """A generator that waits for nothing: an answer a request, of the release that is live."""

    def __init__(self, live: list[str]) -> None:
        self._live = live

    def fixed_rate(self, _: Target, userids: Sequence[Any], per_s: float) -> Run:
        return Run(len(userids) / per_s, tuple(Answered(0.01, release=self._live[-1]) for _ in userids), 0.0)


@pytest.fixture
def live(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The releases that were put live, in this order; time runs a second a look."""
    went_live, now = ["a"], iter(range(10_000))
    monkeypatch.setattr(soak, "go_back", lambda _, release: went_live.append(release))
    monkeypatch.setattr(soak.time, "monotonic", lambda: float(next(now)))
    monkeypatch.setattr(soak.time, "sleep", lambda _: None)
    monkeypatch.setattr(soak, "sample", lambda _, at_s: Sample(at_s, {"server 1": Use(0.0, 100.0, 4, 9)}))
    return went_live


def test_releases_take_turns_while_requests_go_on(live: list[str]) -> None:
    plan = Plan(seconds=60, per_s=10, switch_every_s=10)
    run = Soak(Settings(), ("a", "b"), plan)
    parts: Mapping[str, Part] = {}
    run.run(Asks(live), Target("url"), Drawn([1, 2, 3], 0), parts)  # type: ignore[arg-type]
    assert len(live) > 2
    assert live == [("a", "b")[number % 2] for number in range(len(live))]
    run.samples.append(soak.sample(parts, 60.0))
    figures = run.figures(AT_MOST)
    assert figures["switches"] == len(live) - 1
    assert set(figures["releases"]) == {"a", "b"}
    assert (figures["errors"], figures["of_neither_release"]) == ({}, 0)
    assert problems(figures) == []
    assert table(figures).row_count == 1


def test_what_fails_a_run_is_said() -> None:
    bad = {
        "processes": [{"process": "triton 1", "rss_mb": 100.0, "rss_mb_at_end": 120.0, "times": 1.2}],
        "requests": 10,
        "errors": {"503": 2},
        "of_neither_release": 1,
        "grows_at_most": 1.15,
    }
    assert problems({**bad, "grows_at_most": 1.25})[0].startswith("of 10 requests")
    assert problems(bad) == [
        "triton 1 has grown from 100.0 MB to 120.0 MB",
        "of 10 requests, so many by status were not answered: {'503': 2}",
        "1 answers are of neither release",
    ]


def test_each_release_has_been_opened_once_when_counting_begins() -> None:
    assert Plan(seconds=3600, per_s=50, switch_every_s=120).warm_up_s == 1080
    assert Plan(seconds=300, per_s=50, switch_every_s=60).warm_up_s == 120
