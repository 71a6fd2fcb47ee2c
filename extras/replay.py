"""Replay requests of the past: what the artifacts answer at a moment, and how good that was.

A `Holdout` is the cut between the past that recommenders may know and what they are judged by. `answers` recommends
from a recipe's artifacts at the cut, by exact search: vectors, fusion and the ranker's rows come from the functions
that the server calls. The search differs, and a list is filled up only where recall finds nothing; the server fills up
to the size that a request asks for.

Lists are (users, k) item codes, best first, 0 where a list is shorter. Relevance is (users, items + 1), sparse, 1 where
a user liked an item in the held-out part.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self, TypeVar

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from data_exchange_center import artifacts, candidates, dataset, fusion, history, steps
from data_exchange_center.channels import BREAK_S
from data_exchange_center.columns import Columns
from data_exchange_center.exact import ExactItems
from data_exchange_center.filling import fill_up
from data_exchange_center.release_parts import (
    UserRow,
    read_channels,
    read_exact_items,
    read_users,
)
from data_exchange_center.settings import Settings
from extras.comparison import Floats
from offline.data.sequences import Ints, Sequences
from offline.data.split import holdout_sizes
from offline.offline_ranker import OfflineRanker

Lists = NDArray[np.int64]
Number = TypeVar("Number", np.int64, np.float64)
SHOWN = 200  # items of the longest list that the server returns
CHUNK = 16  # users at once


# --- The cut


@dataclass(frozen=True)
class Holdout:
    """The past that systems may know, and the part that evaluation alone reads.

    A request sees the past as of its second. An item rated in that same second before the held-out part is neither
    known nor a target: `judged` takes it off the lists.
    """

    past: Sequences  # all events before the held-out part: what models are fitted on
    known: Sequences  # those of them that the user's request sees
    # (users, items + 1) targets: 1 where a user liked a held-out item, a new one unless repeats are allowed
    relevance: sp.csr_matrix
    # (users, items + 1) 1 where a user rated such an item and never liked it
    disliked: sp.csr_matrix
    # (users, items + 1) targets of users without a past; kept apart from `relevance`, so that no mean counts them
    cold: sp.csr_matrix
    # (users,) seconds of the request, by `holdout_of` those of the first held-out rating
    times: Ints

    def at(self, times: Ints) -> Self:
        """The same targets, for requests at ``times`` (users,), none before those of `holdout_of`."""
        return replace(self, known=as_of(self.past, times), times=times)

    @property
    def returning(self) -> NDArray[np.bool_]:
        """(users,) who come back after a break: with a past that the request knows, and none of it newer."""
        return (self.known.lengths > 0) & (gaps(self.past, self.times) >= BREAK_S)

    def judged(self, lists: Lists) -> Lists:
        """(users, k) without what is neither known nor a target; 0 pads."""
        return kept(lists, self.judges(lists), 0)

    def judges(self, lists: Lists) -> NDArray[np.bool_]:
        """(users, k) whether an item is judged: it is known, or a target."""
        unseen = without(self.past.seen(), self.known.seen())
        unjudged = hits(lists, unseen) & ~hits(lists, self.relevance)
        return (lists > 0) & ~unjudged


def as_of(data: Sequences, times: Ints) -> Sequences:
    """Events that a request of each user at ``times`` (users,) sees."""
    return data.select(history.visible_at(data.times, times[data.users]))


def gaps(past: Sequences, times: Ints) -> Ints:
    """(users,) seconds from each user's newest event to ``times``; all of ``times`` where there is none."""
    newest, there = np.zeros(past.n_users, dtype=np.int64), past.lengths > 0
    newest[there] = past.times[past.starts[1:][there] - 1]
    return times - newest


def hold_out(data: Sequences, rule: dataset.HoldoutRule) -> Holdout:
    """Hold out each user's last events, as many as ``rule`` says."""
    sizes = holdout_sizes(rule, data.lengths, data.newest)
    return holdout_of(data.before_last(sizes), data.last(sizes))


