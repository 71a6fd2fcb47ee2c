"""The contract of the ranking model's input: which columns, in which order, encoded how.

`FeatureSpec` is written once by ``offline/rank/s1_feature_engi.py`` and travels with the release. It sizes the
model, names Feast's fields, renders Triton's ``config.pbtxt`` and encodes rows: training, parity check and server
all call the same `encode_users`, `encode_items` and `assemble`.

Stores hold raw values ("F", 25, 3 impressions); encoding to model inputs happens here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, StrictInt, StrictStr

from data_exchange_center.columns import Columns, clicks, genre_flag, impressions

Entity = Literal["user", "item"]
Dtype = Literal["int64", "string"]
Frame = Mapping[str, Any]  # column name -> sequence of values; a DataFrame or a plain dict
Float32 = NDArray[np.float32]

UNKNOWN = 0  # code of a value that the vocabulary does not hold; known values are 1..n


class MissingFeatureError(ValueError):
    """A store gave no value (null) for a feature. Never replaced by 0 in silence.

    Attributes:
        feature: name of the column.
        rows: positions of the rows without a value.
    """

    def __init__(self, feature: str, rows: Sequence[int]) -> None:
        self.feature = feature
        self.rows = tuple(rows)
        super().__init__(f"no value for feature {feature!r} in {len(self.rows)} row(s), first at {self.rows[:5]}")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class OneHotFeature(_Frozen):
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
        position = np.minimum(np.searchsorted(known, array), len(known) - 1)
        return np.where(known[position] == array, position + 1, UNKNOWN).astype(np.float32)


class FlagFeature(_Frozen):
    """One 0/1 column of a multi-hot feature."""

    name: str
    entity: Entity

    @property
    def dtype(self) -> Dtype:
        return "int64"

    def encode(self, values: Sequence[Any] | NDArray[Any]) -> Float32:
        """(n,) 0/1 -> (n,) float32. Raises MissingFeatureError for nulls."""
        return _without_nulls(self.name, values).astype(np.float32)


class DenseFeature(_Frozen):
    """A count, divided by ``scale`` so that the model sees 0..1."""

    name: str
    entity: Entity
    scale: float

    @property
    def dtype(self) -> Dtype:
        return "int64"

    def encode(self, values: Sequence[Any] | NDArray[Any]) -> Float32:
        """(n,) counts -> (n,) value / scale. Raises MissingFeatureError for nulls."""
        return (_without_nulls(self.name, values).astype(np.float64) / self.scale).astype(np.float32)


Feature = OneHotFeature | FlagFeature | DenseFeature


class FeatureSpec(_Frozen):
    """Order, cardinalities and scaling of the model's input columns.

    Column order: one-hot, multi-hot, dense. With 18 genres: 5 + 18 + 36 = 59 columns.
    """

    one_hot: tuple[OneHotFeature, ...]
    multi_hot: tuple[FlagFeature, ...]
    dense: tuple[DenseFeature, ...]
    genres: tuple[str, ...]  # genre code c (1..n) is genres[c - 1]

    @cached_property
    def features(self) -> tuple[Feature, ...]:
        return (*self.one_hot, *self.multi_hot, *self.dense)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Names of the model's input columns, in order."""
        return tuple(feature.name for feature in self.features)

    @property
    def width(self) -> int:
        return len(self.features)

    def of(self, entity: Entity) -> tuple[Feature, ...]:
        """Features of one side, in the model's order, the entity's own id first."""
        return tuple(feature for feature in self.features if feature.entity == entity)

    def stored(self, entity: Entity) -> tuple[Feature, ...]:
        """What the feature store holds of one side: all but the entity's own id, which is its key."""
        key = Columns.USER if entity == "user" else Columns.ITEM
        return tuple(feature for feature in self.of(entity) if feature.name != key)

    @cached_property
    def _positions(self) -> dict[Entity, NDArray[np.intp]]:
        def positions(entity: Entity) -> NDArray[np.intp]:
            return np.array([i for i, f in enumerate(self.features) if f.entity == entity], dtype=np.intp)

        return {"user": positions("user"), "item": positions("item")}

    def encode_users(self, users: Frame) -> Float32:
        """Raw user columns, n values each -> (n, user features) model inputs."""
        return np.stack([feature.encode(users[feature.name]) for feature in self.of("user")], axis=1)

    def encode_items(self, items: Frame) -> Float32:
        """Raw item columns, n values each -> (n, item features) model inputs."""
        return np.stack([feature.encode(items[feature.name]) for feature in self.of("item")], axis=1)

    def assemble(self, users: Float32, items: Float32) -> Float32:
        """Encoded users (1 or n, user features) and items (n, item features) -> (n, width) model inputs."""
        rows = np.empty((len(items), self.width), dtype=np.float32)
        rows[:, self._positions["user"]] = users
        rows[:, self._positions["item"]] = items
        return rows


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


def movielens_spec(
    *,
    users: Sequence[int],
    items: Sequence[int],
    genders: Sequence[str],
    ages: Sequence[int],
    occupations: Sequence[str],
    genres: Sequence[str],
    window: int,
) -> FeatureSpec:
    """The spec of the source's columns. Vocabularies are the distinct values of the training rows."""

    def one_hot(name: str, entity: Entity, values: Sequence[Any]) -> OneHotFeature:
        distinct = {value.item() if isinstance(value, np.generic) else value for value in values}
        return OneHotFeature(name=name, entity=entity, vocabulary=tuple(sorted(distinct)))

    return FeatureSpec(
        one_hot=(
            one_hot(Columns.USER, "user", users),
            one_hot(Columns.ITEM, "item", items),
            one_hot(Columns.GENDER, "user", genders),
            one_hot(Columns.AGE, "user", ages),
            one_hot(Columns.OCCUPATION, "user", occupations),
        ),
        multi_hot=tuple(FlagFeature(name=genre_flag(genre), entity="item") for genre in genres),
        dense=tuple(
            DenseFeature(name=column(genre), entity="user", scale=window)
            for column in (impressions, clicks)
            for genre in genres
        ),
        genres=tuple(genres),
    )
