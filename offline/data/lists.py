"""Lists that recall would have returned at request points, with all inputs of the ranker: its training data."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.channels.contract import Channel
from data_exchange_center.channels.search import best_unseen
from data_exchange_center.channels.stored_vectors import StoredVectors
from data_exchange_center.fusion import Fused, Hits, candidate_columns, fuse
from data_exchange_center.progress import progress
from offline.data.requests import Points, histories, next_events, requests_at, seen_before
from offline.data.sequences import Ints, Sequences
from offline.data.statistics import user_statistics_after

CHUNK = 512  # request points scored at once


@dataclass(frozen=True)
class Lists:
    """m lists of c candidates; codes 0 pad lists that are shorter.

    Attributes:
        users: (m,) positions in ``Sequences.userids``.
        times: (m,) seconds of the request.
        lengths: (m,) how much each user had rated at the request.
        statistics: (m, user statistics) of each user at the request, as `statistics.user_statistics_after` counts them.
        events, ratings, ages: (m, lags) history, newest first; ages in seconds.
        candidates: (m, c) codes in fused order.
        features: (m, c, candidate columns), half precision: they are most of the bytes.
        liked, disliked: (m, c) whether the candidate is among the next events, and how it was rated.
    """

    users: NDArray[np.int32]
    times: NDArray[np.int64]
    lengths: NDArray[np.int32]
    statistics: NDArray[np.int64]
    events: NDArray[np.int32]
    ratings: NDArray[np.int8]
    ages: NDArray[np.int32]
    candidates: NDArray[np.int32]
    features: NDArray[np.float16]
    liked: NDArray[np.bool_]
    disliked: NDArray[np.bool_]

    def take(self, index: Ints | NDArray[np.bool_]) -> Lists:
        return Lists(*(getattr(self, field.name)[index] for field in fields(self)))

    def __len__(self) -> int:
        return len(self.users)

    def pack(self) -> bytes:
        """An .npz, without pickle."""
        buffer = io.BytesIO()
        np.savez(buffer, **{field.name: getattr(self, field.name) for field in fields(self)})
        return buffer.getvalue()

    @classmethod
    def unpack(cls, raw: bytes) -> Lists:
        """Inverse of `pack`. Raises ValueError when ``raw`` is no such file."""
        try:
            with np.load(io.BytesIO(raw), allow_pickle=False) as arrays:
                return cls(*(arrays[field.name] for field in fields(cls)))
        except (KeyError, OSError, ValueError, EOFError) as error:
            raise ValueError(f"these are no lists ({error})") from error


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
    only_liked: bool = False,
) -> Lists:
    """The fused list of every point.

    Args:
        profiles: (users, fields) codes.
        weights: of each channel in the fusion.
        size: candidates a list.
        history: events the ranker sees.
        horizon: events after a request that say what was liked.
        only_liked: leave out the lists that hold nothing liked: a ranker learns nothing from them.
    """
    parts = []
    for chunk in progress(_chunks(points), desc="lists", unit="chunk", total=-(-len(points) // CHUNK)):
        searches = [_search(channel, data, chunk, profiles, size) for channel in channels]
        fused = [fuse(hits, weights, size) for hits in zip(*searches, strict=True)]
        n_columns = len(candidate_columns([channel.name for channel in channels]))
        part = _labelled(data, chunk, fused, (len(chunk), size, n_columns), history, horizon)
        parts.append(part.take(np.flatnonzero(part.liked.any(axis=1))) if only_liked else part)
    return Lists(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Lists)))


def _labelled(
    data: Sequences, points: Points, fused: Sequence[Fused], shape: tuple[int, int, int], history: int, horizon: int
) -> Lists:
    """What was recalled at each point, with what came before and after it. ``shape``: of the features."""
    candidates, features = np.zeros(shape[:2], dtype=np.int32), np.zeros(shape, dtype=np.float16)
    for row, found in enumerate(fused):
        candidates[row, : len(found.ids)] = found.ids
        features[row, : len(found.ids)] = found.features
    after, liked = next_events(data, points, horizon)
    good, bad = np.where(liked, after, -1), np.where(liked | (after == 0), -1, after)
    is_liked, is_bad = ((candidates[:, :, None] == each[:, None]).any(axis=2) for each in (good, bad))
    items, ratings, ages, _ = histories(data, points, history)
    return Lists(
        users=points.users.astype(np.int32),
        times=points.times,
        lengths=points.positions.astype(np.int32),
        statistics=user_statistics_after(data, points.users, points.positions),
        events=items.astype(np.int32),
        ratings=ratings.astype(np.int8),
        ages=np.minimum(ages, np.iinfo(np.int32).max).astype(np.int32),
        candidates=candidates,
        features=features,
        liked=is_liked,
        disliked=is_bad & ~is_liked,  # the same item again is no dislike
    )


def channel_hits(
    data: Sequences, points: Points, profiles: NDArray[np.int64], channel: Channel, size: int
) -> Iterator[Hits]:
    """What one channel alone finds at every point."""
    for chunk in _chunks(points):
        yield from _search(channel, data, chunk, profiles, size)


def _chunks(points: Points) -> Iterator[Points]:
    for start in range(0, len(points), CHUNK):
        yield points.take(np.arange(start, min(start + CHUNK, len(points))))


def _search(
    channel: Channel, data: Sequences, points: Points, profiles: NDArray[np.int64], size: int
) -> Iterator[Hits]:
    stored = {channel.name: channel.users} if isinstance(channel, StoredVectors) else {}
    scores = channel.scores(requests_at(data, points, profiles, channel.events, stored))
    return best_unseen(scores, *seen_before(data, points), size)
