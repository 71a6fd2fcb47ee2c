"""Recommend from a recipe's artifacts with exact search, the reference for the running server; and plain baselines.

Vectors, fusion and the ranker's rows come from the functions that the server calls; only the search differs. The
baselines are popularity, item-kNN and EASE, over the same films and the same past, nothing of them tuned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from data_exchange_center import artifacts
from data_exchange_center.channels import ChannelSet
from data_exchange_center.columns import Columns
from data_exchange_center.fusion import NOT_FOUND, Fused, Hits, candidate_columns, fuse, top_k
from data_exchange_center.history import History
from data_exchange_center.recipes import RecallRecipe, VectorRecipe
from data_exchange_center.release_parts import read_feature_spec
from data_exchange_center.settings import Settings
from data_exchange_center.steps import progress
from data_exchange_center.wire import hybrid_scores, vector_of
from offline.data.sequences import Ints, Sequences
from offline.data.terms import genre_flags
from offline.evaluation.metrics import Lists
from offline.evaluation.replay import Answers, Holdout
from offline.models.ease import Float32, ease
from offline.models.kinds import load_ranker, score

CHUNK = 16  # users at once
NO_ITEM = -1  # id in the place of code 0


class State(NamedTuple):
    """Stored state of a user, from which a request is answered."""

    history: History
    profile: Ints | None  # codes; None: nothing is stored


def answers(settings: Settings, holdout: Holdout, states: list[State] | None = None) -> Answers:
    """Every user's lists for a request at the holdout's times. Raises ArtifactError when a file is absent.

    ``states``: of every user as the request sees them; None: what is stored, as of the request.
    """
    folder, recipe, past = settings.exchange_dir, settings.recipe.recall, holdout.past
    if states is None:
        stored = zip(read_states(folder, past), holdout.times.tolist(), strict=True)
        states = [State(history.as_of(second), profile) for (history, profile), second in stored]
    index, ranker = ExactIndex.read(folder, recipe, past.itemids), Ranker(folder, recipe, past)
    channels = ChannelSet.unpack(artifacts.CHANNELS.read(folder))
    vectors = user_vectors(folder, index, channels, states, past, holdout.times)
    preferred = artifacts.USER_PREFERENCES.read(folder).set_index(Columns.USER)[Columns.GENRES]
    wanted = genre_flags([preferred.get(user, ()) for user in past.userids], index.genres.shape[1]).astype(np.float32)
    popular = np.searchsorted(past.itemids, artifacts.POPULAR.read(folder)[Columns.ITEM].to_numpy()) + 1
    seen, size = holdout.known.left_out(), recipe.candidates
    names = [channel.name for channel in recipe.channels]
    lists = {name: np.zeros((past.n_users, size), dtype=np.int64) for name in (*names, "fused", "ranked")}
    scores = np.full((past.n_users, size), np.nan)
    for start in progress(range(0, past.n_users, CHUNK), desc="answers", unit="chunk"):
        users = np.arange(start, min(start + CHUNK, past.n_users))
        searched = {
            channel.name: index.search(channel, vectors[channel.name][users], wanted[users], seen[users])
            for channel in recipe.searched
        }
        for place, user in enumerate(users.tolist()):
            state, second, known = states[user], int(holdout.times[user]), seen[user].indices.astype(np.int64)
            found = {name: hits[place] for name, hits in searched.items()}
            profile = np.zeros(0, np.int64) if state.profile is None else state.profile
            for name, row in channels.scores(state.history, profile, second).items():
                (found[name],) = top_k(row[None].copy(), size, np.zeros_like(known), known)
            fused = _fused([found[name] for name in names], recipe, popular, known)
            rated = ranker.scores(user, fused, state.history, second)
            order = np.lexsort((fused.ids, -rated))  # ties by id, as the server breaks them
            parts = {name: found[name].ids for name in names} | {"fused": fused.ids, "ranked": fused.ids[order]}
            for name, codes in parts.items():
                lists[name][user, : len(codes)] = codes
            scores[user, : len(order)] = rated[order]
    return Answers({name: lists[name] for name in names}, lists["fused"], lists["ranked"], scores)


def read_states(folder: Path, past: Sequences) -> list[State]:
    """Each user's stored history and profile; both empty for a user without a row."""
    columns = [Columns.USER, Columns.ITEMS, Columns.RATINGS, Columns.TIMES, Columns.PROFILE]
    known = {}
    for userid, *parts in artifacts.USER_STATE.read(folder)[columns].itertuples(index=False):
        *events, profile = (np.asarray(part, dtype=np.int64) for part in parts)
        known[userid] = State(History(*events), profile)
    return [known.get(userid, State(History.empty(), None)) for userid in past.userids.tolist()]


