"""Events that all kept releases were trained on change nothing and need not be read."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from data_exchange_center.candidates import StoredUser
from data_exchange_center.dataset import Dataset
from data_exchange_center.events import Event, Logged, updated
from data_exchange_center.history import History
from extras.events.hook import trained_on, unneeded
from tests.datasets import STARS
from tests.unit.data_exchange_center.test_events import CLICKS, seen

KNOWN: dict[Any, int] = {n: n for n in range(1, 9)}  # of which the releases know


def made_up(
    seed: int, dataset: Dataset, size: int = 40
) -> tuple[History, list[Logged]]:
    """A user that a release knows, and events since; of few items, so that they meet."""
    rng = np.random.default_rng(seed)
    rates = "rating" if dataset.has_values else "click"
    events = []
    for place in range(size):
        kind = rng.choice([rates, rates, "hide", "undo", "view", "unheard"])
        item = int(rng.integers(1, 11))  # 9, 10: unknown
        time, value = int(rng.integers(90, 130)), float(rng.integers(1, 7))
        event = Event(f"e{place}", 7, item, str(kind), time, value)
        events.append(Logged(time, (1_000, place), event))
    items = rng.permutation(8)[:4] + 1
    codes = rng.integers(1, 6, 4) if dataset.has_values else np.ones(4, np.int64)
    return History(items, codes, np.sort(rng.integers(80, 110, 4))[::-1]), events


def state(
    history: History, events: Sequence[Logged], dataset: Dataset
) -> tuple[list[tuple[int, int, int]], list[int]]:
    """The history after these events, without the order of one second, and what is seen."""
    now, items = updated(history, seen(history), events, KNOWN, dataset)
    columns = (now.times.tolist(), now.item_numbers.tolist(), now.ratings.tolist())
    return sorted(zip(*columns, strict=True)), items.tolist()


def user(history: History, events: Sequence[Logged]) -> StoredUser:
    terms = np.empty(0, np.int32)
    return StoredUser(1, (), seen(history), terms, history, {}, tuple(events))


def release(dataset: Dataset) -> Any:
    return SimpleNamespace(numbers=KNOWN, manifest=SimpleNamespace(dataset=dataset))


@pytest.mark.parametrize("dataset", [STARS, CLICKS], ids=["stars", "clicks"])
@pytest.mark.parametrize("seed", range(30))
def test_events_a_release_was_trained_on_change_nothing(
    dataset: Dataset, seed: int
) -> None:
    before, events = made_up(seed, dataset)
    history, _ = updated(
        before, seen(before), events[: len(events) // 2], KNOWN, dataset
    )
    gone = trained_on(user(history, events), events, KNOWN, dataset)
    left = [each for each in events if each.event.eventid not in gone]
    assert state(history, left, dataset) == state(history, events, dataset)
    unknown = {each.event.eventid for each in events if each.event.itemid not in KNOWN}
    assert not gone & unknown, "may be known later"


def test_only_what_all_kept_releases_know_is_not_needed() -> None:
    events = []
    for n in (1, 2, 3):
        event = Event(f"e{n}", 7, n, "rating", 200 + n, 5.0)
        events.append(Logged(event.timestamp, (1, n), event))
    none = History.empty()
    histories = [
        updated(none, seen(none), events[:n], KNOWN, STARS)[0] for n in (0, 1, 2)
    ]
    states = [(user(history, events), release(STARS)) for history in histories]
    assert unneeded(states[1:]) == {"e1"}
    assert unneeded(states[2:]) == {"e1", "e2"}
    assert unneeded(states) == unneeded([]) == set()
