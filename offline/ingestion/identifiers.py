"""A data set's own ids, and the numbers that stand for them inside."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from data_exchange_center.dataset import IdKind
from data_exchange_center.own_ids import MAX_INTEGER

_NUMBER: Final = re.compile(r"-?(0|[1-9][0-9]*)")


class Register:
    """Own ids in the order that they are met; each gets a place, from 0."""

    def __init__(self) -> None:
        self.places: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self.places)

    def __contains__(self, own_id: str) -> bool:
        return own_id in self.places

    def enter(self, ids: pa.Array) -> NDArray[np.int64]:
        """The place of each id, new ones entered."""
        coded = pc.dictionary_encode(ids)
        known = [self.places.setdefault(own_id, len(self.places)) for own_id in coded.dictionary.to_pylist()]
        places: NDArray[np.int64] = np.array(known, dtype=np.int64)[coded.indices.to_numpy(zero_copy_only=False)]
        return places

    def own_ids(self) -> list[str]:
        return list(self.places)


@dataclass(frozen=True, eq=False)
class Numbering:
    """Which number stands for which own id.

    Attributes:
        kind: "integer" where every own id is a whole number from 1 to `MAX_INTEGER` and stands for itself; else
            "string", and the ids are numbered from 1 in their order.
        numbers: (ids,) of each place of the register.
        own_ids: (ids,) beside them.
    """

    kind: IdKind
    numbers: NDArray[np.int32]
    own_ids: Sequence[str]

    @classmethod
    def of(cls, register: Register) -> Numbering:
        own_ids = register.own_ids()
        whole = all(_NUMBER.fullmatch(own_id) for own_id in own_ids)
        if whole and all(1 <= int(own_id) <= MAX_INTEGER for own_id in own_ids):
            return cls("integer", np.array([int(own_id) for own_id in own_ids], dtype=np.int32), own_ids)
        order = sorted(range(len(own_ids)), key=(lambda at: int(own_ids[at])) if whole else own_ids.__getitem__)
        numbers = np.empty(len(own_ids), dtype=np.int32)
        numbers[order] = np.arange(1, len(own_ids) + 1)
        return cls("string", numbers, own_ids)

    def table(self, key: str, own_id: str) -> pd.DataFrame:
        """``key`` (number) and ``own_id``, in the register's order."""
        return pd.DataFrame({key: self.numbers, own_id: self.own_ids})
