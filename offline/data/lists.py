"""Lists that recall would have made at request points, with everything the ranker is told: its training data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from data_exchange_center.channels import Channel
from data_exchange_center.fusion import Float32, Hits, fuse
from offline.data.requests import Points, histories, next_events, seen_before
from offline.data.sequences import Ints, Sequences

CHUNK = 512  # request points scored at once
HISTORY = 100  # events a channel looks back at, at most


@dataclass(frozen=True)
class Lists:
    """m lists of c candidates; codes 0 pad lists that are shorter.

    Attributes:
        users: (m,) positions in ``Sequences.userids``.
        lengths: (m,) how much each user had rated at the request.
        events, ratings, ages: (m, lags) history, newest first.
        candidates: (m, c) codes in fused order.
        features: (m, c, candidate columns).
        liked, disliked: (m, c) whether the candidate is among the next events, and how it was taken.
    """

    users: Ints
    lengths: Ints
    events: Ints
    ratings: Ints
    ages: Ints
    candidates: Ints
    features: Float32
    liked: NDArray[np.bool_]
    disliked: NDArray[np.bool_]

    def take(self, index: Ints | NDArray[np.bool_]) -> Lists:
        return Lists(*(getattr(self, field.name)[index] for field in fields(self)))

    def __len__(self) -> int:
        return len(self.users)


def recall_lists(
    data: Sequences,
    points: Points,
    profiles: NDArray[np.int64],
    channels: Sequence[Channel],
    weights: Sequence[float],
    *,
    size: int = 200,
    history: int = 30,
    horizon: int = 10,
) -> Lists:
    """The fused list of every point. ``profiles``: (users, fields) codes; ``history``: events the ranker sees."""
    parts = []
    for start in tqdm(range(0, len(points), CHUNK), desc="lists", unit="chunk", mininterval=1):
        chunk = points.take(np.arange(start, min(start + CHUNK, len(points))))
        items, ratings, ages, regime = histories(data, chunk, HISTORY)
        people = profiles[chunk.users]
        ranked = [_search(channel, data, chunk, items, ratings, people, regime, size) for channel in channels]
        candidates = np.zeros((len(chunk), size), dtype=np.int64)
        features = np.zeros((len(chunk), size, 3 * len(channels) + 1), dtype=np.float32)
        for row, hits in enumerate(zip(*ranked, strict=True)):
            fused = fuse(hits, weights, size)
            candidates[row, : len(fused.ids)] = fused.ids
            features[row, : len(fused.ids)] = fused.features
        after, liked = next_events(data, chunk, horizon)
        good, bad = np.where(liked, after, -1), np.where(liked | (after == 0), -1, after)
        parts.append(
            Lists(
                chunk.users,
                chunk.positions,
                items[:, :history],
                ratings[:, :history],
                ages[:, :history],
                candidates,
                features,
                (candidates[:, :, None] == good[:, None]).any(axis=2),
                (candidates[:, :, None] == bad[:, None]).any(axis=2),
            )
        )
    return Lists(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Lists)))


def channel_list(
    data: Sequences, points: Points, profiles: NDArray[np.int64], channel: Channel, size: int
) -> NDArray[np.int64]:
    """(points, size) codes that one channel alone finds, best first; 0 pads."""
    out = np.zeros((len(points), size), dtype=np.int64)
    for start in range(0, len(points), CHUNK):
        chunk = points.take(np.arange(start, min(start + CHUNK, len(points))))
        items, ratings, _, regime = histories(data, chunk, HISTORY)
        found = _search(channel, data, chunk, items, ratings, profiles[chunk.users], regime, size)
        for row, hits in enumerate(found, start=start):
            out[row, : len(hits.ids)] = hits.ids
    return out


def exact_search(vectors: Float32, items: Float32, rows: Ints, seen: Ints, size: int) -> Iterator[Hits]:
    """The ``size`` items of highest inner product for each of (m, dim) vectors, without the (row, code) pairs seen.

    What the vector index answers when it searches exactly. Row 0 of ``items`` (padding) never comes.
    """
    scores = vectors @ items.T
    scores[rows, seen] = -np.inf
    scores[:, 0] = -np.inf
    size = min(size, scores.shape[1] - 1)
    top = np.argpartition(-scores, size - 1, axis=1)[:, :size]
    values = np.take_along_axis(scores, top, axis=1)
    order = np.lexsort((top, -values), axis=1)
    for ids, value in zip(np.take_along_axis(top, order, 1), np.take_along_axis(values, order, 1), strict=True):
        there = np.isfinite(value)
        yield Hits(ids[there], value[there])


def _search(
    channel: Channel, data: Sequences, points: Points, items: Ints, ratings: Ints, people: Ints, regime: Ints, size: int
) -> list[Hits]:
    vectors = channel.user_vectors(items, ratings, people, regime)
    return list(exact_search(vectors, channel.item_vectors(), *seen_before(data, points), size))
