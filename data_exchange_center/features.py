"""Features of the ranking model: kinds of columns, their order, their encoding. The contract of both sides.

`FeatureSpec` is written by ``offline/rank/s1_feature_engi.py`` and travels with the release. It sizes the model, names
Feast's fields, renders Triton's ``config.pbtxt`` and encodes rows: training, parity check and server all call the same
`encode` and `assemble`, or `model_inputs`, which keeps the history apart.

Stores hold raw values ("F", 25, 3 impressions, the moment of a first event); a kind of column says how that becomes
the model's input, here and nowhere else. `assemble` encodes last what depends on the request's time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
Frame = Mapping[str, Any]  # column name -> sequence of values; a DataFrame or a plain dict
Float32 = NDArray[np.float32]

NEVER: Final = -1  # stored for a moment that does not exist, as the first event of a user without events
DAY_S: Final = 86_400


class MissingFeatureError(errors.RecsysError, ValueError):
    """A store gave no value (null) for a feature; the message names column and rows. Never replaced by 0 in silence."""


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
    def _known(self) -> fusion.Vocabulary:
        return fusion.Vocabulary(np.asarray(self.vocabulary))

    def encode(self, values: Sequence[Any] | NDArray[Any]) -> Float32:
        """(n,) raw values -> (n,) codes. Raises MissingFeatureError for nulls, as every kind's ``encode`` does."""
        array = _without_nulls(self.name, values)
        return self._known.codes(array.astype(str) if self.dtype == "string" else array).astype(np.float32)


class FlagFeature(Frozen):
    """One 0/1 column of a multi-hot feature."""

    dtype: ClassVar[Dtype] = "int64"

    name: str
    entity: Entity

    def encode(self, values: Sequence[Any] | NDArray[Any]) -> Float32:
        return _without_nulls(self.name, values).astype(np.float32)


Transform = Literal["linear", "log1p"]


class _ScaledFeature(Frozen):
    """A whole number, or the logarithm of 1 + it, divided by ``scale``."""

    dtype: ClassVar[Dtype] = "int64"

    kind: str
    name: str
    entity: Entity
    scale: float
    transform: Transform = "linear"

    def encode(self, values: Sequence[Any] | NDArray[Any]) -> NDArray[np.floating]:
        numbers = _without_nulls(self.name, values).astype(np.float64)
        return ((np.log1p(numbers) if self.transform == "log1p" else numbers) / self.scale).astype(np.float32)


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

    def at(self, moments: NDArray[np.floating], timestamps: int | NDArray[np.integer]) -> NDArray[np.floating]:
        """Moments of any shape, request times (seconds) that broadcast to it -> scaled days, the model's inputs."""
        elapsed = np.where(moments == NEVER, 0, np.maximum(np.asarray(timestamps, np.int64) - moments, 0))
        return super().encode(elapsed / DAY_S)


class HistoryFeature(Frozen):
    """A user's newest events as three blocks of ``length`` columns: item codes, ratings, ages in seconds.

    Newest first, padded with 0 on the right. Codes are those of the one-hot item feature, so the model looks up
    item-item factors by them; floats hold codes below 2^24 exactly.
    """

    length: int


NumberFeature = Annotated[DenseFeature | ElapsedFeature, Field(discriminator="kind")]
Feature = OneHotFeature | FlagFeature | DenseFeature | ElapsedFeature


def _without_nulls(name: str, values: Sequence[Any] | NDArray[Any]) -> NDArray[Any]:
    array = np.asarray(values)
    missing: list[int] = []
    if array.dtype.kind == "O":
        missing = [row for row, value in enumerate(array) if value is None or value != value]
    elif array.dtype.kind == "f":
        missing = np.flatnonzero(np.isnan(array)).tolist()
    if missing:
        raise MissingFeatureError(f"no value for feature {name!r} in {len(missing)} row(s), first at {missing[:5]}")
    return array


