"""What a column of an unknown file may mean, from its name and a sample of its cells."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd

from offline.ingestion.attributes import MOST_CATEGORIES
from offline.ingestion.cells import Cells
from offline.ingestion.declaration import Kind, TimeUnit
from offline.ingestion.tables import Rows
from offline.ingestion.times import LATEST, PER_SECOND

SAMPLE: Final = 20_000  # rows looked at of each file
MOST: Final = 0.99  # share of the cells that must be of a kind
EARLIEST: Final = 100_000_000  # seconds: 1973; smaller numbers are counts, years or ids
SEPARATORS: Final = ("|", ";", ",")
FEW_SPLIT: Final = 0.1  # share of cells that hold several values, whose parts come in many combinations
HALF_SPLIT: Final = 0.5  # the same, where they do not
FEW_NUMBERS: Final = 20  # so many different numbers may be codes
USER_NAMES: Final = r"user|customer|member|client|visitor|account|person|buyer|reader|uid|who"
ITEM_NAMES: Final = r"item|product|sku|movie|film|article|song|track|book|video|page|offer|good|what"
TIME_NAMES: Final = r"time|date|timestamp|ts|at|when|day|seen|created"
VALUE_NAMES: Final = r"rating|stars?|score|value|grade|vote|points?"
TITLE_NAMES: Final = r"title|name|label|headline"


@dataclass(frozen=True)
class Column:
    """A sample of one column.

    Attributes:
        cells: strings, "" for nothing.
        lists: whether the file itself holds lists.
        unit: of time, where the cells are times.
    """

    name: str
    cells: pd.Series
    lists: bool
    unit: TimeUnit | None

    @property
    def given(self) -> pd.Series:
        return self.cells[self.cells != ""]

    @property
    def distinct(self) -> int:
        return int(self.cells.nunique())

    @property
    def is_key(self) -> bool:
        """No value twice, none missing."""
        return self.distinct == len(self.cells) > 0 and not (self.cells == "").any()

    @property
    def numbers(self) -> pd.Series:
        """The numbers among the cells."""
        return pd.to_numeric(self.given, errors="coerce").dropna()

    @property
    def is_numeric(self) -> bool:
        return len(self.given) > 0 and len(self.numbers) >= MOST * len(self.given)

    def called(self, names: str) -> bool:
        """Whether one of the name's words is, or ends with, one of ``names``."""
        words = re.sub(r"([a-z])([A-Z])", r"\1_\2", self.name).lower()
        return re.search(rf"(^|[^a-z])({names})s?(_?id)?([^a-z]|$)", words) is not None

    def separator(self) -> str | None:
        """What stands between several values in a cell; None where there seem to be single ones."""
        if self.lists or self.given.empty:
            return None
        ranked = ((rank, mark) for mark in SEPARATORS if (rank := self._separated_by(mark)))
        return max(ranked, default=(None, None))[1]

    def _separated_by(self, mark: str) -> tuple[float, int] | None:
        """The share of cells that a mark splits, and how few values it leaves (negative): larger is likelier.

        None where it seems to be part of the values: it is in few cells, or what it parts comes in no other company.
        """
        parts = self.given.str.split(mark, regex=False)
        split = parts.map(len) > 1
        several, values = float(split.mean()), parts.explode().str.strip()
        met_again = values[split[split].index].nunique() < self.given[split].nunique()
        if several < (FEW_SPLIT if met_again else HALF_SPLIT) or values.nunique() > 0.5 * len(values):
            return None
        return several, -values.nunique()

    def kind(self) -> Kind | None:
        """As an attribute; None for what tells nearly every row apart."""
        if self.lists or self.separator():
            return "multi-valued"
        if self.is_numeric and self.distinct > FEW_NUMBERS:
            return "numeric"
        if self.distinct <= MOST_CATEGORIES and self.distinct <= max(0.5 * len(self.given), FEW_NUMBERS):
            return "categorical"
        return None


def sampled(rows: Rows, names: Sequence[str]) -> dict[str, Column]:
    """The first `SAMPLE` rows of a table, by column."""
    batches, n = [], 0
    for batch in rows.batches(names):
        batches.append(batch.slice(0, SAMPLE - n))
        n += batches[-1].num_rows
        if n >= SAMPLE:
            break
    columns = {}
    for at, name in enumerate(names):
        parts = [batch.column(at) for batch in batches]
        lists = any(str(part.type).startswith(("list", "large_list")) for part in parts)
        texts = [
            "|".join(map(str, value or ())) if lists else ("" if value is None else value)
            for part in parts
            for value in (part if lists else Cells(rows, name, 0, part).texts()).to_pylist()
        ]
        cells = pd.Series(texts, dtype=object)
        columns[name] = Column(name, cells, lists, time_unit(cells))
    return columns


def time_unit(cells: pd.Series) -> TimeUnit | None:
    """The unit that makes times of (nearly) all cells; None where none does."""
    given = cells[cells != ""]
    if given.empty:
        return None
    numbers = pd.to_numeric(given, errors="coerce").dropna()
    if len(numbers) >= MOST * len(given):
        for unit, per_second in PER_SECOND.items():
            low, high = EARLIEST * per_second, LATEST * per_second / 10
            if ((numbers >= low) & (numbers <= high)).mean() >= MOST:
                return unit
        return None
    parsed = pd.to_datetime(given, errors="coerce", format="ISO8601", utc=True)
    return "iso" if parsed.notna().mean() >= MOST else None


def first_called(columns: Iterable[Column], names: str) -> Column | None:
    return next((column for column in columns if column.called(names)), None)


def liked_above(values: pd.Series) -> tuple[float, str]:
    """A threshold and why."""
    distinct = np.unique(values)
    low, high = float(distinct[0]), float(distinct[-1])
    if len(distinct) <= 11 and high > low:
        at = distinct[int(np.searchsorted(distinct, low + 0.6 * (high - low)))]
        below = distinct[distinct < at]
        threshold = float(below[-1]) if len(below) else low
        return threshold, f"the upper two fifths of {low:g} to {high:g}"
    middle = float(np.median(values))
    return middle, f"the median of what lies between {low:g} and {high:g}"


def key_of(columns: Mapping[str, Column], values: pd.Series) -> Column | None:
    """The column that lists (nearly) all of ``values``, each once."""
    wanted = set(values)
    for column in columns.values():
        if column.is_key and len(wanted & set(column.cells)) >= 0.9 * min(len(wanted), len(column.cells)):
            return column
    return None
