"""What a recipe's artifacts recommend when the index is searched exactly: the reference for the running server.

Vectors, fusion and the ranker's rows come from the functions that the server calls; only the search differs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from data_exchange_center import artifacts
from data_exchange_center.channels import ChannelSet
from data_exchange_center.columns import Columns, vector_of
from data_exchange_center.features import Encoded, FeatureSpec
from data_exchange_center.fusion import Fused, Hits, candidate_columns, fuse
from data_exchange_center.history import History
from data_exchange_center.progress import progress
from data_exchange_center.recipes import RecallRecipe
from data_exchange_center.release_parts import read_feature_spec
from data_exchange_center.settings import Settings
from data_exchange_center.vocabulary import top_k
from offline.data.sequences import Ints, Sequences
from offline.evaluation.exact import ExactIndex
from offline.evaluation.replay import Answers, Holdout
from offline.models.kinds import ScoringModel, load_ranker, score

POPULAR = "popular"  # fused like a channel where the channels found nothing
CHUNK = 16  # users at once
Float32 = NDArray[np.float32]


class State(NamedTuple):
    """What is stored about a user to answer a request."""

    history: History
    profile: Ints | None  # codes; None: nothing is stored

    def as_of(self, second: int) -> State:
        """The user as a request at ``second`` sees it."""
        return self._replace(history=self.history.as_of(second))


def answers(settings: Settings, holdout: Holdout, states: list[State] | None = None) -> Answers:
    """Every user's lists for a request at the holdout's times.

    ``states``: of every user as the request sees them; None: what is stored, as of the request.

    Raises ArtifactError when a file of `make offline` is absent.
    """
    folder, recipe, past = settings.exchange_dir, settings.recipe.recall, holdout.past
    states = states or [
        state.as_of(int(time)) for state, time in zip(read_states(folder, past), holdout.times, strict=True)
    ]
    index, ranker = ExactIndex.read(folder, recipe, past), Ranker.read(folder, recipe, past)
    channels = ChannelSet.unpack(artifacts.CHANNELS.read(folder))
    vectors = user_vectors(folder, index, channels, states, past, holdout.times)
    seen, popular = holdout.known.seen(), _popular(folder, past)
    size = recipe.candidates
    names = [channel.name for channel in recipe.channels]
    lists = {name: np.zeros((past.n_users, size), dtype=np.int64) for name in (*names, "fused", "ranked")}
    scores = np.full((past.n_users, size), np.nan)
    for start in progress(range(0, past.n_users, CHUNK), desc="answers", unit="chunk"):
        users = np.arange(start, min(start + CHUNK, past.n_users))
        found = {
            channel.name: index.search(channel, users, vectors[channel.name][users], seen[users])
            for channel in recipe.searched
        } | scored(channels, size, [states[user] for user in users], holdout.times[users], seen[users])
        hits = list(zip(*(found[name] for name in names), strict=True))  # of each user, one a channel
        fused = [
            _fused(each, recipe, popular, seen[user].indices.astype(np.int64))
            for each, user in zip(hits, users.tolist(), strict=True)
        ]
        rated = ranker.scores(users, fused, [states[user].history for user in users], holdout.times[users])
        for user, each, kept, values in zip(users, hits, fused, rated, strict=True):
            order = np.lexsort((kept.ids, -values))  # ties by id, as the server breaks them
            parts = {name: part.ids for name, part in zip(names, each, strict=True)}
            for name, codes in (parts | {"fused": kept.ids, "ranked": kept.ids[order]}).items():
                lists[name][user, : len(codes)] = codes
            scores[user, : len(order)] = values[order]
    return Answers({name: lists[name] for name in names}, lists["fused"], lists["ranked"], scores)


def read_states(folder: Path, past: Sequences) -> list[State]:
    """Each user's stored history and profile; both empty for a user without a row."""
    table = artifacts.USER_STATE.read(folder)
    columns = (Columns.USER, Columns.ITEMS, Columns.RATINGS, Columns.TIMES, Columns.PROFILE)
    known = {
        userid: State(History(*(np.asarray(part, dtype=np.int64) for part in events)), np.asarray(profile, np.int64))
        for userid, *events, profile in zip(*(table[name] for name in columns), strict=True)
    }
    unknown = State(History.empty(), None)
    return [known.get(userid, unknown) for userid in past.userids]


