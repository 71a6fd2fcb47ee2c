"""Attributes and values in the forms that models read: categories, terms, intervals, numbers, levels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import duckdb
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_exchange_center.dataset import ItemNumber
from extras.own_data.declaration import MOST_LEVELS, AttributeSpec

UNKNOWN: Final = "unknown"
OTHER: Final = "other"
YES, NO = "yes", "no"
MOST_CATEGORIES: Final = 500  # of a user's attribute; the rarest are `OTHER`
MOST_FIELDS: Final = 20  # yes/no fields of a user's multi-valued attribute
MOST_TERMS: Final = 500  # of an item's attribute; the rarest are left out
INTERVALS: Final = 8  # of a user's number
CENTRES: Final = 11  # of an item's number
LARGEST_STORED: Final = 10**15
LARGEST_INPUT: Final = 100  # of a model, from an item's number


def frequent(values: Iterable[str], most: int) -> list[str]:
    """The most frequent ``most`` values, in alphabetical order; of equally frequent ones the first of the alphabet."""
    counts = Counter(values)
    return sorted(sorted(counts, key=lambda value: (-counts[value], value))[:most])


def categories(
    texts: Sequence[str | None], most: int = MOST_CATEGORIES, numbers: bool = True
) -> pd.Series:
    """Encode texts: int32 if
    ``numbers`` allows it and all are whole numbers; else strings, `UNKNOWN` for empty cells and `OTHER` for the rarest
    values."""
    column = pd.Series(list(texts), dtype=object).where(lambda values: values != "")
    known = column.dropna()
    whole = (
        numbers
        and len(known) == len(column)
        and known.str.fullmatch(r"-?(0|[1-9]\d{0,8})").all()
    )
    kept = set(frequent(known, most))
    if whole and len(kept) == known.nunique():
        return column.astype("int32")
    return column.where(column.isin(kept) | column.isna(), OTHER).fillna(UNKNOWN)


def intervals(numbers: NDArray[np.float64], most: int = INTERVALS) -> pd.Series:
    """Bin numbers into up to ``most`` named quantile intervals: ``18 to 25``; `UNKNOWN` for NaN."""
    known = numbers[~np.isnan(numbers)]
    distinct = np.unique(known)
    if len(distinct) <= most:
        names = pd.Series([written(value) for value in numbers])
        return names.where(~np.isnan(numbers), UNKNOWN)
    edges = np.unique(
        np.quantile(known, np.linspace(0, 1, most + 1)[1:-1], method="higher")
    )
    edges = edges[edges > distinct[0]]
    if not len(edges):  # nearly all have the smallest value
        edges = distinct[1:2]
    named = [written(edge) for edge in edges]
    labels = [
        f"below {named[0]}",
        *map(" to ".join, pairwise(named)),
        f"{named[-1]} or more",
    ]
    at = np.searchsorted(edges, np.nan_to_num(numbers), side="right")
    return pd.Series(np.array(labels, dtype=object)[at]).where(
        ~np.isnan(numbers), UNKNOWN
    )


def written(number: float) -> str:
    """Format a number without the last digits of a float: ``1000001``, ``0.3``."""
    return f"{number:.12g}"


def fields(
    lists: Sequence[Sequence[str]], most: int = MOST_FIELDS
) -> dict[str, pd.Series]:
    """A yes/no field for each of the most frequent values of a multi-valued attribute."""
    kept = frequent((value for values in lists for value in set(values)), most)
    return {
        value: pd.Series([YES if value in values else NO for values in lists])
        for value in kept
    }


def item_number(
    name: str, column: str, spec: AttributeSpec, values: NDArray[np.float64]
) -> ItemNumber:
    """Scale of a numeric attribute: as declared, else fitted to its values, of which a few may lie far out."""
    known = values[~np.isnan(values)]

    # the largest power of ten, from one down, of which all values are whole multiples; at least a millionth
    digits = 0
    while digits < 6 and not np.allclose(
        known * 10.0**digits, np.rint(known * 10.0**digits), rtol=0, atol=1e-6
    ):
        digits += 1
    while (
        digits and float(np.abs(known).max(initial=0.0)) * 10.0**digits > LARGEST_STORED
    ):
        digits -= 1
    unit = 10.0**-digits

    sizes = np.abs(known) / unit if len(known) else np.zeros(1)
    usual = float(np.quantile(sizes, 0.99, method="higher"))
    quantiles = (
        np.quantile(known, np.linspace(0, 1, CENTRES))
        if len(known)
        else np.zeros(CENTRES)
    )
    centres = spec.centres or tuple(np.unique(quantiles).tolist())
    inner, whole = quantiles[-2] - quantiles[1], centres[-1] - centres[0]
    spacing = float(
        inner / (CENTRES - 3) if inner > 0 else whole / max(len(centres) - 1, 1)
    )
    return ItemNumber(
        name=name,
        column=column,
        shown=spec.shown,
        unit=unit,
        scale=spec.scale or max(usual, float(sizes.max()) / LARGEST_INPUT, 1.0),
        centres=centres,
        width=spec.width or (0.75 * spacing if spacing > 0 else 1.0),
    )


@dataclass(frozen=True)
class Levels:
    """Events' values, encoded as a few levels.

    Attributes:
        values: the value of code c is ``values[c - 1]``.
        tops: the largest value that has code c is ``tops[c - 1]``.
        positive: codes above it are liked.
        binned: whether a code stands for an interval of values.
    """

    values: tuple[float, ...]
    tops: tuple[float, ...]
    positive: int
    binned: bool

    @property
    def code(self) -> str:
        """The SQL expression that converts ``number`` to its code."""
        return code_of(self.tops)


# implicit feedback: every event is liked, and has the number 0
ONE_LEVEL: Final = Levels((1.0,), (0.0,), 0, False)


def code_of(tops: Sequence[float]) -> str:
    """The SQL expression that converts ``number`` to the place, from 1, of the first top that is not below it."""
    return f"len(list_filter({list(tops)}::DOUBLE[], lambda top: top < number)) + 1"


def levels(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    positive_above: float,
    declared: Sequence[float] = (),
) -> Levels:
    """One level per distinct ``number`` in the table, or per declared value.

    More than `MOST_LEVELS` values are binned into as many intervals, cut at quantiles of the liked and of the other
    values; a level's value is its interval's median.
    """
    values: Any = sorted(declared)
    if not values:
        found = connection.execute(
            f"SELECT DISTINCT number FROM {table} ORDER BY number"
        ).fetchnumpy()
        values = found["number"].tolist()
    tops = values
    binned = len(values) > MOST_LEVELS
    if binned:
        n = MOST_LEVELS // 2
        shares = [step / n for step in range(1, n + 1)]
        quantiles = f"quantile_disc(number, {shares})"
        query = f"SELECT unnest({quantiles}) AS top FROM {table} GROUP BY number > {positive_above!r} ORDER BY top"
        tops = np.unique(connection.execute(query).fetchnumpy()["top"]).tolist()
        query = f"SELECT median(number) AS middle FROM {table} GROUP BY {code_of(tops)} ORDER BY middle"
        values = connection.execute(query).fetchnumpy()["middle"].tolist()
    positive = sum(value <= positive_above for value in values)
    return Levels(tuple(values), tuple(tops), positive, binned)
