"""What was liked of what was shown, by user and arm, and by release and day."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from data_exchange_center.dataset import Dataset, OwnId
from data_exchange_center.events import Event
from extras.trials.exposures import Exposure
from extras.trials.outcomes import Outcomes, hit_rates, likes_of, outcomes_of
from tests.unit.data_exchange_center.test_events import TYPED
from tests.unit.online.world import DefaultWorld

STARS: Dataset = DefaultWorld().published.manifest.dataset
OLD, NEW = "aaaaaaaaaaaa", "bbbbbbbbbbbb"
HOUR, DAY_S = 3_600, 86_400
LONG_AFTER = 10 * DAY_S


def shown(
    userid: OwnId, at: int, items: Sequence[OwnId] = (4, 5), **more: Any
) -> Exposure:
    fields: dict[str, Any] = {
        "experiment": "ranker",
        "arm": "control",
        "dataset": STARS.base_name,
        "release": OLD,
        "answered": at * 1_000,
        "recommendation": f"{userid}@{at}",
    }
    return Exposure(
        userid=userid, timestamp=at, items=tuple(items), **{**fields, **more}
    )


def rated(item: OwnId, at: int, value: float | None = 5.0, **more: Any) -> Event:
    fields = {"type": "rating", **more}
    return Event(f"{item}@{at}", 1, item, timestamp=at, value=value, **fields)


def undone(item: OwnId, at: int) -> Event:
    return rated(item, at, None, type="undo")


def found(
    exposures: Sequence[Exposure],
    events: Mapping[OwnId, Sequence[Event]],
    now: float = LONG_AFTER,
) -> Outcomes:
    return outcomes_of(exposures, lambda _: events, STARS, HOUR, now)


def test_of_types_the_heaviest_target_counts() -> None:
    events = [rated(4, 10, None, type="cart"), rated(5, 11, None, type="buy")]
    late = [*events, rated(4, 12, None, type="buy")]
    answers = [shown(1, 5)]
    assert [likes_of(answers, each, TYPED, HOUR) for each in (events, late)] == [1, 2]


@pytest.mark.parametrize(
    ("events", "hits"),
    [
        ([], 0),
        ([rated(4, 100)], 1),
        ([rated(4, 99)], 0),  # before it was shown
        ([rated(4, 100 + HOUR)], 1),
        ([rated(4, 101 + HOUR)], 0),  # after the horizon
        ([rated(4, 200, 2.0)], 0),  # not liked
        ([rated(4, 200, 2.3)], 0),  # no value of the data set
        ([rated(4, 200, type="view")], 0),
        ([rated(4, 200), rated(4, 210), rated(5, 220)], 2),
        ([rated(4, 200), undone(4, 300)], 0),
        ([rated(4, 200), rated(4, 300, 1.0)], 0),
        ([rated(4, 200), rated(4, 300, 2.3)], 1),
        ([rated(4, 200), undone(5, 300)], 1),
        ([rated(4, 200), undone(4, 101 + HOUR)], 1),
        ([rated(4, 200), undone(4, 200)], 0),  # of one second, the later in the log
    ],
)
def test_what_counts_as_liked(events: list[Event], hits: int) -> None:
    """In a trial and in a day's hit rate alike."""
    assert found([shown(1, 100)], {1: events}).likes.tolist() == [hits]
    (day,) = hit_rates([shown(1, 100)], {1: events}, STARS, HOUR, LONG_AFTER)
    assert (day.lists, day.hits) == (1, bool(hits))


def test_an_item_counts_once_whatever_answers_had_it() -> None:
    answers = [shown(1, 100, [7, 8]), shown(1, 200, [9, 8, 7]), shown(1, 300, [7])]
    events = [rated(7, 250), rated(7, 260), rated(8, 350, recommendation="1@100")]
    assert found(answers, {1: events}).likes.tolist() == [2]


def test_users_are_ordered_by_first_answer_and_all_count() -> None:
    answers = [
        shown(2, 300, arm="treatment"),
        shown(2, 100, arm="treatment", release=NEW),
        shown(1, 400),
    ]
    outcomes = found(answers, {1: [rated(4, 500)]})
    assert outcomes.arms.tolist() == ["treatment", "control"]
    assert outcomes.likes.tolist() == [0, 1]


def test_a_user_enters_when_the_horizon_is_over() -> None:
    outcomes = found([shown(1, 100), shown(2, 200)], {}, now=100 + HOUR)
    assert (outcomes.arms.tolist(), outcomes.watched) == (["control"], {"control": 1})
    assert found([], {}).likes.tolist() == []


def test_hit_rates_are_by_release_and_day() -> None:
    exposures = [
        shown(1, 10),
        shown(1, 5_000),
        shown(2, 60),
        shown(1, DAY_S + 10),
        shown(2, DAY_S + 10, release=NEW),
        shown(1, LONG_AFTER - 1),  # its window is not over
    ]
    events = {1: [rated(4, 40), rated(4, DAY_S + 20)]}
    rates = hit_rates(exposures, events, STARS, HOUR, LONG_AFTER)
    assert [(each.day, each.release, each.lists, each.hits) for each in rates] == [
        ("1970-01-01", OLD, 3, 1),
        ("1970-01-02", OLD, 1, 1),
        ("1970-01-02", NEW, 1, 0),
    ]
