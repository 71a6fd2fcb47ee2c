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
from data_exchange_center.event_types import EventType
from extras.own_data.declaration import MOST_LEVELS, AttributeSpec, InteractionsTable

Floats = NDArray[np.float64]

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


def categories(texts: Sequence[str | None], spec: AttributeSpec) -> pd.Series:
    """Encode texts, None where a cell is empty: int32 if all are whole numbers; else strings, `UNKNOWN` for empty cells
    and `OTHER` for the rarest values."""
    column = pd.Series(list(texts), dtype=object)
    kept = frequent(column.dropna(), spec.values or MOST_CATEGORIES)
    whole = column.str.fullmatch(r"-?(0|[1-9]\d{0,8})")
    if column.isin(kept).all() and whole.all():
        return column.astype("int32")
    return column.where(column.isin(kept) | column.isna(), OTHER).fillna(UNKNOWN)


def intervals(numbers: Floats, spec: AttributeSpec) -> pd.Series:
    """Bin numbers into named quantile intervals: ``18 to 25``; `UNKNOWN` for NaN."""
    most = spec.values or INTERVALS
    known = numbers[~np.isnan(numbers)]
    distinct = np.unique(known)
    if len(distinct) <= most:
        names = pd.Series(numbers, dtype=object)
        return names.map(written, na_action="ignore").fillna(UNKNOWN)
    shares = np.linspace(0, 1, most + 1)[1:-1]
    edges = np.unique(np.quantile(known, shares, method="higher"))
    edges = edges[edges > distinct[0]]
    if not len(edges):  # nearly all have the smallest value
        edges = distinct[1:2]
    named = [written(edge) for edge in edges]
    between = [f"{low} to {high}" for low, high in pairwise(named)]
    labels = [f"below {named[0]}", *between, f"{named[-1]} or more"]
    labels.append(UNKNOWN)
    places = np.searchsorted(edges, numbers, side="right")  # behind all for NaN
    places[np.isnan(numbers)] = len(edges) + 1
    return pd.Series([labels[place] for place in places])


def written(number: float) -> str:
    """Format a number without the last digits of a float: ``1000001``, ``0.3``."""
    return f"{number:.12g}"


def fields(lists: Sequence[Sequence[str]], spec: AttributeSpec) -> dict[str, pd.Series]:
    """A yes/no field for each of the most frequent values of a multi-valued attribute."""
    every = (value for values in lists for value in set(values))
    return {
        value: pd.Series([YES if value in values else NO for values in lists])
        for value in frequent(every, spec.values or MOST_FIELDS)
    }


def item_number(
    name: str, column: str, spec: AttributeSpec, values: Floats
) -> ItemNumber:
    """Scale of a numeric attribute: as declared, else fitted to its values, of which a few may lie far out."""
    known = values[~np.isnan(values)]
    if not len(known):
        known = np.zeros(1)

    # the largest power of ten, from one down, of which all values are whole multiples; at least a millionth
    digits = max(len(f"{each:.6f}".rstrip("0").partition(".")[2]) for each in known)
    sizes = np.abs(known)
    if sizes.max() * 10**digits > LARGEST_STORED:
        digits = 0
    unit = 10.0**-digits
    sizes = sizes / unit
    usual = float(np.quantile(sizes, 0.99, method="higher"))

    quantiles = np.quantile(known, np.linspace(0, 1, CENTRES))
    centres = spec.centres or tuple(np.unique(quantiles).tolist())
    inner = quantiles[-2] - quantiles[1]
    spacing = float(inner / (CENTRES - 3))
    if inner <= 0:
        spacing = (centres[-1] - centres[0]) / max(len(centres) - 1, 1)
    return ItemNumber(
        name=name,
        column=column,
        unit=unit,
        scale=spec.scale or max(usual, float(sizes.max()) / LARGEST_INPUT, 1.0),
        centres=centres,
        width=spec.width or 0.75 * spacing or 1.0,
    )


@dataclass(frozen=True)
class Levels:
    """Events' values, encoded as a few levels.

    Attributes:
        values: the value of code c is ``values[c - 1]``.
        code: the SQL expression that converts ``number`` to its code.
        positive: codes above it are liked.
        binned: whether a code stands for an interval of values.
    """

    values: Sequence[float]
    code: str
    positive: int
    binned: bool = False


def levels(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    declared: InteractionsTable,
    types: Sequence[EventType] = (),
) -> Levels:
    """One level per distinct ``number`` or type; without these every event is liked.

    More than `MOST_LEVELS` values are binned into as many intervals, cut at quantiles of the liked and of the other
    values; a level's value is its interval's median.
    """
    above = declared.positive_above
    if types:
        codes = [float(code) for code in range(1, len(types) + 1)]
        return Levels(codes, "number", sum(not each.target for each in types))
    if above is None:
        return Levels((1.0,), "1", 0)

    def column(query: str) -> list[Any]:
        rows = connection.execute(f"SELECT {query} ORDER BY 1").fetchall()
        return [value for (value,) in rows]

    values = column(f"DISTINCT number FROM {table}")
    tops = values  # the largest value of each level
    binned = len(values) > MOST_LEVELS
    if binned:
        n = MOST_LEVELS // 2
        shares = [step / n for step in range(1, n + 1)]
        quantiles = f"unnest(quantile_disc(number, {shares}))"
        grouped = f"{quantiles} AS top FROM {table} GROUP BY number > {above!r}"
        tops = sorted(set(column(grouped)))
    code = f"len(list_filter({tops}::DOUBLE[], lambda top: top < number)) + 1"
    if binned:
        values = column(f"median(number) FROM {table} GROUP BY {code}")
    positive = sum(value <= above for value in values)
    return Levels(values, code, positive, binned)
