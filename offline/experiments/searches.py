"""Other searches of the same vectors: by cosine, and without the popularity dimension."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.channels import Channel
from offline.data.lists import exact_search
from offline.data.requests import seen_before
from offline.evaluation.metrics import Lists
from offline.experiments.fitted import EvalRequests
from offline.training.channels import FittedChannel

Float32 = NDArray[np.float32]


def searched_by_cosine(channel: Channel) -> Channel:
    """Items, popularity included, brought to length 1: the order of inner products is then that of cosines."""
    length = np.sqrt((channel.items**2).sum(axis=1) + channel.bias**2)
    length = np.where(length > 0, length, 1).astype(np.float32)
    return replace(channel, items=channel.items / length[:, None], bias=channel.bias / length)


def without_popularity(channel: Channel) -> Channel:
    """The popularity dimension 0 for every item."""
    return replace(channel, bias=np.zeros_like(channel.bias))


def fm_lists(requests: EvalRequests, fitted: FittedChannel, size: int, *, cosine: bool = False) -> Lists:
    """(users, size) what stored user vectors find; by the model's inner products, or by cosine as the source does.

    The source has neither the bias nor the length as a dimension: cosine is taken of the factors alone.
    """
    if fitted.users is None:
        raise ValueError(f"channel {fitted.recipe.name!r} stores no user vectors")
    users, items = np.nan_to_num(fitted.users[requests.points.users]), fitted.items
    if cosine:
        users, items = users[:, :-2], _unit(items[:, :-2])
    rows, seen = seen_before(requests.data, requests.points)
    found = exact_search(users, items, fitted.trained, rows, seen, size)
    return requests.lists((hits.ids for hits in found), size)


def _unit(rows: Float32) -> Float32:
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: Float32 = np.divide(rows, norm, out=np.zeros_like(rows), where=norm > 0)
    return unit
