"""The ranker's training data: lists that recall would have returned at request points, labelled, and its inputs.

In the order in which it is made: which requests (`ListsConfig`), what recall finds there (`recall_lists`), what a batch
is drawn from them (`sampled`), and the model's inputs (`StoredFeatures`), by the functions that the server calls.
"""

from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from typing import Any, Final, Self, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from data_exchange_center.channels import Channel, StoredVectors
from data_exchange_center.columns import Columns
from data_exchange_center.features import Encoded, FeatureSpec, Float32, ModelInputs
from data_exchange_center.fusion import (
    Fused,
    Hits,
    Vocabulary,
    candidate_columns,
    fuse,
)
from data_exchange_center.recipes import ListsRecipe, Recipe
from data_exchange_center.steps import StepError, progress
from data_exchange_center.top_k import top_k
from offline.data import sequences
from offline.data.sequences import Inputs, Ints, Points, Sequences
from offline.data.statistics import item_statistics, user_statistics_after

Item = TypeVar("Item")

CHUNK = 512  # request points scored at once
SEEN = 1 << 22  # rated events of all requests of a chunk together
NOTHING_LIKED: Final = "no recalled list holds anything that was liked next: there is nothing to train the ranker on."


def ranker_of_lists(recipe: Recipe) -> ListsRecipe:
    """The recipe's ranker. Raises StepError when it is not trained on lists."""
    if not isinstance(recipe.ranker, ListsRecipe):
        raise StepError(
            f"recipe {recipe.name!r}: a ranker of kind {recipe.ranker.kind!r} is not trained on lists."
        )
    return recipe.ranker


@dataclass(frozen=True)
class ListsConfig:
    """Settings of the ranker's training lists: request points, fusion, history, labels."""

    seed: int  # of the request points
    past: float  # share of each user's events that the training channels know; requests come later
    stride: int  # events between requests
    weights: tuple[float, ...]  # of each channel in the fusion
    size: int  # candidates of a list
    history: int  # events the ranker sees
    horizon: int  # events after a request that say what was liked
    most: int  # requests; a return's copy years later is not counted
    statistics: tuple[str, ...] = ()  # of other packages
    share: float = 1.0  # of all requests, which is drawn; `limited` sets it

    @classmethod
    def of(cls, recipe: Recipe) -> Self:
        """Read them from a recipe. Raises StepError when its ranker is not trained on lists."""
        ranker = ranker_of_lists(recipe)
        weights = tuple(channel.fusion_weight for channel in recipe.recall.channels)
        names = ("past", "stride", "history", "horizon", "most", "statistics")
        requested = {name: getattr(ranker, name) for name in names}
        return cls(
            seed=ranker.seed + 1,
            weights=weights,
            size=recipe.recall.candidates,
            **requested,
        )

    def limited(self, past: Sequences) -> Self:
        """These settings, with the share that leaves some `most` of the requests of all users of ``past``."""
        every = sequences.request_points(
            past, self.stride, np.random.default_rng(self.seed)
        )
        later = len(replace(self, share=1.0).drawn(past, every))
        return replace(self, share=min(1.0, self.most / max(later, 1)))

    def requests(self, past: Sequences) -> Points:
        """Draw the request points of all users of ``past``; returns after a break come once more, years later."""
        rng = np.random.default_rng(self.seed)
        points = self.drawn(past, sequences.request_points(past, self.stride, rng))
        return sequences.augment_long_absences(past, points, rng)

    def drawn(self, past: Sequences, points: Points) -> Points:
        """Keep a share of the points after the part of each user's past that the training channels know.

        A hash of user and position draws them, so that parts of the users can be drawn apart.
        """
        later = points.positions >= past.earlier_lengths(self.past)[points.users]
        drawn = (
            pd.util.hash_array(
                (past.user_numbers[points.users] << 32) + points.positions
            )
            <= self.share * 2.0**64
        )
        return points.take(later & drawn)

    def recalled(
        self, past: Sequences, profiles: NDArray[np.int64], channels: Sequence[Channel]
    ) -> "Lists":
        """Recall the lists that hold something liked next. Raises StepError when no request's list does."""
        lists = recall_lists(
            past,
            self.limited(past).requests(past),
            profiles,
            channels,
            self,
            only_liked=True,
        )
        if not len(lists):
            raise StepError(NOTHING_LIKED)
        return lists


