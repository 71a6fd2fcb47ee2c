"""Lists that recall would have returned at request points, with all inputs of the ranker: its training data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from data_exchange_center.channels import Channel, StoredVectors, best_unseen
from data_exchange_center.columns import Columns
from data_exchange_center.fusion import Fused, Hits, candidate_columns, fuse
from data_exchange_center.progress import progress
from offline.data import arrow_columns
from offline.data.ahead import made_ahead
from offline.data.requests import Points, histories, next_events, requests_at, seen_before
from offline.data.sequences import Ints, Sequences
from offline.data.statistics import user_statistics_after

CHUNK = 512  # request points scored at once
SEEN = 1 << 22  # events that these see as rated, all together
_OTHERWISE: Final = ("users", "features")  # not as they are in a table: userids; bytes, as engines know no halves


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

    def table(self, userids: Ints) -> pa.Table:
        """`artifacts.LISTS`: a row a list. ``userids``: those of the past that the lists are of."""
        arrays = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in _OTHERWISE}
        columns = {name: arrow_columns.column(array) for name, array in arrays.items()}
        users, features = userids[self.users].astype(np.int32), arrow_columns.bytes_column(self.features)
        return pa.table({Columns.USER: users, **columns, "features": features})

    @classmethod
    def of_table(cls, table: pa.Table, userids: Ints) -> Lists:
        """Inverse of `table`. Raises ValueError where a list is of none of the users, or two differ in size."""
        ids = table[Columns.USER].to_numpy()
        users = np.minimum(np.searchsorted(userids, ids), len(userids) - 1)
        if not len(ids) or (userids[users] != ids).any():
            raise ValueError("these are no lists of these users")
        columns = {
            field.name: arrow_columns.rows(table[field.name]) for field in fields(cls) if field.name not in _OTHERWISE
        }
        features = arrow_columns.bytes_rows(table["features"], np.float16)
        shape = *columns["candidates"].shape, -1
        return cls(users=users.astype(np.int32), features=features.reshape(shape), **columns)


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
    by_user: bool = False,
) -> Lists:
    """The fused list of every point.

    Args:
        profiles: (users, fields) codes.
        weights: of each channel in the fusion.
        size: candidates a list.
        history: events the ranker sees.
        horizon: events after a request that say what was liked.
        only_liked: leave out the lists that hold nothing liked: a ranker learns nothing from them.
        by_user: score no two users' points together. The last digits of a product of matrices depend on its shape, and
            so on who else asks.
    """
    parts = []
    n_columns = len(candidate_columns([channel.name for channel in channels]))
    ends = _ends(points, by_user)
    searched = (
        (chunk, [list(_search(channel, data, chunk, profiles, size)) for channel in channels])
        for chunk in _chunks(points, ends)
    )
    for chunk, searches in progress(made_ahead(searched), desc="lists", unit="chunk", total=len(ends)):
        fused = [fuse(hits, weights, size) for hits in zip(*searches, strict=True)]
        part = _labelled(data, chunk, fused, (len(chunk), size, n_columns), history, horizon)
        parts.append(part.take(np.flatnonzero(part.liked.any(axis=1))) if only_liked else part)
    if not parts:
        return _labelled(data, points, [], (0, size, n_columns), history, horizon)
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
    is_liked, is_bad = (_among(candidates, each) for each in (good, bad))
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


def _among(candidates: Ints, others: Ints) -> NDArray[np.bool_]:
    """(m, c), (m, few) -> (m, c) whether the candidate is one of its list's others."""
    found = np.zeros(candidates.shape, np.bool_)
    for each in others.T:
        found |= candidates == each[:, None]
    return found


def channel_hits(
    data: Sequences, points: Points, profiles: NDArray[np.int64], channel: Channel, size: int
) -> Iterator[Hits]:
    """What one channel alone finds at every point."""
    for chunk in _chunks(points, _ends(points)):
        yield from _search(channel, data, chunk, profiles, size)


def _ends(points: Points, by_user: bool = False) -> list[int]:
    """Where chunks end: none has more than `CHUNK` points, nor, unless it is a single one, has seen more than `SEEN`
    events; ``by_user``: nor is one of two users."""
    ends: list[int] = []
    begin = seen = 0
    for n, (user, events) in enumerate(zip(points.users.tolist(), points.positions.tolist(), strict=True)):
        other = by_user and user != points.users[begin]
        if n > begin and (other or n - begin == CHUNK or seen + events > SEEN):
            ends.append(n)
            begin, seen = n, 0
        seen += events
    return [*ends, len(points)] if len(points) else []


def _chunks(points: Points, ends: Sequence[int]) -> Iterator[Points]:
    for begin, end in pairwise([0, *ends]):
        yield points.take(np.arange(begin, end))


def _search(
    channel: Channel, data: Sequences, points: Points, profiles: NDArray[np.int64], size: int
) -> Iterator[Hits]:
    stored = {channel.name: channel.users} if isinstance(channel, StoredVectors) else {}
    scores = channel.scores(requests_at(data, points, profiles, channel.events, stored))
    return best_unseen(scores, *seen_before(data, points), size)
