import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from data_exchange_center.dataset import Dataset
from data_exchange_center.events import Event, Logged, updated
from data_exchange_center.history import History
from tests.datasets import STARS
from tests.unit.data_exchange_center.test_history import history as history_of

CLICKS = STARS.model_copy(update={"levels": (1.0,), "positive_level": 0})
ITEMS = {n: n for n in range(1, 100)}
OLD = [(3, 4, 300), (2, 5, 200), (1, 1, 100)]  # item, rating, time; newest first


def after(
    events: Sequence[tuple[str, int, int, float | None]],
    old: Sequence[tuple[int, int, int]] = OLD,
    dataset: Dataset = STARS,
    before: int | None = None,
) -> tuple[list[tuple[int, int, int]], list[int]]:
    """History, newest first, and seen items after events (type, item, time, value), acknowledged in this order."""
    logged = [
        Logged(time, (1_000, place), Event(f"e{place}", 7, item, kind, time, value))
        for place, (kind, item, time, value) in enumerate(events)
    ]
    results = []
    history_before = history_of(old)
    for order in itertools.islice(
        itertools.permutations(logged), 24
    ):  # in whatever order they are stored
        history, items = updated(
            history_before, seen(history_before), order, ITEMS, dataset, before
        )
        rows = list(
            zip(
                history.item_numbers.tolist(),
                history.ratings.tolist(),
                history.times.tolist(),
                strict=True,
            )
        )
        results.append((rows, items.tolist()))
        assert items.dtype == np.int32, "as it is stored"
    assert all(result == results[0] for result in results)
    return results[0]


def seen(history: History) -> np.ndarray:
    return np.unique(history.item_numbers).astype(np.int32)


NEW = {  # what happens -> events, and how history and seen items look then
    "a rating is the newest event, and is seen": (
        [("rating", 9, 400, 5)],
        [(9, 5, 400), *OLD],
        [1, 2, 3, 9],
    ),
    "a late one stands where it happened": (
        [("rating", 9, 150, 2)],
        [*OLD[:2], (9, 2, 150), OLD[2]],
        [1, 2, 3, 9],
    ),
    "of one second the one acknowledged last is newest": (
        [("rating", 9, 399, 4), ("rating", 8, 400, 5), ("rating", 9, 400, 3)],
        [(9, 3, 400), (8, 5, 400), *OLD],
        [1, 2, 3, 8, 9],
    ),
    "a rating replaces the earlier one": (
        [("rating", 2, 400, 1)],
        [(2, 1, 400), OLD[0], OLD[2]],
        [1, 2, 3],
    ),
    "a hidden item is seen, and no part of the history": (
        [("hide", 9, 400, None)],
        OLD,
        [1, 2, 3, 9],
    ),
    "what the release knows is undone, too": (
        [("undo", 2, 400, None)],
        [OLD[0], OLD[2]],
        [1, 3],
    ),
}
SAME = {  # what changes nothing
    "a rating before a later one": [("rating", 3, 250, 1)],
    "a view is only noted": [("click", 9, 400, None), ("view", 9, 400, None)],
    "a rating is undone": [("rating", 9, 400, 5), ("undo", 9, 401, None)],
    "a hiding is undone": [("hide", 9, 400, None), ("undo", 9, 401, None)],
    "something later is not undone": [("undo", 3, 250, None)],
    "an item that the release does not know": [("rating", 777, 400, 5)],
    "a type that is not declared": [("purchase", 9, 400, 5)],
    "no value of the data set's": [("rating", 9, 400, 3.5), ("rating", 9, 400, None)],
}


@pytest.mark.parametrize(("events", "history", "seen"), NEW.values(), ids=NEW)
def test_events_update_a_users_state(
    events: list[Any], history: list[Any], seen: list[int]
) -> None:
    assert after(events) == (history, seen)


@pytest.mark.parametrize("events", SAME.values(), ids=SAME)
def test_some_events_change_nothing(events: list[Any]) -> None:
    assert after(events) == (OLD, [1, 2, 3])


def test_events_without_values_add_up() -> None:
    old = [(3, 1, 300), (2, 1, 200)]
    rows, seen = after([("click", 2, 400, None), ("click", 2, 350, None)], old, CLICKS)
    assert rows == [(2, 1, 400), (2, 1, 350), *old]
    assert seen == [2, 3]


def test_with_repeats_only_hidden_items_are_excluded() -> None:
    again = CLICKS.model_copy(update={"repeats": "again"})
    events = [("click", 9, 400, None), ("hide", 8, 401, None)]
    assert after(events, [(2, 1, 200)], again) == ([(9, 1, 400), (2, 1, 200)], [2, 8])


@pytest.mark.parametrize("dataset", [STARS, CLICKS])
def test_events_in_the_release_count_once(dataset: Dataset) -> None:
    kind = "rating" if dataset.has_values else "click"
    old = [
        (item, rating if dataset.has_values else 1, time) for item, rating, time in OLD
    ]
    assert after(
        [(kind, item, time, rating) for item, rating, time in old], old, dataset
    ) == (old, [1, 2, 3])


def test_as_of_a_second_only_earlier_events_are_known() -> None:
    events = [
        ("rating", 9, 250, 5.0),
        ("rating", 2, 260, 1.0),
        ("hide", 8, 260, None),
        ("undo", 1, 300, None),
    ]
    assert after(events, before=260) == ([(9, 5, 250), *OLD[1:]], [1, 2, 9])
    assert after(events, before=261) == (
        [(2, 1, 260), (9, 5, 250), OLD[2]],
        [1, 2, 8, 9],
    )
    assert after(events, before=50) == ([], [])


def test_an_event_survives_its_way_through_redis() -> None:
    event = Event("é\n1", "u 8f", "sku/1", "rating", 1_700_000_000, 4.5, "abc")
    assert Logged.unpack(f"1764115200000-3 {event.pack()}".encode()) == (
        1_700_000_000,
        (1764115200000, 3),
        event,
    )
    least = Event("1", 1, 2, "view", 0)
    assert Event.unpack(least.pack()) == least
    assert (
        least.pack()
        == '{"eventid":"1","userid":1,"itemid":2,"type":"view","timestamp":0}'
    )


def test_the_code_of_a_value() -> None:
    assert [STARS.code(value) for value in (1, 5.0, 3.5, 6, None)] == [
        1,
        5,
        None,
        None,
        None,
    ]
    assert [CLICKS.code(value) for value in (None, 17.0)] == [1, 1]
    binned = STARS.model_copy(update={"binned": True, "levels": (1.0, 10.0, 100.0)})
    assert [binned.code(value) for value in (-5, 5.6, 1e9, None)] == [1, 2, 3, None]
