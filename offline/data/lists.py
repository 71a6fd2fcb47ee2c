"""The ranker's training data: lists that recall would have returned at request points, labelled, and its inputs.

In the order in which it is made: which requests (`training_requests`), what recall finds there (`recall_lists`), what a
batch is drawn from them (`sampled`), and the model's inputs (`StoredFeatures`), by the functions that the server calls.
"""

from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from typing import Any, Final, Self, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from data_exchange_center import event_types
from data_exchange_center.channels import Channel
from data_exchange_center.columns import Columns
from data_exchange_center.features import Encoded, FeatureSpec, Float32, ModelInputs
from data_exchange_center.fusion import Hits, Vocabulary, candidate_columns, fuse
from data_exchange_center.recipes import ListsRecipe, Recipe
from data_exchange_center.steps import StepError, progress
from data_exchange_center.top_k import top_k
from offline.data import sequences
from offline.data.sequences import Bools, Inputs, Ints, Points, Sequences
from offline.data.statistics import item_statistics, user_statistics_after
from offline.data.terms import arrays_of

Item = TypeVar("Item")

CHUNK = 512  # request points scored at once
SEEN = 1 << 22  # rated events of all requests of a chunk together


def ranker_of_lists(recipe: Recipe) -> ListsRecipe:
    """The recipe's ranker. Raises StepError when it is not trained on lists."""
    if not isinstance(recipe.ranker, ListsRecipe):
        raise StepError(
            f"recipe {recipe.name!r}: a ranker of kind {recipe.ranker.kind!r} is not trained on lists."
        )
    return recipe.ranker


@dataclass(frozen=True)
class Lists:
    """m lists of c candidates; codes 0 pad lists that are shorter."""

    users: NDArray[np.int32]  # (m,) positions in ``Sequences.user_numbers``
    times: Ints  # (m,) seconds of the request
    lengths: NDArray[np.int32]  # (m,) how much each user had rated at the request
    # (m, user statistics) of each user at the request, as `statistics.user_statistics_after` counts them
    statistics: Ints
    # events, ratings, ages: (m, lags) history, newest first; ages in seconds
    events: NDArray[np.int32]
    ratings: NDArray[np.int8]
    ages: NDArray[np.int32]
    candidates: NDArray[np.int32]  # (m, c) codes in fused order
    # (m, c, candidate columns), half precision: they are most of the bytes
    features: NDArray[np.float16]
    # liked, disliked: (m, c) whether the candidate is among the next events, and how it was rated
    liked: NDArray[Any]  # integers of bits after `by_objective`
    disliked: Bools

    def take(self, index: Ints | Bools) -> "Lists":
        return Lists(*(getattr(self, field.name)[index] for field in fields(self)))

    def __len__(self) -> int:
        return len(self.users)

    def table(self, user_numbers: Ints) -> pa.Table:
        """`artifacts.LISTS`: a row a list. ``user_numbers``: those of the past that the lists are of."""
        users = user_numbers[self.users].astype(np.int32)
        columns: dict[str, Any] = {Columns.USER: users}
        for name in _PLAIN_COLUMNS:
            columns[name] = pa.array(list(getattr(self, name)))
        columns["features"] = [row.tobytes() for row in self.features]
        return pa.table(columns)

    @classmethod
    def of_table(cls, table: pa.Table, user_numbers: Ints) -> Self:
        """Inverse of `table`."""
        codes = Vocabulary(user_numbers).codes(table[Columns.USER].to_numpy())
        columns = {}
        for name in _PLAIN_COLUMNS:
            column = table[name].to_numpy()
            columns[name] = np.stack(column) if column.dtype == object else column
        features = [
            np.frombuffer(row, np.float16) for row in table["features"].to_pylist()
        ]
        shape = *columns["candidates"].shape, -1
        return cls(
            users=(codes - 1).astype(np.int32),
            features=np.stack(features).reshape(shape),
            **columns,
        )


# fields stored as they are; users are stored as user_numbers, features as bytes of float16
_PLAIN_COLUMNS: Final = tuple(
    field.name for field in fields(Lists) if field.name not in ("users", "features")
)


# --- Lists that recall would have returned


