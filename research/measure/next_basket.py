"""Evaluate next-basket recommendation, as the literature does: ``make evaluate-baskets``.

The target is the last basket of every user with at least two before it; everything is fitted on what precedes it.
Baselines are the personal top and TIFU-KNN (Hu et al., "Modeling Personalized Item Frequency Information for
Next-basket Recommendation", SIGIR 2020), fitted here on the same baskets.

Published figures are of the same log without items that were bought fewer than nine times; here all count.

Reads:  the artifacts of `make offline` of a data set with ``[holdout] basket = true``; with --server the server
Writes: pic/figures/baskets_<data set>.json; of a data set of yours offline/evaluation/ in the exchange folder
Run:    python -m research.measure.next_basket [--server]
Expect: Ta Feng: recall@10 above 0.145 and NDCG@10 above 0.13; a few minutes
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from data_exchange_center import artifacts, plugins
from data_exchange_center.release_parts import read_channels, read_feature_spec, release_of_artifacts
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError, run
from extras import comparison
from offline.data.lists import StoredFeatures
from offline.data.sequences import Inputs, Ints, Sequences
from offline.evaluation import metrics, replay, served
from offline.evaluation.metrics import Floats, Lists, plain
from offline.evaluation.replay import Holdout
from offline.models.kinds import load_ranker
from offline.readers import read_with_holdout
from research import figures
from research.evaluation.protocols import Stages, in_both_orders
from research.evaluation.running_server import answers_of_server

log = logging.getLogger(__name__)

LEAST: Final = 2  # baskets before the target
SIZES: Final = (10, 20)
REQUESTED: Final = 2000  # users of the requests to the running server
HAD, NEW = "had before", "new to the user"
CHUNK: Final = 1000  # users at once
PERSONAL, TIFU, RANKED = "personal top", "TIFU-KNN", "ranked"
# TIFU-KNN's metrics, by its authors
PUBLISHED: Final = {"recall@10": 0.130, "ndcg@10": 0.101, "recall@20": 0.181, "ndcg@20": 0.121}


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


def personal_top(data: Sequences, rows: Ints) -> tuple[sp.csr_matrix, Floats]:
    """How often each user has had an item, (rows, items + 1); for ties, (items + 1,) below one, how often all have."""
    popularity = np.bincount(data.items, minlength=data.n_items + 1)
    return frequencies(data, np.ones(len(data.items)))[rows], popularity / (popularity.max() + 1)


def tifu(
    data: Sequences,
    rows: Ints,
    *,
    neighbours: int = 300,
    groups: int = 7,
    within: float = 0.9,
    between: float = 0.7,
    own: float = 0.7,
) -> sp.csr_matrix:
    """TIFU-KNN with the values published for Ta Feng: (rows, items + 1) scores of some users.

    A user's vector is the mean over up to ``groups`` groups of baskets, each a mean over its baskets; an event weighs
    ``within`` ** (baskets since) times ``between`` ** (groups since). The score is ``own`` times the user's vector, and
    the rest the mean vector of the ``neighbours`` nearest users, by Euclidean distance.
    """
    number, counts = baskets(data)
    count = counts[data.users]
    size, larger = count // groups, count % groups  # the last ``larger`` groups hold one basket more
    smaller = (groups - larger) * size  # baskets in the others
    late = np.maximum(number - smaller, 0) // (size + 1) + groups - larger
    group = np.where(count < groups, number, np.where(number < smaller, number // np.maximum(size, 1), late))
    in_group = np.where(count < groups, 1, np.where(number < smaller, size, size + 1))
    weights = within ** (count - 1 - number) * between ** (groups - 1 - group) / in_group / np.minimum(count, groups)
    vectors = frequencies(data, weights)
    near = sp.vstack(list(_neighbours(vectors[rows], vectors, neighbours)), format="csr")
    return sp.csr_matrix(own * vectors[rows] + (1 - own) * near)


def _neighbours(of: sp.csr_matrix, vectors: sp.csr_matrix, n: int) -> Iterator[sp.csr_matrix]:
    """The mean vector of the ``n`` users nearest to each of some."""
    there = vectors[np.diff(vectors.indptr) > 0]
    lengths = np.asarray(there.multiply(there).sum(axis=1)).ravel()
    n, columns = min(n, there.shape[0]), sp.csr_matrix(there.T)
    for begin in range(0, of.shape[0], CHUNK):
        distances = lengths - 2 * (of[begin : begin + CHUNK] @ columns).toarray()  # but for the user's own length
        nearest = np.argpartition(distances, n - 1, axis=1)[:, :n]
        share = np.full(nearest.size, 1 / n, np.float32)
        chosen = sp.csr_matrix(
            (share, nearest.ravel(), np.arange(0, nearest.size + 1, n)), shape=(len(nearest), there.shape[0])
        )
        yield sp.csr_matrix(chosen @ there)


def best(holdout: Holdout, rows: Ints, scores: sp.csr_matrix, ties: Floats | float = 0.0) -> Lists:
    """(users, k) codes, best first, of some users; 0 for the others. ``ties``: (items + 1,) added to the scores."""
    left_out, lists = holdout.past.left_out()[rows], np.zeros((holdout.past.n_users, max(SIZES)), np.int64)
    for begin in range(0, len(rows), CHUNK):
        part = slice(begin, begin + CHUNK)
        dense = scores[part].toarray() + ties
        lists[rows[part]] = served.best_unseen(dense, left_out[part], max(SIZES))
    return lists


# --- What is measured


def evaluated(holdout: Holdout) -> NDArray[np.bool_]:
    """(users,) those with enough baskets before the request, and a target."""
    _, counts = baskets(holdout.known)
    return (counts >= LEAST) & (np.diff(holdout.relevance.indptr) > 0)


def measured(holdout: Holdout, lists: Lists, users: NDArray[np.bool_]) -> dict[str, Floats]:
    """Metric -> (users,) values; recall of what was had before and of what is new, of users who have such targets."""
    had = sp.csr_matrix(holdout.relevance.multiply(holdout.known.seen()))
    new = sp.csr_matrix(holdout.relevance - had)
    new.eliminate_zeros()
    found = {f"recall@{k}": metrics.recall(lists, holdout.relevance, k)[users] for k in SIZES}
    found |= {f"ndcg@{k}": metrics.ndcg(lists, holdout.relevance, k)[users] for k in SIZES}
    parts = {HAD: had, NEW: new}
    return found | {f"recall@10, {name}": metrics.recall(lists, part, 10)[users] for name, part in parts.items()}


def means(found: Mapping[str, Floats]) -> dict[str, float]:
    return {name: float(np.nanmean(values)) for name, values in found.items()}


def exact(settings: Settings, inputs: Inputs, holdout: Holdout, users: NDArray[np.bool_]) -> tuple[Lists, Lists]:
    """(users, candidates) of the artifacts, in recall's order and in the ranker's, for ``users`` (users,) alone."""
    folder, recipe = settings.exchange_dir, settings.recipe
    named = {channel.name: channel for channel in read_channels(folder).channels}
    channels = tuple(named[channel.name] for channel in recipe.recall.channels)
    ranker = load_ranker(artifacts.RANK_WEIGHTS.read(folder), artifacts.RANK_REPORT.read(folder)["model"]).ranker
    stored = StoredFeatures.of(holdout.past, inputs, read_feature_spec(folder), recipe)
    some = replace(
        holdout, relevance=sp.csr_matrix(holdout.relevance.multiply(users[:, None])), disliked=0 * holdout.disliked
    )
    for pairs in (some.relevance, some.disliked):
        pairs.eliminate_zeros()
    return in_both_orders(Stages(channels, ranker, stored), recipe, inputs, some)


def of_users(holdout: Holdout, users: Ints) -> Holdout:
    """Some users alone; ``users``: their places, ascending."""

    def events(data: Sequences) -> Sequences:
        kept, lengths = data.select(np.isin(data.users, users)), data.lengths[users]
        return replace(kept, user_numbers=data.user_numbers[users], starts=np.concatenate([[0], np.cumsum(lengths)]))

    rows = {name: getattr(holdout, name)[users] for name in ("relevance", "disliked", "cold", "times")}
    return replace(holdout, past=events(holdout.past), known=events(holdout.known), **rows)


def requested(settings: Settings, holdout: Holdout, users: NDArray[np.bool_], ranked: Lists) -> dict[str, Any]:
    """The running server's answers for up to `REQUESTED` users, drawn with a fixed seed, and those of exact search."""
    drawn = np.random.default_rng(0).permutation(np.flatnonzero(users))[:REQUESTED]
    some = of_users(holdout, np.sort(drawn))
    theirs, ours = some.judged(answers_of_server(settings)(some).ranked), some.judged(ranked[np.sort(drawn)])
    everybody = np.ones(len(theirs), np.bool_)
    return {
        "users": len(theirs),
        "with the same first ten": int((theirs[:, :10] == ours[:, :10]).all(axis=1).sum()),
        "server": means(measured(some, theirs, everybody)),
        "exact": means(measured(some, ours, everybody)),
    }