def known_states(folder: Path, holdout: Holdout) -> list[State]:
    """The stored profiles with all events that each user's request sees, stored ones or not."""
    known = holdout.known
    columns = (
        np.split(each, known.starts[1:-1]) for each in (known.itemids[known.items - 1], known.ratings, known.times)
    )
    histories = [History(*(part[::-1] for part in events)) for events in zip(*columns, strict=True)]
    stored = read_states(folder, holdout.past)
    return [user._replace(history=history) for user, history in zip(stored, histories, strict=True)]


def user_vectors(
    folder: Path, index: ExactIndex, channels: ChannelSet, states: Sequence[State], past: Sequences, times: Ints
) -> dict[str, Float32]:
    """Searched channel -> (users, dim), NaN for a user without one: stored, or made at the request's time."""
    stored = artifacts.USER_VECTORS.read(folder).set_index(Columns.USER)
    made = {
        user: channels.user_vectors(state.history, state.profile, int(time))
        for user, state, time in zip(past.userids.tolist(), states, times, strict=True)
        if state.profile is not None
    }
    vectors = {}
    for name, items in index.vectors.items():
        if vector_of(name) in stored:
            known = stored[vector_of(name)].dropna().to_dict()
        else:
            known = {user: found[name] for user, found in made.items() if name in found}
        vectors[name] = vectors_of(known, past.userids, items.shape[1])
    return vectors


class Ranker:
    """The ranking model, and the stored features of each user and item; code c is row c - 1."""

    def __init__(self, folder: Path, recipe: RecallRecipe, past: Sequences) -> None:
        """Raises ArtifactError when a file is absent."""
        self.spec = read_feature_spec(folder)
        self.model = load_ranker(artifacts.RANK_WEIGHTS.read(folder), artifacts.RANK_REPORT.read(folder)["model"])
        self.columns = candidate_columns([channel.name for channel in recipe.channels])
        users = artifacts.USER_FEATURES.read(folder).set_index(Columns.USER, drop=False).loc[past.userids]
        items = artifacts.ITEM_FEATURES.read(folder).set_index(Columns.ITEM, drop=False).loc[past.itemids]
        self.users = self.spec.encode_users({str(name): column.to_numpy() for name, column in users.items()})
        self.items = self.spec.encode_items({str(name): column.to_numpy() for name, column in items.items()})

    def scores(self, user: int, fused: Fused, history: History, second: int) -> NDArray[np.float64]:
        """Scores of one user's candidates for a request at ``second``."""
        inputs = self.spec.model_inputs(
            self.users[user : user + 1],
            self.items[fused.ids - 1],
            second,
            self.spec.encode_candidates(self.columns, fused.features),
            self.spec.encode_history(history, second),
        )
        return score(self.model, inputs).astype(np.float64)


def _fused(hits: Sequence[Hits], recipe: RecallRecipe, popular: Ints, seen: Ints) -> Fused:
    """The channels' lists as one; where they found nothing the popular unseen items, fused as one list more."""
    weights = [channel.fusion_weight for channel in recipe.channels]
    if any(len(part.ids) for part in hits):
        return fuse(hits, weights, recipe.candidates)
    ids = popular[~np.isin(popular, seen)][: recipe.candidates]
    fused = fuse([*hits, Hits(ids, -np.arange(len(ids), dtype=np.float32))], [*weights, 1.0], len(ids))
    # a ranker knows no column of theirs: what fusion says of the channels, and the place
    known = [*range(len(candidate_columns([channel.name for channel in recipe.channels])) - 1), -1]
    return Fused(fused.ids, fused.scores, fused.features[:, known])


# --- exact search ---


