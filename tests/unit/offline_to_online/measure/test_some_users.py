from __future__ import annotations

import argparse
import sys

import numpy as np
import pytest

from data_exchange_center.steps import StepError
from offline_to_online.measure.some_users import parse_users, sample


def test_a_sample_is_the_same_users_every_time_and_never_more_than_there_are() -> None:
    rows = sample(100, 5)
    assert len(set(rows.tolist())) == 5
    assert np.array_equal(rows, sample(100, 5))
    assert np.array_equal(sample(3, 5), np.arange(3))
    assert np.array_equal(sample(3, None), np.arange(3))


@pytest.mark.parametrize(("given", "size"), [([], None), (["--users", "3"], 3)])
def test_how_many_are_asked_for(given: list[str], size: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["measure", *given])
    assert parse_users(argparse.ArgumentParser()) == size


def test_none_at_all_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["measure", "--users", "0"])
    with pytest.raises(StepError, match="users=0 is no number of users"):
        parse_users(argparse.ArgumentParser())
