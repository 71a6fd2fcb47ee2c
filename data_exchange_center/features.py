"""Features of the ranking model: kinds of columns, their order, their encoding. The contract of both sides.

`FeatureSpec` is written by ``offline/rank/s1_feature_engi.py`` and travels with the release. It sizes the model, names
Feast's fields, renders Triton's ``config.pbtxt`` and encodes rows: training, parity check and server all call the same
`encode`, `assemble` and `encode_history`.

A ranking network has two inputs (`ModelInputs`): a row for each candidate, and the user's history, once for all rows.
Stores hold raw values ("F", 25, 3 impressions, the moment of a first event); a kind of column says how that becomes
the model's input, here and nowhere else. `assemble` encodes last what depends on the request's time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, StrictInt, StrictStr

from data_exchange_center import errors, fusion, wire
from data_exchange_center.columns import Columns, Entity
from data_exchange_center.fusion import UNKNOWN as UNKNOWN
from data_exchange_center.history import History
from data_exchange_center.recipes import Frozen

Dtype = Literal["int64", "string"]
Float32 = NDArray[np.float32]

# parts of an event in a history: item code, rating code, age in seconds
HISTORY: Final = ("item", "rating", "age")
NEVER: Final = -1  # stored for a moment that does not exist, as the first event of a user without events
DAY_S: Final = 86_400


class MissingFeatureError(errors.RecsysError, ValueError):
    """A store gave no value (null) for a feature; the message names column and rows. Never replaced by 0 in silence."""


class OneHotFeature(Frozen):
    """A categorical column, encoded to its position in the sorted ``vocabulary`` plus one; `UNKNOWN` otherwise."""

    name: str
    entity: Entity
    # strict: "10" read back from JSON stays a string
    vocabulary: tuple[StrictInt, ...] | tuple[StrictStr, ...]

    @property
    def cardinality(self) -> int:
        """Rows of the embedding table: the known values and the unknown."""
        return len(self.vocabulary) + 1

    @cached_property
    def dtype(self) -> Dtype:
        return (
            "string"
            if self.vocabulary and isinstance(self.vocabulary[0], str)
            else "int64"
        )

    @cached_property
    def _known(self) -> fusion.Vocabulary:
        return fusion.Vocabulary(np.asarray(self.vocabulary))

    def encode(self, values: Sequence[Any] | NDArray[Any]) -> Float32:
        """(n,) raw values -> (n,) codes. Raises MissingFeatureError for nulls, as every kind's ``encode`` does."""
        known = _without_nulls(self.name, values)
        if self.dtype == "string":
            known = known.astype(str)
        return self._known.codes(known).astype(np.float32)


class FlagFeature(Frozen):
    """One 0/1 column of a multi-hot feature."""

    dtype: ClassVar[Dtype] = "int64"

    name: str
    entity: Entity

    def encode(self, values: Sequence[Any] | NDArray[Any]) -> Float32:
        return _without_nulls(self.name, values).astype(np.float32)


class _ScaledFeature(Frozen):
    """A whole number, or the logarithm of 1 + it, divided by ``scale``."""

    dtype: ClassVar[Dtype] = "int64"

    kind: str
    name: str
    entity: Entity
    scale: float
    transform: Literal["linear", "log1p"] = "linear"

    def encode(self, values: Sequence[Any] | NDArray[Any]) -> NDArray[np.floating]:
        numbers = _without_nulls(self.name, values).astype(np.float64)
        if self.transform == "log1p":
            numbers = np.log1p(numbers)
        return (numbers / self.scale).astype(np.float32)


class DenseFeature(_ScaledFeature):
    """A count, or another number that is independent of the request's time."""

    kind: Literal["number"] = "number"


class ElapsedFeature(_ScaledFeature):
    """Days from a moment to the request; stores hold the moment, in seconds since 1970, or `NEVER`.

    The model sees 0 days for `NEVER` and for a moment after the request.
    """

    kind: Literal["elapsed"] = "elapsed"

    def encode(self, values: Sequence[Any] | NDArray[Any]) -> NDArray[np.floating]:
        """(n,) stored moments, as they are, for `at`."""
        return _without_nulls(self.name, values).astype(np.float64)

    def at(
        self, moments: NDArray[np.floating], timestamps: int | NDArray[np.integer]
    ) -> NDArray[np.floating]:
        """Moments of any shape, request times (seconds) that broadcast to it -> scaled days, the model's inputs."""
        since = np.asarray(timestamps, np.int64) - moments
        elapsed = np.where(moments == NEVER, 0, np.maximum(since, 0))
        return super().encode(elapsed / DAY_S)


class HistoryFeature(Frozen):
    """The user's newest ``length`` events, newest first, each by the parts of `HISTORY`; padded with 0 at the end.

    Item codes are those of the one-hot item feature, so the model looks up item-item factors by them; floats hold codes
    below 2^24 exactly.
    """

    length: int


