from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from threading import Event

import pytest

from offline.data.lists import made_ahead

PATIENCE_S = 20


def test_all_are_there_in_their_order() -> None:
    assert list(made_ahead(iter(range(5)))) == list(range(5))
    assert not list(made_ahead(iter(())))


def test_the_next_is_made_while_one_is_used() -> None:
    made = [Event() for _ in range(3)]

    def items() -> Iterator[int]:
        for number, event in enumerate(made):
            event.set()
            yield number

    for number in made_ahead(items()):
        assert all(event.wait(PATIENCE_S) for event in made[: number + 2])
        assert not any(event.is_set() for event in made[number + 2 :])


def test_who_stops_early_leaves_no_thread() -> None:
    before = set(threading.enumerate())
    found = made_ahead(itertools.count())
    assert next(found) == 0
    (started,) = set(threading.enumerate()) - before
    found.close()
    assert not started.is_alive()


def test_what_fails_is_raised_where_it_is_used() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("the second")

    found = made_ahead(items())
    assert next(found) == 1
    with pytest.raises(ValueError, match="the second"):
        next(found)
