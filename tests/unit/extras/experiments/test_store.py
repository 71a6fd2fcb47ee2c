from __future__ import annotations

import pytest

from extras.experiments.store import is_cut

STARTED = 1_000


@pytest.mark.parametrize(
    ("length", "first", "cut"),
    [
        (300, b"1000001-0", True),
        (299, b"1000001-0", False),  # others' exposures were removed
        (300, b"1000000-5", False),  # what was dropped is of before
        (0, None, False),
    ],
)
def test_a_log_is_cut_where_it_is_full_and_begins_after_the_experiment(
    length: int, first: bytes | None, cut: bool
) -> None:
    entry = None if first is None else (first, {b"user": b"7"})
    assert is_cut({"length": length, "first-entry": entry, "entries-added": 5_000}, STARTED, 300) == cut
