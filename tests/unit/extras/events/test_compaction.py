from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from data_exchange_center.dataset import Dataset
from data_exchange_center.history import History
from extras.events.compaction import trained_on, unneeded
from extras.events.events import Event, Logged, updated
from online.clients.redis import StoredUser
from tests.datasets import STARS

CLICKS = STARS.model_copy(update={"levels": (1.0,), "positive_level": 0})
ITEMS: dict[Any, int] = {n: n for n in range(1, 9)}  # of which the releases know


@dataclass(frozen=True)
class Case:
    """A user whom a release knows, and events since; of few items, so that they meet."""

    dataset: Dataset
    history: History
    events: list[Logged]

    @classmethod
    def made_up(cls, seed: int, dataset: Dataset, size: int = 40) -> Case:
        rng = np.random.default_rng(seed)
        rates = "rating" if dataset.has_values else "click"
        kinds = rng.choice([rates, rates, "hide", "undo", "view", "unheard"], size).tolist()
        columns = (rng.integers(1, 11, size), rng.integers(90, 130, size), rng.integers(1, 7, size))  # 9, 10: unknown
        events = [
            Logged(time, (1_000, place), Event(f"e{place}", 7, item, kind, time, float(value)))
            for place, (kind, item, time, value) in enumerate(zip(kinds, *(c.tolist() for c in columns), strict=True))
        ]
        items = rng.permutation(8)[:4] + 1
        codes = rng.integers(1, 6, 4) if dataset.has_values else np.ones(4, np.int64)
        return cls(dataset, History(items, codes, np.sort(rng.integers(80, 110, 4))[::-1]), events)

    def after(self, events: Sequence[Logged]) -> tuple[list[tuple[int, int, int]], list[int]]:
        return state(*updated(self.history, seen(self.history), events, ITEMS, self.dataset))

    def without(self, gone: set[str]) -> list[Logged]:
        return [each for each in self.events if each.event.eventid not in gone]


def seen(history: History) -> np.ndarray:
    return np.unique(history.itemids).astype(np.int32)


def state(history: History, items: np.ndarray) -> tuple[list[tuple[int, int, int]], list[int]]:
    """The history without the order of one second, and what is seen."""
    rows = zip(history.times.tolist(), history.itemids.tolist(), history.ratings.tolist(), strict=True)
    return sorted(rows), items.tolist()


def user(history: History, events: Sequence[Logged]) -> StoredUser:
    return StoredUser(1, (), seen(history), np.empty(0, np.int32), history, {}, tuple(events))


def release(dataset: Dataset) -> Any:
    return SimpleNamespace(numbers=ITEMS, manifest=SimpleNamespace(dataset=dataset))


@pytest.mark.parametrize("dataset", [STARS, CLICKS], ids=["stars", "clicks"])
@pytest.mark.parametrize("seed", range(30))
def test_what_a_release_was_trained_on_changes_nothing_of_it(dataset: Dataset, seed: int) -> None:
    case = Case.made_up(seed, dataset)
    taken = case.events[: len(case.events) // 2]
    history, _ = updated(case.history, seen(case.history), taken, ITEMS, dataset)
    trained = Case(dataset, history, case.events)
    gone = trained_on(user(history, case.events), case.events, ITEMS, dataset)
    assert trained.after(trained.without(gone)) == trained.after(case.events)
    assert not gone & {each.event.eventid for each in case.events if each.event.itemid not in ITEMS}, (
        "may be known later"
    )


def test_only_what_all_kept_releases_know_is_not_needed() -> None:
    events = [Logged(200 + n, (1, n), Event(f"e{n}", 7, n, "rating", 200 + n, 5.0)) for n in (1, 2, 3)]
    empty = History.empty()
    histories = [updated(empty, seen(empty), events[:n], ITEMS, STARS)[0] for n in (0, 1, 2)]
    states = [(user(history, events), release(STARS)) for history in histories]
    assert unneeded(states[1:]) == {"e1"}
    assert unneeded(states[2:]) == {"e1", "e2"}
    assert unneeded(states) == unneeded([]) == set()