@dataclass(frozen=True)
class Lists:
    """m lists of c candidates; codes 0 pad lists that are shorter."""

    users: NDArray[np.int32]  # (m,) positions in ``Sequences.user_numbers``
    times: NDArray[np.int64]  # (m,) seconds of the request
    lengths: NDArray[np.int32]  # (m,) how much each user had rated at the request
    # (m, user statistics) of each user at the request, as `statistics.user_statistics_after` counts them
    statistics: NDArray[np.int64]
    # events, ratings, ages: (m, lags) history, newest first; ages in seconds
    events: NDArray[np.int32]
    ratings: NDArray[np.int8]
    ages: NDArray[np.int32]
    candidates: NDArray[np.int32]  # (m, c) codes in fused order
    # (m, c, candidate columns), half precision: they are most of the bytes
    features: NDArray[np.float16]
    # liked, disliked: (m, c) whether the candidate is among the next events, and how it was rated
    liked: NDArray[np.bool_]
    disliked: NDArray[np.bool_]

    def take(self, index: Ints | NDArray[np.bool_]) -> "Lists":
        return Lists(*(getattr(self, field.name)[index] for field in fields(self)))

    def __len__(self) -> int:
        return len(self.users)

    def table(self, user_numbers: Ints) -> pa.Table:
        """`artifacts.LISTS`: a row a list. ``user_numbers``: those of the past that the lists are of."""
        columns = {Columns.USER: pa.array(user_numbers[self.users].astype(np.int32))}
        for name in _PLAIN_COLUMNS:
            array = getattr(self, name)
            kind = pa.from_numpy_dtype(array.dtype)
            columns[name] = (
                pa.array(array, kind)
                if array.ndim == 1
                else pa.array(list(array), pa.list_(kind))
            )
        return pa.table(
            {
                **columns,
                "features": pa.array(
                    [row.tobytes() for row in self.features], pa.binary()
                ),
            }
        )

    @classmethod
    def of_table(cls, table: pa.Table, user_numbers: Ints) -> Self:
        """Inverse of `table`. Raises ValueError where a list is of none of the users, or two differ in size."""
        codes = Vocabulary(user_numbers).codes(table[Columns.USER].to_numpy())
        if not codes.any() or not codes.all():
            raise ValueError("these are no lists of these users")
        columns = {name: table[name].to_numpy() for name in _PLAIN_COLUMNS}
        columns = {
            name: np.stack(each) if each.dtype == object else each
            for name, each in columns.items()
        }
        features = np.stack(
            [np.frombuffer(each.as_buffer(), np.float16) for each in table["features"]]
        )
        shape = *columns["candidates"].shape, -1
        return cls(
            users=(codes - 1).astype(np.int32),
            features=features.reshape(shape),
            **columns,
        )


# fields stored as they are; users are stored as user_numbers, features as bytes of float16
_PLAIN_COLUMNS: Final = tuple(
    field.name for field in fields(Lists) if field.name not in ("users", "features")
)


def recall_lists(
    data: Sequences,
    points: Points,
    profiles: NDArray[np.int64],
    channels: Sequence[Channel],
    config: ListsConfig,
    only_liked: bool = False,
) -> Lists:
    """Search the channels, fuse and label: the list of every request point.

    Args:
        profiles: (users, fields) codes.
        only_liked: leave out the lists that hold nothing liked: a ranker learns nothing from them.
    """
    parts = []
    n_columns = len(candidate_columns([channel.name for channel in channels]))
    chunks = _chunks(points)

    def search(chunk: Points) -> tuple[Points, list[list[Hits]]]:
        """The hits of every channel, of each request."""
        found, seen = [], sequences.seen_before(data, chunk)
        for channel in channels:
            stored = (
                {channel.name: channel.users}
                if isinstance(channel, StoredVectors)
                else {}
            )
            scores = channel.scores(
                sequences.requests_at(data, chunk, profiles, channel.events, stored)
            )
            found.append(list(top_k(scores, config.size, *seen)))
        return chunk, found

    # one thread searches the next chunk's channels while this one fuses and labels
    searched = map(search, chunks)
    for chunk, searches in progress(
        prefetch(searched), desc="lists", unit="chunk", total=len(chunks)
    ):
        fused = [
            fuse(hits, config.weights, config.size)
            for hits in zip(*searches, strict=True)
        ]
        part = _labelled(data, chunk, fused, n_columns, config)
        parts.append(
            part.take(np.flatnonzero(part.liked.any(axis=1))) if only_liked else part
        )
    if not parts:
        return _labelled(data, points, [], n_columns, config)
    return Lists(
        *(
            np.concatenate([getattr(part, field.name) for part in parts])
            for field in fields(Lists)
        )
    )


def _labelled(
    data: Sequences,
    points: Points,
    fused: Sequence[Fused],
    n_columns: int,
    config: ListsConfig,
) -> Lists:
    """Label what was recalled at each point, by what came after it."""
    # candidates in fused order, (m, c), padded with 0
    candidates = np.zeros((len(points), config.size), dtype=np.int32)
    features = np.zeros((*candidates.shape, n_columns), dtype=np.float16)
    for row, found in enumerate(fused):
        candidates[row, : len(found.ids)] = found.ids
        features[row, : len(found.ids)] = found.features
    # which of them the user rated next, and how
    after, liked = sequences.next_events(data, points, config.horizon)  # (m, horizon)
    same = candidates[:, :, None] == after[:, None]  # (m, c, horizon)
    is_liked = (same & liked[:, None]).any(axis=2)
    is_bad = (same & ~(liked | (after == 0))[:, None]).any(axis=2)
    # what the request saw
    # (m, history)
    items, ratings, ages, _ = sequences.histories(data, points, config.history)
    return Lists(
        users=points.users.astype(np.int32),
        times=points.times,
        lengths=points.positions.astype(np.int32),
        statistics=user_statistics_after(
            data, points.users, points.positions, config.statistics
        ),
        events=items.astype(np.int32),
        ratings=ratings.astype(np.int8),
        ages=np.minimum(ages, np.iinfo(np.int32).max).astype(np.int32),
        candidates=candidates,
        features=features,
        liked=is_liked,
        disliked=is_bad & ~is_liked,  # a liked item that comes again is no dislike
    )