def holdout_of(past: Sequences, future: Sequences) -> Holdout:
    """Make a `Holdout` of events before and from the request on."""
    times, requested = np.zeros(past.n_users, dtype=np.int64), future.lengths > 0
    times[requested] = future.times[future.starts[:-1][requested]]
    known = as_of(past, times)
    has_past = known.lengths > 0
    liked = without(future.select(future.liked).seen(), past.left_out())
    disliked = without(future.select(~future.liked).seen(), past.left_out() + liked)
    return Holdout(
        past=past,
        known=known,
        relevance=only(liked, has_past[:, None]),
        disliked=only(disliked, has_past[:, None]),
        cold=only(liked, ~has_past[:, None]),
        times=times,
    )


def kept(
    rows: NDArray[Number], keep: NDArray[np.bool_], padding: float
) -> NDArray[Number]:
    """(users, k) the kept entries, moved to the beginning of each row."""
    order = np.argsort(~keep, axis=1, kind="stable")
    moved: NDArray[Number] = np.take_along_axis(
        np.where(keep, rows, padding), order, axis=1
    ).astype(rows.dtype)
    return moved


def only(pairs: sp.csr_matrix, there: NDArray[np.bool_]) -> sp.csr_matrix:
    """(users, items + 1) pairs of some users, ``there`` (users, 1), or of some items, (1, items + 1)."""
    left = sp.csr_matrix(pairs.multiply(there.astype(np.float32)))
    left.eliminate_zeros()
    return left


def without(pairs: sp.csr_matrix, others: sp.csr_matrix) -> sp.csr_matrix:
    """0/1 matrices: the first where the second is 0."""
    return sp.csr_matrix(pairs > others, dtype=np.float32)


# --- How good lists are


def hits(lists: Lists, relevance: sp.csr_matrix) -> NDArray[np.bool_]:
    """(users, k) whether the user liked the item at each rank."""
    liked = sp.csr_matrix(relevance[np.arange(len(lists))[:, None], lists]).toarray()
    found: NDArray[np.bool_] = (liked > 0) & (lists > 0)
    return found


def liked_counts(relevance: sp.csr_matrix) -> Floats:
    """(users,) liked items; NaN where there is none."""
    counts = np.diff(relevance.indptr).astype(np.float64)
    counts[counts == 0] = np.nan
    return counts


def ndcg(lists: Lists, relevance: sp.csr_matrix, k: int) -> Floats:
    """Discounted cumulative gain, binary, over that of the best list of length ``k`` (Jarvelin & Kekalainen 2002)."""
    discount = 1 / np.log2(np.arange(k) + 2)
    best = np.concatenate([[0], np.cumsum(discount)])
    counts = liked_counts(relevance)
    ideal = best[np.minimum(np.nan_to_num(counts), k).astype(int)]
    gain = hits(lists[:, :k], relevance) @ discount[: lists.shape[1]]
    values: Floats = np.divide(
        gain, ideal, out=np.full(len(gain), np.nan), where=ideal > 0
    )
    return values


# --- What the artifacts answer


@dataclass(frozen=True)
class Answers:
    """Answers of a recommender for every user: item codes, best first, 0 where a list is shorter."""

    channels: Mapping[str, Lists]  # name -> (users, candidates) of each recall channel
    fused: Lists  # (users, candidates) of all channels, in recall's order
    ranked: Lists  # (users, candidates; of a server `SHOWN` or fewer) the best of these, in the ranker's order
    scores: Floats  # the ranker's, parallel to ``ranked``

    def shown(self) -> Self:
        """The same with no more ranked items than the server returns."""
        return replace(
            self, ranked=self.ranked[:, :SHOWN], scores=self.scores[:, :SHOWN]
        )


Answerer = Callable[[Holdout], Answers]  # queries a running server for every user


