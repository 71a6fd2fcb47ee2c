"""The cut between the past that recommenders may know and the holdout, and what is recommended at the cut."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Self, TypeVar

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from data_exchange_center import dataset, history
from data_exchange_center.channels import BREAK_S
from offline.data.sequences import Ints, Sequences
from offline.data.split import holdout_sizes
from offline.evaluation import metrics
from offline.evaluation.metrics import Floats, Lists

Number = TypeVar("Number", np.int64, np.float64)
SHOWN = 200  # items of the longest list that the server returns


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
        unjudged = metrics.hits(lists, unseen) & ~metrics.hits(lists, self.relevance)
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
