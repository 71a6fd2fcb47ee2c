"""Events of several types: codes, what a user has, state after events."""

import numpy as np
import pytest
from pydantic import ValidationError

from data_exchange_center.dataset import Dataset
from data_exchange_center.event_types import TypeRules, in_order
from data_exchange_center.events import Event, Logged, opinion, updated
from data_exchange_center.history import History, state_as_of
from tests.datasets import STARS

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