NumberFeature = Annotated[DenseFeature | ElapsedFeature, Field(discriminator="kind")]
Feature = OneHotFeature | FlagFeature | DenseFeature | ElapsedFeature


def _without_nulls(name: str, values: Sequence[Any] | NDArray[Any]) -> NDArray[Any]:
    array = np.asarray(values)
    missing: list[int] = []
    if array.dtype.kind == "O":
        missing = [
            row for row, value in enumerate(array) if value is None or value != value
        ]  # NaN is not itself
    elif array.dtype.kind == "f":
        missing = np.flatnonzero(np.isnan(array)).tolist()
    if missing:
        raise MissingFeatureError(
            f"no value for feature {name!r} in {len(missing)} row(s), first at {missing[:5]}"
        )
    return array


def one_hot(name: str, entity: Entity, values: Sequence[Any]) -> OneHotFeature:
    """A categorical column with the distinct ``values`` as its vocabulary."""
    distinct = {
        value.item() if isinstance(value, np.generic) else value for value in values
    }
    return OneHotFeature(name=name, entity=entity, vocabulary=tuple(sorted(distinct)))


_NOTHING: Float32 = np.empty((1, 0), dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Encoded:
    """One side's features of n users or items, encoded as far as is possible before the request's time is known."""

    features: tuple[Feature, ...]  # one for each column
    # (n, features) model inputs; of an `ElapsedFeature` the moments, and all columns then in 64 bits
    values: NDArray[np.floating]

    @classmethod
    def none(cls, features: tuple[Feature, ...], rows: int = 0) -> "Encoded":
        """``rows`` rows of padding: zeros, and `NEVER` for moments."""
        has_moments = any(isinstance(feature, ElapsedFeature) for feature in features)
        empty = np.zeros(
            (rows, len(features)), np.float64 if has_moments else np.float32
        )
        for column, feature in enumerate(features):
            if isinstance(feature, ElapsedFeature):
                empty[:, column] = NEVER
        return cls(features, empty)

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: Any) -> "Encoded":
        """Some rows, by any numpy index into them: a mask, positions of any shape, ``[:, None]``."""
        return Encoded(self.features, self.values[index])

    def having(self, name: str, values: Sequence[Any]) -> "Encoded":
        """A copy with n other raw values of one feature; unchanged where there is no such feature."""
        changed = self.values.copy()
        for column, feature in enumerate(self.features):
            if feature.name == name:
                changed[:, column] = feature.encode(values)
        return Encoded(self.features, changed)

    def at(self, timestamps: int | NDArray[np.integer]) -> NDArray[np.floating]:
        """(..., features) model inputs at request times (seconds): one, or an array that broadcasts to the rows."""
        timed = [
            (column, each)
            for column, each in enumerate(self.features)
            if isinstance(each, ElapsedFeature)
        ]
        if not timed:
            return self.values
        *shape, width = self.values.shape
        shape_of_all = np.broadcast_shapes(tuple(shape), np.shape(timestamps))
        rows = np.broadcast_to(self.values, (*shape_of_all, width)).astype(np.float32)
        for column, feature in timed:
            rows[..., column] = feature.at(self.values[..., column], timestamps)
        return rows

    @classmethod
    def joined(cls, parts: "Sequence[Encoded]") -> "Encoded":
        """Concatenate the rows of one or more parts."""
        return cls(parts[0].features, np.concatenate([part.values for part in parts]))


class InputSizes(NamedTuple):
    """Sizes of the served model's inputs."""

    columns: int  # of each candidate's row
    events: int  # of the user's history; 0: the model has no such input
    outputs: int = 1  # of each candidate

    def __str__(self) -> str:
        parts = [self.columns]
        if self.events:
            parts.append(self.events)
        if self.outputs > 1:
            parts.append(self.outputs)
        return "_".join(map(str, parts))


def weighted(outputs: Float32, weights: Sequence[float]) -> Float32:
    """A ranking model's (n, outputs) -> (n,) scores: their weighted mean."""
    if len(weights) == 1:
        return outputs[:, 0]
    shares = np.array(weights, np.float32) / np.float32(sum(weights))
    return outputs @ shares


@dataclass(frozen=True, eq=False)
class ModelInputs:
    """The ranking network's inputs for one list, or in training for many, with one more dimension in front."""

    rows: Float32  # (n, columns) a row for each candidate; in training (lists, n, columns)
    # (1, events, `HISTORY`); in training (lists, ...); None: the network reads none
    history: Float32 | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def by_name(self) -> dict[str, Float32]:
        """Input name -> array, in the order of the network's arguments."""
        named = {wire.MODEL_INPUT: self.rows}
        if self.history is not None:
            named[wire.MODEL_HISTORY] = self.history
        return named