def training_lists(
    past: Sequences, profiles: Ints, channels: Sequence[Channel], recipe: Recipe
) -> Lists:
    """Lists that hold something liked next: what a ranker of lists is trained on.

    Raises StepError when no request's list does, or when the ranker is not trained on lists.
    """
    points = training_requests(past, ranker_of_lists(recipe))
    if len(points):
        lists = recall_lists(past, points, profiles, channels, recipe)
        with_likes = np.flatnonzero(lists.liked.any(axis=1))
        if len(with_likes):
            return lists.take(with_likes)
    raise StepError(
        "no recalled list holds anything that was liked next: there is nothing to train the ranker on."
    )


def training_requests(past: Sequences, ranker: ListsRecipe) -> Points:
    """Draw request points after the part of each user's past that the training channels know.

    Of more than ``ranker.most`` about so many are drawn. Returns after a break come once more, years later.
    """
    rng = np.random.default_rng(ranker.seed + 1)
    points = sequences.request_points(past, ranker.stride, rng)
    points = points.take(
        points.positions >= past.earlier_lengths(ranker.past)[points.users]
    )
    share = ranker.most / max(len(points), 1)
    keys = (past.user_numbers[points.users] << 32) + points.positions
    points = points.take(pd.util.hash_array(keys) <= share * 2.0**64)
    return sequences.augment_long_absences(past, points, rng)


def recall_lists(
    data: Sequences,
    points: Points,
    profiles: Ints,
    channels: Sequence[Channel],
    recipe: Recipe,
) -> Lists:
    """Search the channels, fuse and label: the list of every request point, of which there is at least one.

    ``profiles``: (users, fields) codes.
    """
    size = recipe.recall.candidates
    weights = [channel.fusion_weight for channel in recipe.recall.channels]
    columns = candidate_columns([channel.name for channel in channels])

    def search(chunk: Points) -> tuple[Points, list[list[Hits]]]:
        """The hits of every channel, of each request."""
        found, seen = [], sequences.seen_before(data, chunk)
        for channel in channels:
            requests = sequences.requests_at(data, chunk, profiles, channel)
            found.append(list(top_k(channel.scores(requests), size, *seen)))
        return chunk, found

    # one thread searches the next chunk's channels while this one fuses and labels
    parts, chunks = [], _chunks(points)
    searched = prefetch(map(search, chunks))
    for chunk, hits in progress(
        searched, desc="lists", unit="chunk", total=len(chunks)
    ):
        # in fused order, padded with 0
        candidates = np.zeros((len(chunk), size), np.int32)
        features = np.zeros((len(chunk), size, len(columns)), np.float16)
        for row, each in enumerate(zip(*hits, strict=True)):
            fused = fuse(each, weights, size)
            candidates[row, : len(fused.ids)] = fused.ids
            features[row, : len(fused.ids)] = fused.features
        ranker = ranker_of_lists(recipe)
        parts.append(_labelled(data, chunk, candidates, features, ranker))
    return Lists(
        *(
            np.concatenate([getattr(part, field.name) for part in parts])
            for field in fields(Lists)
        )
    )


def _chunks(points: Points) -> list[Points]:
    """Split into chunks of at most `CHUNK` points and `SEEN` past events; a single point may have more of these."""
    begins, seen = [0], 0
    for n, events in enumerate(points.positions.tolist()):
        if n > begins[-1] and (n - begins[-1] == CHUNK or seen + events > SEEN):
            begins.append(n)
            seen = 0
        seen += events
    return [
        points.take(index) for index in np.split(np.arange(len(points)), begins[1:])
    ]


def _labelled(
    data: Sequences,
    points: Points,
    candidates: NDArray[np.int32],
    features: NDArray[np.float16],
    ranker: ListsRecipe,
) -> Lists:
    """Label what was recalled at each point, (m, c), by what came after it."""
    # which of them the user rated next, and how
    # (m, horizon)
    after, liked, _ = sequences.next_events(data, points, ranker.horizon)
    disliked = ~liked & (after > 0)
    same = candidates[:, :, None] == after[:, None]  # (m, c, horizon)
    is_liked = (same & liked[:, None]).any(axis=2)
    is_disliked = (same & disliked[:, None]).any(axis=2)
    # what the request saw, (m, history) each
    items, ratings, ages = sequences.histories(data, points, ranker.history)
    return Lists(
        users=points.users.astype(np.int32),
        times=points.times,
        lengths=points.positions.astype(np.int32),
        statistics=user_statistics_after(
            data, points.users, points.positions, ranker.statistics
        ),
        events=items.astype(np.int32),
        ratings=ratings.astype(np.int8),
        ages=np.minimum(ages, np.iinfo(np.int32).max).astype(np.int32),
        candidates=candidates,
        features=features,
        liked=is_liked,
        # a liked item that comes again is no dislike
        disliked=is_disliked & ~is_liked,
    )