def one_hot(name: str, entity: Entity, values: Sequence[Any]) -> OneHotFeature:
    """A categorical column with the distinct ``values`` as its vocabulary."""
    distinct = {value.item() if isinstance(value, np.generic) else value for value in values}
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
        empty = [np.float64(NEVER) if isinstance(feature, ElapsedFeature) else np.float32(0) for feature in features]
        return cls(features, np.tile(np.array(empty), (rows, 1)))

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: Any) -> "Encoded":
        """Some rows, by any numpy index into them: a mask, positions of any shape, ``[:, None]``."""
        return Encoded(self.features, self.values[index])

    def having(self, name: str, values: Sequence[Any]) -> "Encoded":
        """A copy with n other raw values of one feature; unchanged where there is no such feature."""
        place = next((n for n, each in enumerate(self.features) if each.name == name), None)
        if place is None:
            return self
        changed = self.values.copy()
        changed[:, place] = self.features[place].encode(values)
        return Encoded(self.features, changed)

    def at(self, timestamps: int | NDArray[np.integer]) -> NDArray[np.floating]:
        """(..., features) model inputs at request times (seconds): one, or an array that broadcasts to the rows."""
        timed = [(n, feature) for n, feature in enumerate(self.features) if isinstance(feature, ElapsedFeature)]
        if not timed:
            return self.values
        shape = np.broadcast_shapes(self.values.shape[:-1], np.shape(timestamps))
        rows = np.broadcast_to(self.values, (*shape, self.values.shape[-1])).astype(np.float32)
        for n, feature in timed:
            rows[..., n] = feature.at(self.values[..., n], timestamps)
        return rows

    @classmethod
    def joined(cls, parts: "Sequence[Encoded]") -> "Encoded":
        """Concatenate the rows of one or more parts."""
        return cls(parts[0].features, np.concatenate([part.values for part in parts]))


class Widths(NamedTuple):
    """Numbers of columns of the served model's inputs."""

    row: int  # of each candidate
    history: int  # of the user's history; 0: the model has no such input

    def __str__(self) -> str:
        return f"{self.row}_{self.history}" if self.history else str(self.row)


@dataclass(frozen=True, eq=False)
class ModelInputs:
    """Inputs of the served model for one list: a row for each candidate, and the user's history once."""

    rows: Float32  # (n, `Widths.row`)
    history: Float32 = field(default_factory=lambda: _NOTHING)  # (1, `Widths.history`)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def by_name(self) -> dict[str, Float32]:
        """Input name -> array, in the model's order; the history only if the model has one."""
        rows = {wire.MODEL_INPUT: self.rows}
        return rows | {wire.MODEL_HISTORY: self.history} if self.history.shape[1] else rows

    def joined(self) -> Float32:
        """(n, `FeatureSpec.width`): the history in every row, as `FeatureSpec.assemble` gives it."""
        return np.hstack([self.rows, np.repeat(self.history, len(self.rows), axis=0)])


