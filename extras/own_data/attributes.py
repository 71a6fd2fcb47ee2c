"""Attributes and values in the forms that models read: categories, terms, intervals, numbers, levels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

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


@dataclass(frozen=True, eq=False)
class Levels:
    """Events' values, encoded as a few levels.

    Attributes:
        values: the value of code c is ``values[c - 1]``.
        positive: codes above it are liked.
        binned: whether a code stands for an interval of values.
        codes: (values,) code of each distinct value, ascending; from 1.
    """

    values: tuple[float, ...]
    positive: int
    binned: bool
    codes: NDArray[np.int64]


ONE_LEVEL: Final = Levels(
    (1.0,), 0, False, np.ones(1, np.int64)
)  # implicit feedback: every event is liked


def levels(
    distinct: NDArray[np.float64],
    counts: NDArray[np.int64],
    positive_above: float,
    declared: Sequence[float] = (),
) -> Levels:
    """One level per distinct value, or per declared value.

    More than `MOST_LEVELS` values are binned into as many intervals, cut at quantiles of the liked and of the other
    values; a level's value is its interval's median.

    Args:
        distinct: (values,) ascending.
        counts: (values,) how many events have each.
    """
    values = np.unique(declared) if len(declared) else distinct
    if len(values) <= MOST_LEVELS:
        positive = int((values <= positive_above).sum())
        return Levels(
            tuple(values.tolist()),
            positive,
            False,
            np.searchsorted(values, distinct) + 1,
        )
    low = distinct <= positive_above
    between = [positive_above] if low.any() and not low.all() else []
    edges = np.unique(
        np.concatenate(
            [
                _cuts(distinct[low], counts[low]),
                between,
                _cuts(distinct[~low], counts[~low]),
            ]
        )
    )
    # the intervals that hold values, counted from 0; each edge belongs to the interval below it
    found, cells = np.unique(
        np.searchsorted(edges, distinct, side="left"), return_inverse=True
    )
    medians = [
        _median(distinct[cells == cell], counts[cells == cell])
        for cell in range(len(found))
    ]
    return Levels(
        tuple(medians),
        sum(value <= positive_above for value in medians),
        True,
        cells + 1,
    )


def _cuts(
    distinct: NDArray[np.float64], counts: NDArray[np.int64]
) -> NDArray[np.float64]:
    """The inner edges of half of `MOST_LEVELS` intervals that hold equally many of the values; each edge belongs to
    the interval below it."""
    n = MOST_LEVELS // 2
    if len(distinct) <= n:
        return distinct[:-1]
    lower = np.floor(np.linspace(0, 1, n + 1)[1:-1] * (counts.sum() - 1))
    edges = distinct[np.searchsorted(np.cumsum(counts), lower, side="right")]
    inner: NDArray[np.float64] = edges[edges < distinct[-1]]
    return inner


def _median(distinct: NDArray[np.float64], counts: NDArray[np.int64]) -> float:
    n = int(counts.sum())
    low, high = np.searchsorted(np.cumsum(counts), [(n - 1) // 2, n // 2], side="right")
    return float((distinct[low] + distinct[high]) / 2)