def by_objective(lists: Lists, past: Sequences, horizon: int) -> Lists:
    """Lists whose ``liked`` is an integer with a bit for each target type: whether such an event came next."""
    n_targets = len(event_types.targets(past.types))
    liked = np.zeros(lists.candidates.shape, np.int16)
    positions = lists.lengths.astype(np.int64)
    points = Points(lists.users.astype(np.int64), positions, lists.times)
    for begin in range(0, len(lists), CHUNK):
        part = slice(begin, begin + CHUNK)
        of_part = points.take(np.arange(len(lists))[part])
        after, is_target, codes = sequences.next_events(past, of_part, horizon)
        bits = codes - 1 - (len(past.types) - n_targets)  # (m, horizon)
        for bit in range(n_targets):
            came = np.where(is_target & (bits == bit), after, -1)
            same = lists.candidates[part, :, None] == came[:, None]  # (m, c, horizon)
            liked[part] |= same.any(axis=2).astype(np.int16) << bit
    return replace(lists, liked=liked)


# --- What a network reads of them


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
    is_liked = lists.liked > 0  # of `by_objective`, too
    key[is_liked] = -1
    key[left_out] = 1
    places = np.argpartition(key, size - 1, axis=1)[:, :size]
    places.sort(axis=1)  # (m, size) in fused order
    rows = np.arange(m)[:, None]

    is_random = ~(is_liked | left_out)
    taken = is_random[rows, places]
    of_list, of_sample = (
        np.maximum(each.sum(axis=1), 1) for each in (is_random, taken)
    )
    stands_for = np.log(of_list / of_sample)
    log_weights = np.where(taken, stands_for[:, None], 0).astype(np.float32)
    columns = {
        name: getattr(lists, name)[rows, places]
        for name in ("candidates", "features", "liked", "disliked")
    }
    return replace(lists, **columns), log_weights


@dataclass(frozen=True, eq=False)
class StoredFeatures:
    """Contents of a feature store at the end of a past, and the spec that encodes them.

    Users' statistics are not included: `Lists.statistics` has them, as they stood at each request.
    """

    spec: FeatureSpec
    profile: Mapping[str, NDArray[Any]]  # name -> (users,) raw values
    items: Encoded  # items + 1; code c is row c, row 0 is padding

    @classmethod
    def of(
        cls, past: Sequences, inputs: Inputs, spec: FeatureSpec, ranker: ListsRecipe
    ) -> Self:
        """Profiles, and the items' statistics as they stand after ``past``."""
        counted = item_statistics(past, inputs, ranker.statistics)
        items = spec.encode("item", arrays_of(counted))
        padding = Encoded.none(spec.of("item"), 1)
        profile = arrays_of(inputs.users)
        return cls(spec, profile, Encoded.joined([padding, items]))

    def inputs(self, lists: Lists) -> ModelInputs:
        """The network's inputs for m lists of c candidates: (m, c, columns) rows, (m, events, `HISTORY`) histories."""
        raw = {name: values[lists.users] for name, values in self.profile.items()}
        counted = [each for each in self.spec.dense if each.entity == "user"]
        for feature, values in zip(counted, lists.statistics.T, strict=True):
            raw[feature.name] = values
        rows = self.spec.assemble(
            self.spec.encode("user", raw)[:, None],
            self.items[lists.candidates],
            lists.times[:, None],
            lists.features.astype(np.float32),
        )
        history = self.spec.encode_events(lists.events, lists.ratings, lists.ages)
        return ModelInputs(rows, history)


def prefetch(items: Iterator[Item]) -> Generator[Item, None, None]:
    """Prefetch: make the next item in another thread while the current one is used. None as an item ends the iteration.

    An exception is raised where its item would be used. A caller that stops early waits for the item being made.
    """
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = pool.submit(next, items, None)
            yield item
