"""Progress is a bar for a person and lines for a file."""

from __future__ import annotations

import io

import pytest

from data_exchange_center import steps as module
from data_exchange_center.steps import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_bar() -> None:
    stream = Terminal()
    assert list(progress(range(3), "films", stream=stream, unit="film", mininterval=0)) == [0, 1, 2]
    assert "\r" in stream.getvalue()
    assert "3/3" in stream.getvalue()


def test_a_file_gets_nothing_of_what_is_over_soon() -> None:
    stream = io.StringIO()
    assert list(progress(range(3), "films", stream=stream, leave=False)) == [0, 1, 2]
    assert stream.getvalue() == ""


def test_a_file_gets_lines_and_no_carriage_returns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LINE_EVERY_S", 1e-9)
    stream = io.StringIO()
    with progress(total=4, desc="ranker", unit="batch", stream=stream) as bar:
        for loss in range(4):
            bar.set_postfix(loss=loss, refresh=False)
            bar.update()
    lines = stream.getvalue().splitlines()
    assert "\r" not in stream.getvalue()
    assert lines[1].startswith("ranker: 2 of 4 batch (50%), 00:00 gone, 00:00 to go, loss=1")
    assert lines[-1].startswith("ranker: 4 of 4")
    assert all(lines)


def test_the_lines_are_ten_seconds_apart() -> None:
    with progress(total=4, stream=io.StringIO()) as bar:
        assert (bar.mininterval, bar.delay) == (10, 10)
        assert not bar.update()