def _chunks(points: Points) -> list[Points]:
    """Split into chunks of at most `CHUNK` points and `SEEN` past events; a single point may have more of these."""
    begins, seen = [0], 0
    for n, events in enumerate(points.positions.tolist()):
        if n > begins[-1] and (n - begins[-1] == CHUNK or seen + events > SEEN):
            begins.append(n)
            seen = 0
        seen += events
    ends = [*begins[1:], len(points)]
    return [
        points.take(np.arange(begin, end))
        for begin, end in zip(begins, ends, strict=True)
        if end > begin
    ]


def sampled(lists: Lists, size: int, rng: np.random.Generator) -> tuple[Lists, Float32]:
    """Negative sampling: ``size`` candidates of each list, those that were liked and random others, in fused order.

    Also returns (m, size) log weights: the logarithm of how many candidates of the whole list each stands for. Disliked
    candidates and padding are taken last. A random candidate also stands for those not taken, so that a softmax over
    the sample, log weights added to the scores, estimates that over the list (Jean et al. 2015).
    """
    m, c = lists.candidates.shape
    size = min(size, c)
    left_out = lists.disliked | (lists.candidates == 0)
    # a random key each; the liked come first, what is left out comes last
    key = rng.random((m, c), dtype=np.float32)
    key[lists.liked] = -1
    key[left_out] = 1
    # (m, size) in fused order
    places = np.sort(np.argpartition(key, size - 1, axis=1)[:, :size], axis=1)
    is_random = ~(lists.liked | left_out)
    taken = np.take_along_axis(is_random, places, axis=1)
    stands_for = np.log(
        np.maximum(is_random.sum(axis=1), 1) / np.maximum(taken.sum(axis=1), 1)
    )
    columns = {
        name: np.take_along_axis(getattr(lists, name), places, axis=1)
        for name in ("candidates", "liked", "disliked")
    }
    features = np.take_along_axis(lists.features, places[:, :, None], axis=1)
    log_weights = np.where(taken, stands_for[:, None], 0).astype(np.float32)
    return replace(lists, features=features, **columns), log_weights


@dataclass(frozen=True, eq=False)
class StoredFeatures:
    """Contents of a feature store at the end of a past, and the spec that encodes them.

    Users' statistics are not included: `Lists.statistics` has them, as they stood at each request.
    """

    spec: FeatureSpec
    columns: tuple[str, ...]  # names of `Lists.features`
    profile: Mapping[str, NDArray[Any]]  # name -> (users,) raw values
    items: Encoded  # items + 1; code c is row c, row 0 is padding

    @classmethod
    def of(
        cls, past: Sequences, inputs: Inputs, spec: FeatureSpec, recipe: Recipe
    ) -> Self:
        """Profiles, and the items' statistics as they stand after ``past``."""
        counted = item_statistics(past, inputs, ranker_of_lists(recipe).statistics)
        items = Encoded.joined(
            [Encoded.none(spec.of("item"), 1), spec.encode("item", _columns(counted))]
        )
        channels = [channel.name for channel in recipe.recall.channels]
        return cls(spec, candidate_columns(channels), _columns(inputs.users), items)

    def inputs(self, lists: Lists) -> ModelInputs:
        """The network's inputs for m lists of c candidates: (m, c, columns) rows, (m, events, `HISTORY`) histories."""
        counted = [
            feature.name for feature in self.spec.dense if feature.entity == "user"
        ]
        statistics = dict(zip(counted, lists.statistics.T, strict=True))
        profile = {name: values[lists.users] for name, values in self.profile.items()}
        users = self.spec.encode("user", profile | statistics)
        recalled = self.spec.encode_candidates(self.columns, lists.features)
        rows = self.spec.assemble(
            users[:, None], self.items[lists.candidates], lists.times[:, None], recalled
        )
        return ModelInputs(
            rows, self.spec.encode_events(lists.events, lists.ratings, lists.ages)
        )


def _columns(frame: pd.DataFrame) -> dict[str, NDArray[Any]]:
    return {str(name): column.to_numpy() for name, column in frame.items()}


def prefetch(items: Iterator[Item]) -> Generator[Item, None, None]:
    """Prefetch: make the next item in another thread while the current one is used. None as an item ends the iteration.

    An exception is raised where its item would be used. A caller that stops early waits for the item being made.
    """
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = pool.submit(next, items, None)
            yield item