def answers(
    settings: Settings,
    holdout: Holdout,
    *,
    stored_events: bool = True,
    objectives: Sequence[float] | None = None,
) -> Answers:
    """Every user's lists for a request at the holdout's times. Raises ArtifactError when a file is absent.

    Args:
        stored_events: as in `users_at`.
        objectives: weights of the ranker's outputs; None: the release's.
    """
    folder, recipe, past = settings.artifacts_dir, settings.recipe.recall, holdout.past
    users = users_at(folder, holdout, stored_events=stored_events)
    index, ranker, channels = (
        read_exact_items(folder),
        OfflineRanker.read(folder),
        read_channels(folder),
    )
    if objectives is not None:
        ranker.model.weights = objectives
    popular = artifacts.POPULAR.read(folder)[Columns.ITEM].to_numpy()
    codes = fusion.Vocabulary(past.item_numbers).codes
    names = [channel.name for channel in recipe.channels]
    lists = {
        name: np.zeros((past.n_users, recipe.candidates), np.int64)
        for name in (*names, "fused", "ranked")
    }
    scores = np.full((past.n_users, recipe.candidates), np.nan)
    for start in steps.progress(
        range(0, past.n_users, CHUNK), desc="answers", unit="chunk"
    ):
        rows = slice(start, start + CHUNK)
        requests = list(zip(users[rows], holdout.times[rows].tolist(), strict=True))
        queries = [
            candidates.ItemQuery(
                "",
                recipe,
                candidates.search_vectors(recipe, channels, user, second),
                user.terms,
                user.seen,
            )
            for user, second in requests
        ]
        for row, ((user, second), hits) in enumerate(
            zip(requests, searched(index, queries), strict=True), start
        ):
            found = candidates.fused_lists(
                recipe, candidates.channel_lists(recipe, channels, user, second, hits)
            )
            if not len(found.item_numbers):
                found = fill_up(recipe, found, popular, user)
            rated = ranker.scores(ranker.inputs(user, found, second))
            # ties by id, as the server breaks them
            order = np.lexsort((found.item_numbers, -rated))
            parts = {name: hits.ids for name, hits in found.by_channel.items()}
            for name, items in (
                parts
                | {"fused": found.item_numbers, "ranked": found.item_numbers[order]}
            ).items():
                lists[name][row, : len(items)] = codes(items)
            scores[row, : len(order)] = rated[order]
    return Answers(
        {name: lists[name] for name in names}, lists["fused"], lists["ranked"], scores
    )


def users_at(folder: Path, holdout: Holdout, *, stored_events: bool) -> list[UserRow]:
    """Each user's stored state as the holdout's request sees it.

    ``stored_events``: True: the history is the stored one; False: all events that the holdout knows, stored or not.
    """
    past, known, left_out = holdout.past, holdout.known, holdout.known.left_out()
    stored = {user.number: user for user in read_users(folder)}
    seen = np.split(past.item_numbers[left_out.indices - 1], left_out.indptr[1:-1])
    columns = (past.item_numbers[known.items - 1], known.ratings, known.times)
    events = zip(
        *(np.split(column, known.starts[1:-1]) for column in columns), strict=True
    )
    users = []
    numbers, seconds = past.user_numbers.tolist(), holdout.times.tolist()
    for number, second, items, rated in zip(
        numbers, seconds, seen, events, strict=True
    ):
        stored_history = stored[number].history.as_of(second)
        known_history = (
            stored_history
            if stored_events
            else history.History(*(part[::-1] for part in rated))
        )
        users.append(
            replace(stored[number], history=known_history, seen=items.astype(np.int32))
        )
    return users


def searched(
    index: ExactItems, queries: Sequence[candidates.ItemQuery]
) -> list[dict[str, fusion.Hits]]:
    """Exact search of many queries at once, in single precision: for each, the hits of every searched channel."""
    by_query: list[dict[str, fusion.Hits]] = [{} for _ in queries]
    allowed = [index.allowed(query) for query in queries]
    for channel in queries[0].recall.vector_channels:
        items = index.vectors[channel.name]  # (n, dim)
        nothing = np.full(items.shape[1], np.nan, np.float32)
        vectors = np.stack(
            [query.vectors.get(channel.name, nothing) for query in queries]
        )  # (m, dim)
        for found, query, there, products in zip(
            by_query, queries, allowed, vectors @ items.T, strict=True
        ):
            scores = index.scores(channel, query, products, there).astype(np.float32)
            size = query.recall.candidates
            found[channel.name] = index.best(scores, there, size)
    return by_query
