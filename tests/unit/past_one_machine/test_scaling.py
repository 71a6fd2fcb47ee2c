from __future__ import annotations

import pytest

from past_one_machine.scaling import line


def test_a_fixed_cost_and_one_for_each_event_are_found() -> None:
    found = line([1_000, 4_000, 16_000], [3.0, 6.0, 18.0])
    assert (found.fixed, found.each) == (pytest.approx(2.0), pytest.approx(0.001))
    assert found.off == pytest.approx(0.0, abs=1e-9)


def test_a_cost_that_grows_faster_than_its_data_has_no_negative_part_and_is_off() -> None:
    found = line([1, 2, 4], [1.0, 4.0, 16.0])
    assert found.fixed >= 0
    assert found.each >= 0
    assert found.off > 0.2