class FeatureSpec(Frozen):
    """Order, cardinalities and scaling of the columns of a row, and the length of the history.

    Column order: one-hot, multi-hot, dense, candidate. Recipe source, 18 genres: 5 + 18 + 36 = 59 columns. Feature
    stores hold the first three kinds. Candidate columns come from fusion (`fusion.candidate_columns`), the history from
    the user's state; both are known only when a request is answered.
    """

    one_hot: tuple[OneHotFeature, ...]
    multi_hot: tuple[FlagFeature, ...]
    dense: tuple[NumberFeature, ...]
    genres: tuple[str, ...]  # genre code c (1..n) is genres[c - 1]
    candidate: tuple[str, ...] = ()
    history: HistoryFeature | None = None

    @cached_property
    def features(self) -> tuple[Feature, ...]:
        return (*self.one_hot, *self.multi_hot, *self.dense)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Names of a row's columns, in order."""
        return (*(feature.name for feature in self.features), *self.candidate)

    @cached_property
    def width(self) -> int:
        return len(self.columns)

    @cached_property
    def sizes(self) -> InputSizes:
        return InputSizes(self.width, self.history.length if self.history else 0)

    def of(self, entity: Entity) -> tuple[Feature, ...]:
        """Features of one side, in the model's order, the entity's own id first."""
        return tuple(feature for feature in self.features if feature.entity == entity)

    def stored(self, entity: Entity) -> tuple[Feature, ...]:
        """Features that the feature store holds of one side: all but the entity's own id, which is its key."""
        return tuple(
            feature
            for feature in self.of(entity)
            if feature.name != wire.FEAST_KEY[entity]
        )

    @cached_property
    def _positions(self) -> dict[Entity, NDArray[np.intp]]:
        entities = np.array([feature.entity for feature in self.features])
        return {
            "user": np.flatnonzero(entities == "user"),
            "item": np.flatnonzero(entities == "item"),
        }

    def encode(self, entity: Entity, frame: Mapping[str, Any]) -> Encoded:
        """Encode raw columns of n users or items, by name. Raises MissingFeatureError for nulls."""
        features = self.of(entity)
        columns = [feature.encode(frame[feature.name]) for feature in features]
        return Encoded(features, np.stack(columns, axis=1))

    def encode_candidates(
        self, columns: Sequence[str], values: NDArray[np.floating]
    ) -> Float32:
        """Fusion's features of n candidates, (..., n, ``columns``) -> (..., n, `candidate`), which may be none of them.

        Raises ValueError when fusion lacks a column.
        """
        absent = [name for name in self.candidate if name not in columns]
        if absent:
            raise ValueError(
                f"fusion gives no columns {absent}; it gives {list(columns)}"
            )
        positions = [columns.index(name) for name in self.candidate]
        return values[..., positions].astype(np.float32, copy=False)

    def encode_history(self, history: History, timestamp: int) -> Float32 | None:
        """One user's history at a moment (seconds) -> (1, events, `HISTORY`); None: the spec has no history."""
        items = next(
            feature for feature in self.one_hot if feature.name == Columns.ITEM
        )
        codes = items.encode(history.item_numbers)
        ages = np.maximum(timestamp - history.times, 0)
        return self.encode_events(codes[None], history.ratings[None], ages[None])

    def encode_events(
        self, codes: NDArray[Any], ratings: NDArray[Any], ages: NDArray[Any]
    ) -> Float32 | None:
        """Item codes, ratings and ages (seconds) of n users, each (n, any length), newest first.

        Returns (n, events, `HISTORY`), without the events of unknown items, whose code is 0; None: the spec has no
        history.
        """
        if self.history is None:
            return None
        encoded = np.zeros((len(codes), self.history.length, len(HISTORY)), np.float32)
        known = codes > 0
        for channel, values in enumerate((codes, ratings, ages)):
            newest = np.where(known, values, 0)[:, : self.history.length]
            encoded[:, : newest.shape[1], channel] = newest
        return encoded

    def assemble(
        self,
        users: Encoded,
        items: Encoded,
        timestamps: int | NDArray[np.integer],
        candidates: Float32 = _NOTHING,
    ) -> Float32:
        """Encoded users (1 or n) and items (n), request times in seconds (1 or n) -> (n, width) rows.

        ``candidates`` (n, candidate columns) where the spec has them. Many lists at once have one more dimension in
        front: (m, 1) users and times, (m, n) items.
        Raises ValueError when candidates are missing, or are given where the spec has none.
        """
        if candidates.shape[-1] != len(self.candidate):
            raise ValueError(
                f"{candidates.shape[-1]} candidate columns are given; the spec has {len(self.candidate)}"
            )
        # (..., n, width)
        rows = np.empty((*items.values.shape[:-1], self.width), dtype=np.float32)
        rows[..., self._positions["user"]] = users.at(timestamps)
        rows[..., self._positions["item"]] = items.at(timestamps)
        rows[..., len(self.features) :] = candidates
        return rows
