"""The ids that a data set itself gives its users and items: what people ask with and are answered with.

Inside, users and items are numbers (int32): in vectors, histories, features and indexes. Where a data set's own ids are
such numbers, the two are the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Final, NamedTuple, TypeAlias

from data_exchange_center.dataset import IdKind

OwnId: TypeAlias = int | str
MAX_BYTES: Final = 512  # of a string id, in UTF-8
MAX_INTEGER: Final = 2**31 - 1  # ids that are all from 1 to this are integers, and the numbers inside; else strings


def own_id(text: str, kind: IdKind) -> OwnId:
    """An id as tables hold it, always text, as people see it: ``"7"`` -> 7 where ids are integers."""
    return int(text) if kind == "integer" else text


def kind_of(own: OwnId) -> IdKind:
    return "string" if isinstance(own, str) else "integer"


class OwnIds(Mapping[int, OwnId]):
    """Number -> own id, of all users or of all items of a data set."""

    def __init__(self, numbers: Sequence[int], texts: Sequence[str], kind: IdKind) -> None:
        self.kind = kind
        self._own = {number: own_id(text, kind) for number, text in zip(numbers, texts, strict=True)}

    def __getitem__(self, number: int) -> OwnId:
        return self._own[number]

    def __iter__(self) -> Iterator[int]:
        return iter(self._own)

    def __len__(self) -> int:
        return len(self._own)

    @cached_property
    def numbers(self) -> Mapping[OwnId, int]:
        """Own id -> number."""
        return {own: number for number, own in self._own.items()}


class DatasetIds(NamedTuple):
    """What people call the users and items of a data set."""

    users: OwnIds
    items: OwnIds
