"""Evaluate next-basket recommendation, as the literature does: ``make evaluate-baskets``.

The target is the last basket of every user with at least two before it; everything is fitted on what precedes it.
Baselines are the personal top and TIFU-KNN (Hu et al., "Modeling Personalized Item Frequency Information for
Next-basket Recommendation", SIGIR 2020), fitted here on the same baskets.

Published figures are of the same log without items that were bought fewer than nine times; here all count.

Reads:  the artifacts of `make offline` of a data set with ``[holdout] basket = true``
Writes: pic/figures/baskets_<data set>.json; of a data set of yours offline/evaluation/ in the exchange folder
Run:    python -m research.measure.next_basket
Expect: Ta Feng: recall@10 above 0.145 and NDCG@10 above 0.13; a few minutes
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from data_exchange_center import plugins
from data_exchange_center.release_parts import release_of_artifacts
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError, run
from extras import comparison, replay
from extras.comparison import Floats
from extras.replay import Holdout, Lists
from offline.data.sequences import Ints, Sequences
from offline.readers import read_with_holdout
from research import figures
from research.evaluation.baselines import best_unseen
from research.evaluation.metrics import recall
from research.figures import plain

log = logging.getLogger(__name__)

LEAST: Final = 2  # baskets before the target
SIZES: Final = (10, 20)
CHUNK: Final = 1000  # users at once
PERSONAL, TIFU, RANKED = "personal top", "TIFU-KNN", "ranked"
# TIFU-KNN's metrics, by its authors
PUBLISHED: Final = {
    "recall@10": 0.130,
    "ndcg@10": 0.101,
    "recall@20": 0.181,
    "ndcg@20": 0.121,
}
# TIFU-KNN's values for Ta Feng, by its authors
NEIGHBOURS: Final = 300  # nearest users, by Euclidean distance
GROUPS: Final = 7  # of a user's baskets
WITHIN: Final = 0.9  # weight of a basket within its group, for each basket since
BETWEEN: Final = 0.7  # weight of a group, for each group since
OWN: Final = 0.7  # weight of the user's own vector; the rest is the neighbours'


# --- Baselines


def baskets(data: Sequences) -> tuple[Ints, Ints]:
    """(events,) number of each event's basket among its user's, from 0; (users,) how many baskets each user has."""
    users = data.users
    begins = np.ones(len(users), dtype=np.int64)
    begins[1:] = (users[1:] != users[:-1]) | (data.times[1:] != data.times[:-1])
    counts = np.bincount(users, begins, data.n_users).astype(np.int64)
    first = np.concatenate([[0], np.cumsum(counts)[:-1]])
    return np.cumsum(begins) - 1 - first[users], counts


def frequencies(data: Sequences, weights: Floats) -> sp.csr_matrix:
    """(users, items + 1) sums of the events' weights."""
    pairs = (weights.astype(np.float32), (data.users, data.items))
    return sp.csr_matrix(pairs, shape=(data.n_users, data.n_items + 1))


