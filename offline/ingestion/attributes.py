"""The attributes of users and items, in the forms that models read: categories, terms, numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_exchange_center.dataset import ItemNumber
from offline.ingestion.declaration import AttributeSpec

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


def categories(texts: Sequence[str | None], most: int = MOST_CATEGORIES, numbers: bool = True) -> pd.Series:
    """Whole numbers (int32) where ``numbers`` may be and all values are; else strings, `UNKNOWN` for nothing, `OTHER`
    for the rarest."""
    column = pd.Series(list(texts), dtype=object).where(lambda values: values != "")
    known = column.dropna()
    whole = numbers and len(known) == len(column) and known.str.fullmatch(r"-?(0|[1-9]\d{0,8})").all()
    kept = set(frequent(known, most))
    if whole and len(kept) == known.nunique():
        return column.astype("int32")
    return column.where(column.isin(kept) | column.isna(), OTHER).fillna(UNKNOWN)


def intervals(numbers: NDArray[np.float64], most: int = INTERVALS) -> pd.Series:
    """Numbers as the names of up to ``most`` intervals that hold equally many: ``18 to 25``; `UNKNOWN` for NaN."""
    known = numbers[~np.isnan(numbers)]
    distinct = np.unique(known)
    if len(distinct) <= most:
        names = pd.Series([written(value) for value in numbers])
        return names.where(~np.isnan(numbers), UNKNOWN)
    edges = np.unique(np.quantile(known, np.linspace(0, 1, most + 1)[1:-1], method="higher"))
    edges = edges[edges > distinct[0]]
    if not len(edges):  # nearly all have the smallest value
        edges = distinct[1:2]
    named = [written(edge) for edge in edges]
    labels = [f"below {named[0]}", *map(" to ".join, pairwise(named)), f"{named[-1]} or more"]
    at = np.searchsorted(edges, np.nan_to_num(numbers), side="right")
    return pd.Series(np.array(labels, dtype=object)[at]).where(~np.isnan(numbers), UNKNOWN)


def written(number: float) -> str:
    """With as many digits as people give, not the last of a float: ``1000001``, ``0.3``."""
    return f"{number:.12g}"


def fields(lists: Sequence[Sequence[str]], most: int = MOST_FIELDS) -> dict[str, pd.Series]:
    """A yes/no field for each of the most frequent values of a multi-valued attribute."""
    kept = frequent((value for values in lists for value in set(values)), most)
    return {value: pd.Series([YES if value in values else NO for values in lists]) for value in kept}


def item_number(name: str, column: str, spec: AttributeSpec, values: NDArray[np.float64]) -> ItemNumber:
    """How models read a numeric attribute: as declared, else fitted to its values, of which a few may lie far out."""
    known = values[~np.isnan(values)]
    unit = _unit(known)
    sizes = np.abs(known) / unit if len(known) else np.zeros(1)
    usual = float(np.quantile(sizes, 0.99, method="higher"))
    quantiles = np.quantile(known, np.linspace(0, 1, CENTRES)) if len(known) else np.zeros(CENTRES)
    centres = spec.centres or tuple(np.unique(quantiles).tolist())
    inner, whole = quantiles[-2] - quantiles[1], centres[-1] - centres[0]
    spacing = float(inner / (CENTRES - 3) if inner > 0 else whole / max(len(centres) - 1, 1))
    return ItemNumber(
        name=name,
        column=column,
        shown=spec.shown,
        unit=unit,
        scale=spec.scale or max(usual, float(sizes.max()) / LARGEST_INPUT, 1.0),
        centres=centres,
        width=spec.width or (0.75 * spacing if spacing > 0 else 1.0),
    )


def _unit(known: NDArray[np.float64]) -> float:
    """The largest power of ten, from one down, of which all values are whole multiples; at least a millionth."""
    largest = float(np.abs(known).max(initial=0.0))
    for digits in range(7):
        scaled = known * 10.0**digits
        if np.allclose(scaled, np.rint(scaled), rtol=0, atol=1e-6):
            break
    while digits and largest * 10.0**digits > LARGEST_STORED:
        digits -= 1
    return 10.0**-digits