@dataclass(frozen=True, eq=False)
class ExactIndex:
    """Items by code; row 0 is padding."""

    recipe: RecallRecipe  # the channels that are searched, and how
    # channel -> (items + 1, dim), NaN for an item that the channel was never trained on
    vectors: Mapping[str, NDArray[np.floating]]
    genres: Float32  # (items + 1, genres) 0/1

    @classmethod
    def read(cls, folder: Path, recipe: RecallRecipe, itemids: Ints) -> ExactIndex:
        """Raises ArtifactError when a file is absent."""
        n_genres = len(artifacts.GENRES.read(folder)[Columns.GENRES])
        of_items = artifacts.ITEM_TERMS.read(folder).set_index(Columns.ITEM)[Columns.GENRES]
        table, vectors = artifacts.ITEM_VECTORS.read(folder).set_index(Columns.ITEM), {}
        for channel in recipe.searched:
            known = table[vector_of(channel.name)].dropna().to_dict()
            vectors[channel.name] = vectors_of(known, np.append(NO_ITEM, itemids), len(next(iter(known.values()))))
        genres = genre_flags([(), *(of_items.get(item, ()) for item in itemids)], n_genres)
        return cls(recipe, vectors, genres.astype(np.float32))

    def search(
        self, channel: VectorRecipe, vectors: NDArray[np.floating], wanted: Float32, seen: sp.csr_matrix
    ) -> list[Hits]:
        """Each user's best unseen items: codes and scores, as many as the recipe's candidates. Args as of `scores`."""
        scores = self.scores(channel, vectors, wanted, seen)
        scores = np.where(np.isnan(scores), NOT_FOUND, scores).astype(np.float32)
        return list(top_k(scores, self.recipe.candidates, *seen.nonzero()))

    def scores(
        self, channel: VectorRecipe, vectors: NDArray[np.floating], wanted: Float32, seen: sp.csr_matrix
    ) -> NDArray[np.floating]:
        """(m, items + 1) scores of m users' search, NaN for what it does not find; seen items are left in.

        Args:
            vectors: (m, dim), NaN for a user without one.
            wanted: (m, genres) 0/1, each user's preferred genres: where there are some, they are searched by too.
            seen: (m, items + 1) what a search by genres does not count among the nearest.
        """
        products = vectors @ self.vectors[channel.name].T  # (m, items + 1)
        if channel.term_weight <= 0:
            return products
        near = nearest(products, seen, self.recipe.num_candidates)
        matches = np.asarray(wanted @ self.genres.T) > 0
        hybrid = hybrid_scores(near, matches, channel).astype(products.dtype)
        return np.where(wanted.any(axis=1, keepdims=True), hybrid, products)


def nearest(products: NDArray[np.floating], seen: sp.csr_matrix, n: int) -> NDArray[np.floating]:
    """(m, items + 1) inner products; NaN for all but the ``n`` highest unseen of each row (and their ties)."""
    known = np.where(np.isnan(products), -np.inf, products)
    known[seen.nonzero()] = -np.inf
    n = min(n, known.shape[1])
    floor = -np.partition(-known, n - 1, axis=1)[:, n - 1 : n]
    return np.where((known >= floor) & np.isfinite(known), products, np.nan)


def vectors_of(known: Mapping[Any, Any], ids: Ints, dim: int) -> Float32:
    """Vectors by id -> (ids, dim), NaN for an id without one."""
    absent = np.full(dim, np.nan)
    return np.stack([known.get(each, absent) for each in ids.tolist()]).astype(np.float32)


# --- baselines ---

POPULARITY, KNN, EASE = "popularity", "item-kNN", "EASE"


def baselines(holdout: Holdout, size: int) -> dict[str, Lists]:
    """Name -> (users, size) codes, best first; fitted on the past, nothing tuned.

    Nothing of the past is on a list, so that all of it is left when `Holdout.judged` has taken off what shares the
    request's second.
    """
    past, known, left_out = holdout.past.seen(), holdout.known.seen(), holdout.past.left_out()
    clicks = np.bincount(holdout.past.items[holdout.past.liked], minlength=past.shape[1]).astype(np.float32)
    return {
        POPULARITY: best_unseen(np.broadcast_to(clicks, past.shape), left_out, size),
        KNN: best_unseen(known @ item_knn(past), left_out, size),
        EASE: best_unseen(known @ ease(past.T @ past), left_out, size),
    }


def item_knn(seen: sp.csr_matrix, neighbours: int = 100, shrink: float = 20.0) -> Float32:
    """Cosine item-kNN (Sarwar et al. 2001): each column keeps its most similar ``neighbours`` rows."""
    gram = (seen.T @ seen).toarray().astype(np.float32)
    norm = np.sqrt(np.diag(gram))
    similar: Float32 = gram / (norm[:, None] * norm[None, :] + shrink)
    np.fill_diagonal(similar, 0)
    if neighbours < len(similar):
        floor = -np.partition(-similar, neighbours - 1, axis=0)[neighbours - 1]
        similar[similar < floor] = 0
    return similar


def best_unseen(scores: NDArray[np.floating], seen: sp.csr_matrix, size: int) -> Lists:
    """(users, items + 1) scores -> (users, size) codes, best first, ties in favour of the smaller code; 0 pads."""
    size = min(size, scores.shape[1] - 1)
    lists: Lists = np.zeros((len(scores), size), dtype=np.int64)
    for row, hits in zip(lists, top_k(np.array(scores, dtype=np.float32), size, *seen.nonzero()), strict=True):
        row[: len(hits.ids)] = hits.ids
    return lists
