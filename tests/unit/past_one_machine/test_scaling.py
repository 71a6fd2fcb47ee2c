from __future__ import annotations

import pytest

from past_one_machine.scaling import line


def test_a_fixed_cost_and_one_for_each_event_are_found() -> None:
    found = line([1_000, 4_000, 16_000], [3.0, 6.0, 18.0])
    assert (found.fixed, found.each) == (pytest.approx(2.0), pytest.approx(0.001))
    assert found.off == pytest.approx(0.0, abs=1e-9)
    assert found.at(1e6) == pytest.approx(1002.0)


def test_neither_part_is_negative() -> None:
    found = line([1, 2, 4], [1.0, 4.0, 16.0])
    assert found.fixed >= 0
    assert found.each >= 0


def test_a_cost_that_grows_faster_than_its_data_is_told() -> None:
    found = line([1, 2, 4], [1.0, 4.0, 16.0])
    assert found.exponent == pytest.approx(2.0)
    assert found.off > 0.2


def test_one_size_has_no_exponent() -> None:
    found = line([10], [5.0])
    assert found.at(10) == pytest.approx(5.0)
    assert found.exponent is None


@pytest.mark.parametrize(("events", "costs"), [([], []), ([1], [0.0]), ([0], [1.0])])
def test_nothing_has_no_line(events: list[int], costs: list[float]) -> None:
    with pytest.raises(ValueError, match="above zero"):
        line(events, costs)
