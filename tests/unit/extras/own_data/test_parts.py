"""A table in several files."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from data_exchange_center.steps import StepError
from tests.datasets import tables_of

DECLARED = """\
name = "parts"
[interactions]
file = "log-*.csv"
user = "u"
item = "i"
time = "t"
"""


def in_parts(folder: Path, *parts: str, declared: str = DECLARED) -> Path:
    for number, rows in enumerate(parts):
        (folder / f"log-{number}.csv").write_text(f"u,i,t\n{rows}")
    (folder / "dataset.toml").write_text(declared)
    return folder


def ratings(folder: Path) -> pd.DataFrame:
    return tables_of(folder).ratings


def test_parts_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    """Events of one second stay in that order."""
    found = ratings(in_parts(tmp_path, "1,5,900000000\n2,6,900000000\n", "", "1,4,900000000\n1,3,900000000\n"))
    assert found[["userid", "itemid"]].to_numpy().tolist() == [[1, 5], [1, 4], [1, 3], [2, 6]]


def test_a_bad_row_is_named_by_its_part(tmp_path: Path) -> None:
    good = "1,5,900000000\n2,6,900000000\n"
    folder = in_parts(tmp_path, good, good, f"{good}3,7,long ago\n")
    with pytest.raises(StepError, match=r"log-2\.csv, line 4, column 't': seconds since 1970 .* found 'long ago'"):
        ratings(folder)


def test_a_part_without_a_column_is_named(tmp_path: Path) -> None:
    folder = in_parts(tmp_path, "1,5,900000000\n2,6,900000000\n")
    (folder / "log-1.csv").write_text("u,i\n1,5\n")
    with pytest.raises(StepError, match=r"log-1\.csv has no column 't'"):
        ratings(folder)


def test_a_pattern_that_nothing_matches_is_said(tmp_path: Path) -> None:
    (tmp_path / "dataset.toml").write_text(DECLARED)
    with pytest.raises(StepError, match=r"holds no file like log-\*\.csv, which \[interactions\]"):
        ratings(tmp_path)
