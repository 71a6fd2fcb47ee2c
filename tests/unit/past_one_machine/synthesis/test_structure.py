from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from past_one_machine.synthesis.__main__ import show
from past_one_machine.synthesis.expansion import Factors, Source, expand
from past_one_machine.synthesis.structure import Counts, differences, of_source
from tests.unit.offline.synthetic import made_up_movielens


def test_what_is_counted() -> None:
    counts = Counts()
    counts.add_events(np.array([1, 0, 1, 1]), np.array([2, 2, 0, 2]), np.array([50, 7, 4_000, 3_650]))
    counts.add_events(np.array([5]), np.array([3]), np.array([9]))
    counts.add_terms([["a"], ["a"], ["a", "b"], [], ["b"]])
    found = counts.summary()
    assert (found["events"], found["users"], found["items"]) == (5, 3, 3)
    assert found["events of a user"] == {"p10": 1, "p50": 1, "p90": 3, "p99": 3, "most": 3}
    assert found["events of a session"] == {"p10": 1, "p50": 1, "p90": 2, "p99": 2, "most": 2}  # of user 1: 2 and 1
    assert found["sessions of a user"] == pytest.approx(4 / 3)
    assert found["terms"] == {"a": 4 / 5, "b": 3 / 5}
    assert found["popularity"] == {"top 1%": 3 / 5, "top 10%": 3 / 5, "gini": pytest.approx(4 / 15)}


def test_an_expansion_keeps_lengths_sessions_and_genres(tmp_path: Path) -> None:
    path = made_up_movielens(tmp_path / "films")
    source = Source.of(path)
    before = of_source(source)
    expand(source, Factors.of(9), tmp_path / "x9", "films-x9")
    after = of_source(Source.of(tmp_path / "x9"))
    for same in ("events of a user", "events of a session", "sessions of a user"):
        assert after[same] == before[same]
    assert differences(before, after) == pytest.approx(dict.fromkeys(before["terms"], 0), abs=1e-12)
    assert after["events"] == 9 * before["events"]
    assert 2 < after["items"] / before["items"] <= 3
    assert before["popularity"]["gini"] < after["popularity"]["gini"] < 0.9  # a longer tail, of the same kind


def test_it_is_shown(tmp_path: Path) -> None:
    found = of_source(Source.of(made_up_movielens(tmp_path / "films")))
    console = Console(width=200, file=io.StringIO())
    with console.capture() as shown:
        show({"source": found, "x 2": found}, console)
    assert f"{found['events']:,}" in shown.get()
    assert "0.0000" in shown.get()
