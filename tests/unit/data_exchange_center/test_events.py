"""Histories and events: packed, aged, brought up to date; of one type or of several."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from data_exchange_center.dataset import Dataset
from data_exchange_center.event_types import TypeRules, in_order
from data_exchange_center.events import Event, Logged, opinion, updated
from data_exchange_center.history import History, first_of_second, state_as_of
from tests.datasets import STARS

ROWS = st.lists(
    st.tuples(st.integers(1, 2**31 - 1), st.integers(1, 5), st.integers(0, 2**40)),
    max_size=20,
)


def history(rows: list[tuple[int, int, int]]) -> History:
    columns = np.array(rows, dtype=np.int64).reshape(-1, 3).T
    return History(*columns)


def rows_of(one: History) -> list[tuple[int, int, int]]:
    return list(
        zip(
            one.item_numbers.tolist(),
            one.ratings.tolist(),
            one.times.tolist(),
            strict=True,
        )
    )


@given(ROWS)
def test_a_history_survives_the_wire_in_13_bytes_an_event(
    rows: list[tuple[int, int, int]],
) -> None:
    raw = history(rows).pack()
    assert len(raw) == 13 * len(rows)
    found = History.unpack(raw)
    assert rows_of(found) == rows
    assert (
        found.item_numbers.dtype == found.ratings.dtype == found.times.dtype == np.int64
    )


def test_of_what_was_seen_only_what_came_later_is_unknown() -> None:
    """An item that was rated before the second, and one that the history is too short for, stay seen."""
    later = history([(4, 5, 200), (2, 3, 100), (9, 4, 40)])
    known, seen = state_as_of(later, np.array([1, 2, 4, 9], np.int32), 100, STARS.had)
    assert (known.item_numbers.tolist(), seen.tolist()) == ([9], [1, 9])
    known, seen = state_as_of(later, np.array([1, 2, 4, 9], np.int32), None, STARS.had)
    assert (known.item_numbers.tolist(), seen.tolist()) == ([4, 2, 9], [1, 2, 4, 9])


def test_the_first_of_a_second_is_that_of_one_user() -> None:
    users = np.array([1, 1, 1, 2, 2, 3])
    times = np.array([5, 7, 7, 7, 7, 7])
    assert first_of_second(users, times).tolist() == [0, 1, 1, 3, 3, 5]
    assert first_of_second(users[1:], times[1:]).tolist() == [
        0,
        0,
        2,
        2,
        4,
    ]  # the first two are of one second
    assert first_of_second(users[:0], times[:0]).tolist() == []


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
    history_before = history(old)
    for order in itertools.islice(
        itertools.permutations(logged), 24
    ):  # in whatever order they are stored
        after_them, items = updated(
            history_before, seen(history_before), order, ITEMS, dataset, before
        )
        results.append((rows_of(after_them), items.tolist()))
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
    later = [("rating", 9, 500, 5.0)]
    assert after(later, before=400) == (OLD, [1, 2, 3])


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


RULES = {
    "buy": TypeRules(target=True, has=True),
    "view": TypeRules(weight=0.1),
    "cart": TypeRules(weight=0.3, target=True),
    "return": TypeRules(negative=True),
    "shown": TypeRules(history=False),
}
TYPES = in_order(RULES)
VIEW, RETURN, SHOWN, BUY, CART = range(1, 6)  # their codes
TYPED = STARS.model_copy(
    update={
        "types": TYPES,
        "levels": tuple(map(float, range(1, 6))),
        "positive_level": 3,
    }
)


def event(kind: str, item: int, time: int) -> Logged:
    return Logged(time, (1_000, time), Event(f"{kind}{time}", 7, item, kind, time))


def test_codes_are_the_types_in_order_targets_last() -> None:
    names = [each.name for each in TYPES]
    assert names == ["view", "return", "shown", "buy", "cart"]
    assert [TYPED.code(None, name) for name in names] == [1, 2, 3, 4, 5]
    assert TYPED.code(5, "rating") is None
    assert not TYPED.has_values
    assert Dataset.model_validate_json(TYPED.model_dump_json()) == TYPED


def test_a_server_takes_the_types_besides_the_usual_ones() -> None:
    effects = TYPED.event_types
    assert (effects["view"], effects["buy"], effects["hide"]) == (
        "rates",
        "rates",
        "hides",
    )
    assert effects["shown"] == "notes", "nothing reads it"
    assert "rating" not in effects


@pytest.mark.parametrize(
    ("rules", "problem"),
    [
        ({"weight": -1}, "weight"),
        ({"target": True, "negative": True}, "not both"),
        ({"target": True, "weight": 0}, "above 0"),
    ],
)
def test_rules_that_contradict_one_another_are_refused(
    rules: dict[str, float], problem: str
) -> None:
    with pytest.raises(ValidationError, match=problem):
        TypeRules.model_validate(rules)


def test_an_opinion_is_a_targets_or_a_negative_ones() -> None:
    kinds = ("buy", "cart", "return", "view", "undo")
    found = [opinion(event(kind, 1, 5).event, TYPED) for kind in kinds]
    assert found == [True, True, False, None, False]


def test_only_what_was_bought_is_left_out_and_every_event_is_history() -> None:
    events = [event("view", 1, 10), event("cart", 1, 20), event("view", 2, 25)]
    none = np.array([], np.int32)
    items = {1: 1, 2: 2}
    history, seen = updated(History.empty(), none, events, items, TYPED)
    assert history.ratings.tolist() == [VIEW, CART, VIEW], "none replaces another"
    assert seen.tolist() == []
    events.append(event("buy", 1, 30))
    history, seen = updated(History.empty(), none, events, items, TYPED)
    assert history.ratings.tolist() == [BUY, VIEW, CART, VIEW]
    assert seen.tolist() == [1]
    before, seen_before = state_as_of(history, seen, 30, TYPED.had)
    assert (len(before), seen_before.tolist()) == (3, []), "seen, but not had by then"
    undone, seen = updated(history, seen, [event("undo", 1, 40)], items, TYPED)
    assert (undone.item_numbers.tolist(), seen.tolist()) == ([2], [])


def test_had_by_code() -> None:
    codes = np.array([0, VIEW, BUY, CART])
    assert TYPED.had(codes).tolist() == [False, False, True, False]
    assert STARS.had(codes).all()
    again = TYPED.model_copy(update={"repeats": "again"})
    assert not again.had(codes).any()