def evaluate(settings: Settings, command: str, *, server: bool) -> dict[str, Any]:
    """The released recipe by exact search, the baselines, and with ``server`` the running server's answers. Raises
    StepError where the data set does not hold out last baskets."""
    inputs = read_with_holdout(settings)
    if not inputs.dataset.holdout.basket:
        raise StepError("This data set does not hold out the last basket: [holdout] basket = true in its dataset.toml.")
    holdout = replay.hold_out(inputs.data, inputs.dataset.holdout)
    users = evaluated(holdout)
    rows = np.flatnonzero(users)
    log.info("%s users", f"{users.sum():,}")
    recalled, ranked = exact(settings, inputs, holdout, users)
    log.info("baselines")
    own, popularity = personal_top(holdout.past, rows)
    lists = {
        "popularity": best(holdout, rows, 0 * own, popularity),
        PERSONAL: best(holdout, rows, own, popularity),
        TIFU: best(holdout, rows, tifu(holdout.past, rows)),
        "recall": recalled,
        RANKED: ranked,
    }
    found = {name: measured(holdout, holdout.judged(each), users) for name, each in lists.items()}
    had = holdout.relevance.multiply(holdout.known.seen()).tocsr()[users].nnz / holdout.relevance[users].nnz
    return plain(
        {
            **figures.head(command, settings, settings.recipe),
            "release": release_of_artifacts(settings).release,
            "users": int(users.sum()),
            "share of the targets that were had before": had,
            "published": PUBLISHED,
            **({"live against exact": requested(settings, holdout, users, ranked)} if server else {}),
            "table": {name: means(values) for name, values in found.items()},
            "ranked against": {
                other: {name: comparison.compare(found[RANKED][name], found[other][name]) for name in found[other]}
                for other in (PERSONAL, TIFU, "recall")
            },
        }
    )


# --- The command


def main(settings: Settings, *, server: bool = False) -> None:
    found = evaluate(settings, f"make evaluate-baskets{' server=1' if server else ''}", server=server)
    published = found["dataset"] in plugins.find(plugins.DATASETS)
    folder = figures.FIGURES if published else settings.offline_dir / "evaluation"
    figures.write(folder / f"baskets_{found['dataset']}.json", found)
    figures.show(found["table"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", action="store_true", help="evaluate the running server")
    run(partial(main, server=parser.parse_args().server))
