"""Kinds of columns of the ranking model: what stores hold of one, and how that becomes the model's input.

Stores hold raw values ("F", 25, 3 impressions, the moment of a first event); encoding happens here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, StrictInt, StrictStr

from data_exchange_center.errors import RecsysError
from data_exchange_center.frozen import Frozen
from data_exchange_center.vocabulary import UNKNOWN as UNKNOWN
from data_exchange_center.vocabulary import Vocabulary

Entity = Literal["user", "item"]
Dtype = Literal["int64", "string"]
Frame = Mapping[str, Any]  # column name -> sequence of values; a DataFrame or a plain dict
Float32 = NDArray[np.float32]

NEVER: Final = -1  # stored in place of a moment that has not come: a user's first event, of a user without events
DAY_S: Final = 86_400


class MissingFeatureError(RecsysError, ValueError):
    """A store gave no value (null) for a feature. Never replaced by 0 in silence.

    Attributes:
        feature: name of the column.
        rows: positions of the rows without a value.
    """

    def __init__(self, feature: str, rows: Sequence[int]) -> None:
        self.feature = feature
        self.rows = tuple(rows)
        super().__init__(f"no value for feature {feature!r} in {len(self.rows)} row(s), first at {self.rows[:5]}")


class OneHotFeature(Frozen):
    """A categorical column, encoded to its position in the sorted ``vocabulary`` plus one; `UNKNOWN` otherwise."""

    name: str
    entity: Entity
    vocabulary: tuple[StrictInt, ...] | tuple[StrictStr, ...]  # strict: "10" read back from JSON stays a string

    @property
    def cardinality(self) -> int:
        """Rows of the embedding table: the known values and the unknown."""
        return len(self.vocabulary) + 1

    @property
    def dtype(self) -> Dtype:
        return "string" if self.vocabulary and isinstance(self.vocabulary[0], str) else "int64"

    @cached_property
    def _sorted(self) -> NDArray[Any]:
        return np.asarray(self.vocabulary)

    def encode(self, values: Sequence[Any] | NDArray[Any]) -> Float32:
        """(n,) raw values -> (n,) codes. Raises MissingFeatureError for nulls."""
        known = self._sorted
        array = _without_nulls(self.name, values)
        if known.dtype.kind == "U":
            array = array.astype(str)
        return Vocabulary(known).codes(array).astype(np.float32)


class FlagFeature(Frozen):
    """One 0/1 column of a multi-hot feature."""

    name: str
    entity: Entity

    @property
    def dtype(self) -> Dtype:
        return "int64"

    def encode(self, values: Sequence[Any] | NDArray[Any]) -> Float32:
        """(n,) 0/1 -> (n,) float32. Raises MissingFeatureError for nulls."""
        return _without_nulls(self.name, values).astype(np.float32)


Transform = Literal["linear", "log1p"]


class DenseFeature(Frozen):
    """A count, divided by ``scale`` so that the model sees 0..1; or the logarithm of 1 + count, divided by it."""

    kind: Literal["number"] = "number"
    name: str
    entity: Entity
    scale: float
    transform: Transform = "linear"

    @property
    def dtype(self) -> Dtype:
        return "int64"

    def encode(self, values: Sequence[Any] | NDArray[Any]) -> Float32:
        """(n,) counts -> (n,) value / scale. Raises MissingFeatureError for nulls."""
        return _scaled(_without_nulls(self.name, values).astype(np.float64), self.transform, self.scale)


class ElapsedFeature(Frozen):
    """Days from a moment to the request; stores hold the moment, in seconds since 1970, or `NEVER`.

    The model sees the days, or the logarithm of 1 + days, divided by ``scale``; 0 for `NEVER` and for a moment after
    the request.
    """

    kind: Literal["elapsed"] = "elapsed"
    name: str
    entity: Entity
    scale: float
    transform: Transform = "linear"

    @property
    def dtype(self) -> Dtype:
        return "int64"

    def moments(self, values: Sequence[Any] | NDArray[Any]) -> NDArray[np.int64]:
        """(n,) stored values -> (n,). Raises MissingFeatureError for nulls."""
        return _without_nulls(self.name, values).astype(np.int64)

    def encode(self, moments: NDArray[np.int64], timestamps: int | NDArray[np.integer]) -> Float32:
        """Moments, any shape, at requests of times (seconds) that broadcast to it -> model inputs."""
        elapsed = np.where(moments == NEVER, 0, np.maximum(np.asarray(timestamps, np.int64) - moments, 0))
        return _scaled(elapsed / DAY_S, self.transform, self.scale)


class HistoryFeature(Frozen):
    """A user's newest events as three blocks of ``length`` columns: item codes, ratings, ages in seconds.

    Newest first, padded with 0 on the right. Codes are those of the one-hot item feature, so the model looks up
    item-item factors by them; floats hold codes below 2^24 exactly.
    """

    length: int

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(f"history_{part}_{lag}" for part in ("item", "rating", "age") for lag in range(self.length))

    def encode(self, codes: NDArray[Any], ratings: NDArray[Any], ages: NDArray[Any]) -> Float32:
        """(n, any length) each, newest first -> (n, 3 * length)."""
        block = np.zeros((3, len(codes), self.length), dtype=np.float32)
        for part, values in enumerate((codes, ratings, ages)):
            block[part, :, : values.shape[1]] = np.where(codes > 0, values, 0)[:, : self.length]
        return block.transpose(1, 0, 2).reshape(len(codes), -1)


NumberFeature = Annotated[DenseFeature | ElapsedFeature, Field(discriminator="kind")]
Feature = OneHotFeature | FlagFeature | DenseFeature | ElapsedFeature


def _scaled(values: NDArray[np.float64], transform: Transform, scale: float) -> Float32:
    return ((np.log1p(values) if transform == "log1p" else values) / scale).astype(np.float32)


def _without_nulls(name: str, values: Sequence[Any] | NDArray[Any]) -> NDArray[Any]:
    array = np.asarray(values)
    if array.dtype.kind == "O":
        missing = [row for row, value in enumerate(array) if value is None or value != value]
    elif array.dtype.kind == "f":
        missing = np.flatnonzero(np.isnan(array)).tolist()
    else:
        missing = []
    if missing:
        raise MissingFeatureError(name, missing)
    return array


def one_hot(name: str, entity: Entity, values: Sequence[Any]) -> OneHotFeature:
    """A categorical column with the distinct ``values`` as its vocabulary."""
    distinct = {value.item() if isinstance(value, np.generic) else value for value in values}
    return OneHotFeature(name=name, entity=entity, vocabulary=tuple(sorted(distinct)))
