"""Recommend from a recipe's artifacts with exact search, the reference for the running server.

Vectors, fusion and the ranker's rows come from the functions that the server calls. The search differs, and a list is
filled up only where recall finds nothing; the server fills up to the size that a request asks for.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import NDArray

from data_exchange_center import artifacts, candidates, fusion, steps
from data_exchange_center.columns import Columns
from data_exchange_center.exact import ExactItems
from data_exchange_center.features import Encoded, FeatureSpec, Float32, ModelInputs
from data_exchange_center.filling import fill_up
from data_exchange_center.history import History
from data_exchange_center.release_parts import (
    UserRow,
    read_channels,
    read_feature_spec,
    read_items,
    read_users,
)
from data_exchange_center.settings import Settings
from data_exchange_center.top_k import top_k
from offline.data.sequences import Ints
from offline.evaluation.metrics import Lists
from offline.evaluation.replay import Answers, Holdout
from offline.models.rankers import ScoringModel, load_ranker, score

CHUNK = 16  # users at once


def answers(
    settings: Settings, holdout: Holdout, *, stored_events: bool = True
) -> Answers:
    """Every user's lists for a request at the holdout's times. Raises ArtifactError when a file is absent.

    ``stored_events``: as in `users_at`.
    """
    folder, recipe, past = settings.artifacts_dir, settings.recipe.recall, holdout.past
    users = users_at(folder, holdout, stored_events=stored_events)
    index, ranker, channels = (
        read_items(folder),
        OfflineRanker.read(folder),
        read_channels(folder),
    )
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
        history = (
            stored_history
            if stored_events
            else History(*(part[::-1] for part in rated))
        )
        users.append(
            replace(stored[number], history=history, seen=items.astype(np.int32))
        )
    return users


def searched(
    index: ExactItems, queries: Sequence[candidates.ItemQuery]
) -> list[tuple[fusion.Hits, ...]]:
    """Exact search of many queries at once, in single precision: for each, the hits of every searched channel."""
    by_channel = []
    allowed = [index.allowed(query) for query in queries]
    for channel in queries[0].recall.searched:
        items = index.vectors[channel.name]  # (n, dim)
        nothing = np.full(items.shape[1], np.nan, np.float32)
        vectors = np.stack(
            [query.vectors.get(channel.name, nothing) for query in queries]
        )  # (m, dim)
        found = []
        for query, there, products in zip(
            queries, allowed, vectors @ items.T, strict=True
        ):
            scores = index.scores(channel, query, products, there).astype(np.float32)
            found.append(index.best(scores, there, query.recall.candidates))
        by_channel.append(found)
    return [tuple(found[n] for found in by_channel) for n in range(len(queries))]


@dataclass(frozen=True, eq=False)
class OfflineRanker:
    """The ranking model, and the stored features of the users and items that it scores."""

    spec: FeatureSpec
    model: ScoringModel
    users: pd.DataFrame  # index userid; one column a stored user feature, and userid
    items: pd.DataFrame  # index itemid; one column a stored item feature, and itemid

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read model, spec and features. Raises ArtifactError when a file is absent."""
        model = load_ranker(
            artifacts.RANK_WEIGHTS.read(folder),
            artifacts.RANK_REPORT.read(folder)["model"],
        )
        return cls(read_feature_spec(folder), model, *read_features(folder))

    @cached_property
    def _encoded(self) -> tuple[Encoded, Encoded]:
        users, items = (
            {str(name): column.to_numpy() for name, column in frame.items()}
            for frame in (self.users, self.items)
        )
        return self.spec.encode("user", users), self.spec.encode("item", items)

    def inputs(
        self, user: candidates.StoredUser, found: candidates.Candidates, timestamp: int
    ) -> ModelInputs:
        """Inputs of the model for one user's candidates. Raises KeyError for an unknown id."""
        users, items = self._encoded
        of_user, of_items = (
            users[rows_of(self.users, [user.number])],
            items[rows_of(self.items, found.item_numbers)],
        )
        return candidates.model_inputs(
            self.spec, of_user, of_items, found, user.history, timestamp
        )

    def scores(self, inputs: ModelInputs) -> Float32:
        """(n,) scores from 0 to 1."""
        return score(self.model, inputs)


def read_features(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Stored features of all users and of all items, by id. Raises ArtifactError when a file is absent."""
    users, items = (
        artifacts.USER_FEATURES.read(folder),
        artifacts.ITEM_FEATURES.read(folder),
    )
    return users.set_index(Columns.USER, drop=False), items.set_index(
        Columns.ITEM, drop=False
    )


def rows_of(frame: pd.DataFrame, ids: Sequence[int] | Ints) -> NDArray[np.intp]:
    """Positions of ids in the index. Raises KeyError for one that is not there."""
    rows = frame.index.get_indexer(pd.Index(ids))
    if (rows < 0).any():
        raise KeyError(ids[int(np.argmin(rows))])
    return rows


def popularity(holdout: Holdout, size: int) -> Lists:
    """(users, size) codes of the most liked items that the user's past does not hold: what any recommender has to beat.

    Items of the whole past are excluded, also those of the request's own second, which `Holdout.judged` would take off
    anyway; so no list gets shorter.
    """
    past = holdout.past
    clicks = np.bincount(past.items[past.liked], minlength=past.n_items + 1).astype(
        np.float32
    )
    return best_unseen(
        np.broadcast_to(clicks, (past.n_users, len(clicks))), past.left_out(), size
    )


def best_unseen(scores: NDArray[np.floating], seen: sp.csr_matrix, size: int) -> Lists:
    """(users, items + 1) scores -> (users, size) codes, best first, ties in favour of the smaller code; 0 pads."""
    size = min(size, scores.shape[1] - 1)
    lists: Lists = np.zeros((len(scores), size), dtype=np.int64)
    for row, hits in zip(
        lists,
        top_k(np.array(scores, dtype=np.float32), size, *seen.nonzero()),
        strict=True,
    ):
        row[: len(hits.ids)] = hits.ids
    return lists
