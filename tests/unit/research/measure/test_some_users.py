from __future__ import annotations

import argparse
import sys

import numpy as np
import pytest

from data_exchange_center.steps import StepError
from research.measure.some_users import parse_users, sample


def test_a_sample_is_the_same_users_every_time_and_never_more_than_there_are() -> None:
    rows = sample(100, 5)
    assert len(set(rows.tolist())) == 5
    assert np.array_equal(rows, sample(100, 5))
    assert np.array_equal(sample(3, 5), np.arange(3))
    assert np.array_equal(sample(3, None), np.arange(3))


@pytest.mark.parametrize(
    ("given", "usual", "size"),
    [([], None, None), ([], 7, 7), (["--users", "3"], None, 3), (["--users", "all"], 7, None)],
)
def test_how_many_are_asked_for(
    given: list[str], usual: int | None, size: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["measure", *given])
    assert parse_users(argparse.ArgumentParser(), usual) == size


@pytest.mark.parametrize("given", ["0", "-3", "many", "²"])
def test_what_is_no_number_is_told(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["measure", f"--users={given}"])
    with pytest.raises(StepError, match=f"users={given} is no number of users"):
        parse_users(argparse.ArgumentParser())
