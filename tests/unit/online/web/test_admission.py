"""A worker finds out how many requests at once it answers well in time."""

from __future__ import annotations

import heapq
from functools import partial

from hypothesis import given
from hypothesis import strategies as st

from online.web.admission import DECREASE, RECOVERS_WITHIN_S, THREADS_THEN, WELL_IN_TIME, Admission
from online.web.in_hand import PLACES_PER_THREAD, WATCHERS

THREADS, BUDGET_S = 8, 0.25
MOST = PLACES_PER_THREAD * THREADS


def admission() -> Admission:
    """On a clock that stands still."""
    return Admission(THREADS, BUDGET_S, clock=lambda: 0.0)


def fill(some: Admission, *, patient: bool = False) -> int:
    """How many it takes when all come at once."""
    while some.takes(watches=False, patient=patient):
        some.taken()
    return some.in_hand


def served(some: Admission, second_each: float, seconds: float, rate: float) -> tuple[int, int, list[float]]:
    """Requests at a fixed rate to a machine that needs ``second_each`` for each, one after the other.

    How many were well in time, how many were turned away, and how long those took that were taken.
    """
    done: list[tuple[float, float]] = []  # when, and since when
    free_at, turned_away, took = 0.0, 0, []
    for turn in range(int(seconds * rate)):
        now = turn / rate
        some.clock = partial(float, now)
        while done and done[0][0] <= now:
            at, since = heapq.heappop(done)
            took.append(at - since)
            some.answered(at - since, patient=False)
        if some.takes(watches=False, patient=False):
            some.taken()
            free_at = max(free_at, now) + second_each
            heapq.heappush(done, (free_at, now))
        else:
            turned_away += 1
    return sum(each <= BUDGET_S for each in took), turned_away, took


def test_it_begins_with_all_places_and_takes_no_more() -> None:
    some = admission()
    assert fill(some) == MOST
    assert not some.takes(watches=False, patient=True)
    assert some.takes(watches=True, patient=False)
    for _ in range(WATCHERS):
        some.taken()
    assert not some.takes(watches=True, patient=False)


def test_answers_that_are_late_leave_fewer_places_but_for_those_who_are_patient() -> None:
    some = admission()
    for _ in range(50):
        some.taken()
        some.answered(BUDGET_S, patient=False)
    assert fill(some) == THREADS
    assert fill(some, patient=True) == MOST


def test_one_late_answer_takes_a_part_of_the_places_however_few_were_in_hand() -> None:
    some = admission()
    some.taken()
    some.answered(BUDGET_S, patient=False)
    assert fill(some) == DECREASE * MOST


def test_places_come_back_with_time() -> None:
    now = 0.0
    some = Admission(THREADS, BUDGET_S, clock=lambda: now)
    for _ in range(50):
        some.taken()
        some.answered(BUDGET_S, patient=False)
    now = RECOVERS_WITHIN_S / 2
    assert fill(some) == (THREADS + MOST) / 2
    while some.in_hand:
        some.answered(0.01, patient=True)
    now = 10 * RECOVERS_WITHIN_S
    assert fill(some) == MOST


def test_who_asks_for_more_time_than_others_is_not_late_by_their_measure() -> None:
    some = admission()
    some.taken()
    some.answered(BUDGET_S, patient=False, budget_s=40 * BUDGET_S)
    assert some.limit == MOST
    some.taken()
    some.answered(BUDGET_S, patient=False, budget_s=BUDGET_S / 10)
    assert some.limit == DECREASE * MOST


def test_how_long_a_patient_one_took_says_nothing() -> None:
    some = admission()
    for _ in range(50):
        some.taken()
        some.answered(10.0, patient=True)
    assert fill(some) == MOST


def test_places_come_back_with_answers_that_are_in_time() -> None:
    some = admission()
    for _ in range(50):
        some.taken()
        some.answered(BUDGET_S, patient=False)
    for _ in range(50 * MOST):
        while some.in_hand < some.limit:  # as many as there are places for, and nobody is turned away
            some.taken()
        some.answered(0.01, patient=False)
    assert some.limit == MOST


def test_who_asks_little_at_once_does_not_make_places() -> None:
    """What was not tried is not known to go well."""
    some = admission()
    for _ in range(50):
        some.taken()
        some.answered(BUDGET_S, patient=False)
    for _ in range(1000):
        some.taken()
        some.answered(0.01, patient=False)
    assert fill(some) == THREADS


def test_at_ten_times_the_load_as_much_is_answered_in_time_as_at_the_best() -> None:
    """On a machine that makes 60 answers a second: without the limit, none of them would be in time."""
    each = 1 / 60
    _, none, _ = served(admission(), each, 30, 55)
    in_time, turned_away, took = served(admission(), each, 30, 600)
    assert none == 0
    assert in_time >= 0.8 * 30 * 60
    assert turned_away >= 0.85 * 30 * 600
    settled = sorted(took[len(took) // 10 :])
    assert settled[int(0.99 * len(settled))] <= round(THREADS_THEN * THREADS) * each + 1e-9, "nobody waits for a thread"


def test_where_a_few_are_too_many_the_others_may_wait_as_long_as_answers_are_well_in_time() -> None:
    each = 1 / 60
    _, turned_away, took = served(admission(), each, 30, 66)
    assert 0 < turned_away < 0.2 * 30 * 66
    settled = sorted(took[len(took) // 10 :])
    assert THREADS * each < settled[len(settled) // 2]
    assert settled[int(0.99 * len(settled))] <= 2 * WELL_IN_TIME * BUDGET_S


def test_when_fewer_come_again_they_may_wait_again() -> None:
    now = 0.0
    some = Admission(THREADS, BUDGET_S, clock=lambda: now)
    assert fill(some) == MOST
    for _ in range(2 * MOST):
        assert not some.takes(watches=False, patient=False)
    assert some.limit == round(THREADS_THEN * THREADS)
    assert some.takes(watches=True, patient=False)
    while some.in_hand:
        some.answered(0.01, patient=True)
    now = 10.0
    assert fill(some) == MOST


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 2)), max_size=300))
def test_there_are_always_some_places_and_never_too_many(answers: list[tuple[bool, float]]) -> None:
    some = admission()
    for patient, seconds in answers:
        assert some.takes(watches=False, patient=patient)
        some.taken()
        some.answered(seconds, patient=patient)
        assert THREADS <= some.limit <= MOST
        assert some.in_hand == 0