def tifu(data: Sequences, rows: Ints) -> sp.csr_matrix:
    """TIFU-KNN: (rows, items + 1) scores of some users.

    A user's vector is the mean over up to `GROUPS` groups of baskets, each a mean over its baskets.
    """
    number, counts = baskets(data)
    count = counts[data.users]
    few = count < GROUPS  # of so few baskets each is a group
    size = np.maximum(count // GROUPS, 1)
    larger = count % GROUPS  # the last groups, so many, hold one basket more
    in_smaller = (GROUPS - larger) * size  # baskets in the groups before them
    smaller = number < in_smaller
    group_of_larger = (number - in_smaller) // (size + 1) + GROUPS - larger
    group = np.where(few, number, np.where(smaller, number // size, group_of_larger))
    in_group = np.where(few, 1, np.where(smaller, size, size + 1))
    recency = WITHIN ** (count - 1 - number) * BETWEEN ** (GROUPS - 1 - group)
    vectors = frequencies(data, recency / in_group / np.minimum(count, GROUPS))
    neighbours = [
        mean_of_nearest(vectors[rows[begin : begin + CHUNK]], vectors)
        for begin in range(0, len(rows), CHUNK)
    ]
    return sp.csr_matrix(OWN * vectors[rows] + (1 - OWN) * sp.vstack(neighbours))


def mean_of_nearest(some: sp.csr_matrix, vectors: sp.csr_matrix) -> sp.csr_matrix:
    """The mean vector of the `NEIGHBOURS` users nearest to each of some."""
    known = vectors[np.diff(vectors.indptr) > 0]
    n = min(NEIGHBOURS, known.shape[0])
    lengths = np.asarray(known.multiply(known).sum(axis=1)).ravel()
    # but for the user's own length, which changes no order
    distances = lengths - 2 * (some @ known.T).toarray()
    nearest = np.argpartition(distances, n - 1, axis=1)[:, :n]
    share = np.full(nearest.size, 1 / n, np.float32)
    ends = np.arange(0, nearest.size + 1, n)
    chosen = sp.csr_matrix(
        (share, nearest.ravel(), ends), shape=(len(nearest), known.shape[0])
    )
    return sp.csr_matrix(chosen @ known)


def best(
    holdout: Holdout, rows: Ints, scores: sp.csr_matrix, ties: Floats | float = 0.0
) -> Lists:
    """(users, k) codes, best first, of some users; 0 for the others. ``ties``: (items + 1,) added to the scores."""
    left_out = holdout.past.left_out()[rows]
    lists = np.zeros((holdout.past.n_users, max(SIZES)), np.int64)
    for begin in range(0, len(rows), CHUNK):
        part = slice(begin, begin + CHUNK)
        dense = scores[part].toarray() + ties
        lists[rows[part]] = best_unseen(dense, left_out[part], max(SIZES))
    return lists


# --- What is measured


def evaluated(holdout: Holdout) -> NDArray[np.bool_]:
    """(users,) True for those with a target and enough baskets before it."""
    _, counts = baskets(holdout.known)
    return (counts >= LEAST) & (np.diff(holdout.relevance.indptr) > 0)


def measured(
    holdout: Holdout, lists: Lists, users: NDArray[np.bool_]
) -> dict[str, Floats]:
    """Metric -> (users,) values; recall of what was had before and of what is new, of users who have such targets."""
    found: dict[str, Floats] = {}
    for k in SIZES:
        found[f"recall@{k}"] = recall(lists, holdout.relevance, k)[users]
        found[f"ndcg@{k}"] = replay.ndcg(lists, holdout.relevance, k)[users]
    had = sp.csr_matrix(holdout.relevance.multiply(holdout.known.seen()))
    new = sp.csr_matrix(holdout.relevance - had)
    new.eliminate_zeros()
    found["recall@10, had before"] = recall(lists, had, 10)[users]
    found["recall@10, new to the user"] = recall(lists, new, 10)[users]
    return found


def means(found: Mapping[str, Floats]) -> dict[str, float]:
    return {name: float(np.nanmean(values)) for name, values in found.items()}


def evaluate(settings: Settings) -> dict[str, Any]:
    """The released recipe by exact search, and the baselines.

    Raises StepError where the data set does not hold out last baskets.
    """
    inputs = read_with_holdout(settings)
    if not inputs.dataset.holdout.basket:
        raise StepError(
            "This data set does not hold out the last basket: [holdout] basket = true in its dataset.toml."
        )
    holdout = replay.hold_out(inputs.data, inputs.dataset.holdout)
    users = evaluated(holdout)
    rows = np.flatnonzero(users)
    log.info("%s users", f"{users.sum():,}")
    answers = replay.answers(settings, holdout)
    log.info("baselines")
    own = frequencies(holdout.past, np.ones(len(holdout.past.items)))[rows]
    popularity = np.bincount(holdout.past.items, minlength=holdout.past.n_items + 1)
    # below one: it orders what was had equally often
    popularity = popularity / (popularity.max() + 1)
    lists = {
        "popularity": best(holdout, rows, 0 * own, popularity),
        PERSONAL: best(holdout, rows, own, popularity),
        TIFU: best(holdout, rows, tifu(holdout.past, rows)),
        "recall": answers.fused,
        RANKED: answers.ranked,
    }
    found = {
        name: measured(holdout, holdout.judged(each), users)
        for name, each in lists.items()
    }
    against = {}
    for other in (PERSONAL, TIFU, "recall"):
        ours, theirs = found[RANKED], found[other]
        against[other] = {
            name: comparison.compare(ours[name], theirs[name]) for name in theirs
        }
    had = holdout.relevance.multiply(holdout.known.seen()).tocsr()[users].nnz
    return plain(
        {
            **figures.head("make evaluate-baskets", settings, settings.recipe),
            "release": release_of_artifacts(settings).release,
            "users": int(users.sum()),
            "share of the targets that were had before": had
            / holdout.relevance[users].nnz,
            "published": PUBLISHED,
            "table": {name: means(values) for name, values in found.items()},
            "ranked against": against,
        }
    )


# --- The command


def main(settings: Settings) -> None:
    found = evaluate(settings)
    published = found["dataset"] in plugins.find(plugins.DATASETS)
    folder = figures.FIGURES if published else settings.offline_dir / "evaluation"
    figures.write(folder / f"baskets_{found['dataset']}.json", found)
    figures.show(found["table"])


if __name__ == "__main__":
    run(main, about=__doc__)