class FeatureSpec(Frozen):
    """Order, cardinalities and scaling of the model's input columns.

    Column order: one-hot, multi-hot, dense, candidate, history. Recipe source, 18 genres: 5 + 18 + 36 = 59 columns.
    Feature stores hold the first three kinds. Candidate columns come from fusion (`fusion.candidate_columns`), history
    columns from the user's state; both are known only when a request is answered.
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
        """Names of the model's input columns, in order."""
        lags = range(self.history.length if self.history else 0)
        history = (f"history_{part}_{lag}" for part in ("item", "rating", "age") for lag in lags)
        return (*(feature.name for feature in self.features), *self.candidate, *history)

    @cached_property
    def width(self) -> int:
        return len(self.columns)

    @cached_property
    def widths(self) -> Widths:
        """Columns before ``widths.row`` are each candidate's, fusion's the last of them; then come history's."""
        row = len(self.features) + len(self.candidate)
        return Widths(row, self.width - row)

    def of(self, entity: Entity) -> tuple[Feature, ...]:
        """Features of one side, in the model's order, the entity's own id first."""
        return tuple(feature for feature in self.features if feature.entity == entity)

    def stored(self, entity: Entity) -> tuple[Feature, ...]:
        """Features that the feature store holds of one side: all but the entity's own id, which is its key."""
        return tuple(feature for feature in self.of(entity) if feature.name != wire.FEAST_KEY[entity])

    @cached_property
    def _positions(self) -> dict[Entity, NDArray[np.intp]]:
        of = np.array([feature.entity for feature in self.features])
        return {"user": np.flatnonzero(of == "user"), "item": np.flatnonzero(of == "item")}

    def encode(self, entity: Entity, frame: Frame) -> Encoded:
        """Encode raw columns of n users or items. Raises MissingFeatureError for nulls."""
        features = self.of(entity)
        return Encoded(features, np.stack([feature.encode(frame[feature.name]) for feature in features], axis=1))

    def encode_candidates(self, columns: Sequence[str], values: NDArray[np.floating]) -> Float32:
        """Fusion's features of n candidates, (..., n, ``columns``) -> (..., n, `candidate`), which may be none of them.

        Raises ValueError when fusion lacks a column.
        """
        absent = [name for name in self.candidate if name not in columns]
        if absent:
            raise ValueError(f"fusion gives no columns {absent}; it gives {list(columns)}")
        return values[..., [columns.index(name) for name in self.candidate]].astype(np.float32, copy=False)

    def encode_history(self, history: History, timestamp: int) -> Float32:
        """One user's history at a moment (seconds) -> (1, history columns), which may be none."""
        items = next(feature for feature in self.one_hot if feature.name == Columns.ITEM)
        codes = items.encode(history.item_numbers)
        return self.encode_history_codes(codes[None], history.ratings[None], history.ages(timestamp)[None])

    def encode_history_codes(self, codes: NDArray[Any], ratings: NDArray[Any], ages: NDArray[Any]) -> Float32:
        """n users' item codes, ratings and ages (seconds), (n, any length), newest first -> (n, history columns)."""
        if self.history is None:
            return np.empty((len(codes), 0), dtype=np.float32)
        length = self.history.length
        block = np.zeros((3, len(codes), length), dtype=np.float32)
        for part, values in enumerate((codes, ratings, ages)):
            block[part, :, : values.shape[1]] = np.where(codes > 0, values, 0)[:, :length]
        return block.transpose(1, 0, 2).reshape(len(codes), 3 * length)

    def assemble(
        self,
        users: Encoded,
        items: Encoded,
        timestamps: int | NDArray[np.integer],
        candidates: Float32 = _NOTHING,
        history: Float32 = _NOTHING,
    ) -> Float32:
        """Encoded users (1 or n) and items (n), request times in seconds (1 or n) -> (n, width) model inputs.

        ``candidates`` (n, candidate columns) and ``history`` (1 or n, history columns) where the spec has them. Many
        lists at once have one more dimension in front: (m, 1) users and times, (m, n) items.
        Raises ValueError when candidates or history are missing, or are given where the spec has none.
        """
        if candidates.shape[-1] != len(self.candidate) or history.shape[-1] != self.widths.history:
            raise ValueError(
                f"{candidates.shape[-1]} candidate and {history.shape[-1]} history columns are given; the spec has "
                f"{len(self.candidate)} and {self.widths.history}"
            )
        rows = np.empty((*items.values.shape[:-1], self.width), dtype=np.float32)  # (..., n, width)
        rows[..., self._positions["user"]] = users.at(timestamps)
        rows[..., self._positions["item"]] = items.at(timestamps)
        rows[..., len(self.features) : self.widths.row] = candidates
        rows[..., self.widths.row :] = history
        return rows

    def model_inputs(
        self, user: Encoded, items: Encoded, timestamp: int, candidates: Float32 = _NOTHING, history: Float32 = _NOTHING
    ) -> ModelInputs:
        """Inputs of one user's list of n items: the values of `assemble`, the history once. Raises as it does."""
        rows = self.assemble(user, items, timestamp, candidates, history)
        return ModelInputs(np.ascontiguousarray(rows[:, : self.widths.row]), history)
