"""Other searches of the same vectors: by cosine, and without the popularity dimension."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.channels import Channel, HistorySum, StoredVectors

Float32 = NDArray[np.float32]


def variants(channel: Channel) -> dict[str, Channel]:
    """Name -> the channel searched otherwise; none for a form that cannot be."""
    match channel:
        case HistorySum():
            cosine, unpopular = searched_by_cosine(channel), without_popularity(channel)
            return {"cosine instead of inner product": cosine, "without the popularity dimension": unpopular}
        case StoredVectors():
            return {"cosine instead of inner product": factors_by_cosine(channel)}
    return {}


def searched_by_cosine(channel: HistorySum) -> HistorySum:
    """Items, popularity included, brought to length 1: the order of inner products is then that of cosines."""
    length = np.sqrt((channel.items**2).sum(axis=1) + channel.bias**2)
    length = np.where(length > 0, length, 1).astype(np.float32)
    return replace(channel, items=channel.items / length[:, None], bias=channel.bias / length)


def without_popularity(channel: HistorySum) -> HistorySum:
    """The popularity dimension 0 for every item."""
    return replace(channel, bias=np.zeros_like(channel.bias))


def factors_by_cosine(channel: StoredVectors) -> StoredVectors:
    """As the source searches: its index has neither the bias nor the length, and takes the cosine of the factors."""
    return replace(channel, users=channel.users[:, :-2], items=_unit(channel.items[:, :-2]))


def _unit(rows: Float32) -> Float32:
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: Float32 = np.divide(rows, norm, out=np.zeros_like(rows), where=norm > 0)
    return unit