def user_vectors(
    folder: Path, index: ExactIndex, channels: ChannelSet, states: Sequence[State], past: Sequences, times: Ints
) -> dict[str, Float32]:
    """Searched channel -> (users, dim), NaN for a user without one: stored, or made at the request's time."""
    stored = artifacts.USER_VECTORS.read(folder).set_index(Columns.USER)
    made: list[Mapping[str, Float32]] = [
        channels.user_vectors(state.history, state.profile, int(time)) if state.profile is not None else {}
        for state, time in zip(states, times, strict=True)
    ]
    vectors = {}
    for name in (channel.name for channel in index.recipe.searched):
        column = vector_of(name)
        if column in stored:
            known = stored[column].dropna().to_dict()
        else:
            known = {user: each[name] for user, each in zip(past.userids, made, strict=True) if name in each}
        absent = np.full(index.vectors[name].shape[1], np.nan)
        vectors[name] = np.stack([known.get(user, absent) for user in past.userids]).astype(np.float32)
    return vectors


def scored(
    channels: ChannelSet, size: int, states: Sequence[State], times: Ints, seen: sp.csr_matrix
) -> dict[str, list[Hits]]:
    """Channel without vectors -> each user's best unseen items, as codes."""
    found: dict[str, list[Hits]] = {}
    for row, (state, time) in enumerate(zip(states, times.tolist(), strict=True)):
        profile = np.zeros(0, np.int64) if state.profile is None else state.profile
        for name, scores in channels.scores(state.history, profile, time).items():
            codes = seen[row].indices.astype(np.int64)
            found.setdefault(name, []).extend(top_k(scores[None].copy(), size, np.zeros_like(codes), codes))
    return found


@dataclass(frozen=True, eq=False)
class Ranker:
    """The ranking model, and the stored features of its rows.

    Attributes:
        columns: of `Fused.features`.
        users: features of each.
        items: features of each; code c is row c - 1.
    """

    spec: FeatureSpec
    model: ScoringModel
    columns: tuple[str, ...]
    users: Encoded
    items: Encoded

    @classmethod
    def read(cls, folder: Path, recipe: RecallRecipe, past: Sequences) -> Ranker:
        """Raises ArtifactError when a file is absent."""
        spec = read_feature_spec(folder)
        users = artifacts.USER_FEATURES.read(folder).set_index(Columns.USER, drop=False).loc[past.userids]
        items = artifacts.ITEM_FEATURES.read(folder).set_index(Columns.ITEM, drop=False).loc[past.itemids]
        return cls(
            spec=spec,
            model=load_ranker(artifacts.RANK_WEIGHTS.read(folder), artifacts.RANK_REPORT.read(folder)["model"]),
            columns=candidate_columns([channel.name for channel in recipe.channels]),
            users=spec.encode_users({str(name): column.to_numpy() for name, column in users.items()}),
            items=spec.encode_items({str(name): column.to_numpy() for name, column in items.items()}),
        )

    def scores(
        self, users: Ints, fused: Sequence[Fused], histories: Sequence[History], times: Ints
    ) -> list[NDArray[np.float64]]:
        """Each user's candidates -> their scores."""
        inputs = (
            self.spec.model_inputs(
                self.users[user : user + 1],
                self.items[part.ids - 1],
                int(time),
                self.spec.encode_candidates(self.columns, part.features),
                self.spec.encode_history(history, int(time)),
            )
            for user, part, history, time in zip(users, fused, histories, times, strict=True)
        )
        return [score(self.model, each).astype(np.float64) for each in inputs]


def _fused(hits: Sequence[Hits], recipe: RecallRecipe, popular: Ints, seen: Ints) -> Fused:
    """The channels' lists as one; where they found nothing the popular unseen items, fused as one list more."""
    if any(len(part.ids) for part in hits):
        return fuse(hits, [channel.fusion_weight for channel in recipe.channels], recipe.candidates)
    ids = popular[~np.isin(popular, seen)][: recipe.candidates]
    fused = fuse([*hits, Hits(ids, -np.arange(len(ids), dtype=np.float32))], [*(0.0 for _ in hits), 1.0], len(ids))
    names = [channel.name for channel in recipe.channels]
    given = candidate_columns([*names, POPULAR])
    known = [given.index(column) for column in candidate_columns(names)]  # a ranker knows no column of `POPULAR`
    return Fused(fused.ids, fused.scores, fused.features[:, known])


def _popular(folder: Path, past: Sequences) -> Ints:
    """Codes, best first."""
    return np.searchsorted(past.itemids, artifacts.POPULAR.read(folder)[Columns.ITEM].to_numpy()) + 1
