"""The item index of a recipe's artifacts, searched exactly: the reference for Elasticsearch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import NDArray

from data_exchange_center import artifacts
from data_exchange_center.columns import Columns, vector_of
from data_exchange_center.fusion import Hits
from data_exchange_center.index_scores import hybrid_scores
from data_exchange_center.recipes import RecallRecipe, VectorRecipe
from offline.data import terms
from offline.data.sequences import Ints, Sequences
from offline.evaluation.baselines import best_unseen

Float32 = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class ExactIndex:
    """Items by code; row 0 is padding.

    Attributes:
        recipe: the channels that are searched, and how.
        vectors: channel -> (items + 1, dim), NaN for an item that the channel was never trained on.
        genres: (items + 1, genres) 0/1.
        wanted: (users, genres) 0/1, each user's preferred genres.
    """

    recipe: RecallRecipe
    vectors: Mapping[str, Float32]
    genres: Float32
    wanted: Float32

    @classmethod
    def read(cls, folder: Path, recipe: RecallRecipe, past: Sequences) -> ExactIndex:
        """Raises ArtifactError when a file is absent."""
        n = len(artifacts.GENRES.read(folder)[Columns.GENRES])
        preferred = artifacts.USER_PREFERENCES.read(folder).set_index(Columns.USER)[Columns.GENRES]
        item_terms = artifacts.ITEM_TERMS.read(folder).set_index(Columns.ITEM)[Columns.GENRES]
        table = artifacts.ITEM_VECTORS.read(folder).set_index(Columns.ITEM)
        vectors = {
            channel.name: np.pad(
                vectors_of(table[vector_of(channel.name)], past.itemids), ((1, 0), (0, 0)), constant_values=np.nan
            )
            for channel in recipe.searched
        }
        return cls(
            recipe=recipe,
            vectors=vectors,
            genres=_flags([(), *(item_terms.get(item, ()) for item in past.itemids)], n),
            wanted=_flags([preferred.get(user, ()) for user in past.userids], n),
        )

    def search(self, channel: VectorRecipe, users: Ints, vectors: Float32, seen: sp.csr_matrix) -> list[Hits]:
        """Each user's best unseen items: codes and scores, as many as the recipe's candidates.

        Args:
            users: (m,) rows of ``wanted``.
            vectors: (m, dim), NaN for a user without one.
            seen: (m, items + 1).
        """
        products = vectors @ self.vectors[channel.name].T
        if channel.term_weight > 0:
            matches = self.wanted[users] @ self.genres.T > 0
            near = nearest(products, seen, self.recipe.num_candidates)
            scores = hybrid_scores(near, matches, channel).astype(np.float32)
        else:
            scores = products
        scores = np.where(np.isnan(scores), -np.inf, scores)  # NaN: not found
        lists = best_unseen(scores, seen, self.recipe.candidates)
        return [Hits(codes[codes > 0], row[codes[codes > 0]]) for codes, row in zip(lists, scores, strict=True)]


def nearest(products: Float32, seen: sp.csr_matrix, n: int) -> Float32:
    """(m, items + 1) inner products; NaN for all but the ``n`` highest unseen of each row (and their ties)."""
    known = np.where(np.isnan(products), -np.inf, products)
    known[seen.nonzero()] = -np.inf
    n = min(n, known.shape[1])
    floor = -np.partition(-known, n - 1, axis=1)[:, n - 1 : n]
    kept: Float32 = np.where((known >= floor) & np.isfinite(known), products, np.nan)
    return kept


def vectors_of(stored: pd.Series, ids: NDArray[np.int64]) -> Float32:
    """Vectors by id -> (ids, dim), NaN for an id without one."""
    known = stored.dropna()
    rows = np.stack(known.to_list()).astype(np.float32)
    at = pd.Index(known.index).get_indexer(pd.Index(ids))
    return np.where((at >= 0)[:, None], rows[at], np.nan).astype(np.float32)


def _flags(codes: Sequence[Sequence[int]], n_genres: int) -> Float32:
    """Genre codes of n rows -> (n, genres) 0/1."""
    frame = pd.DataFrame({Columns.GENRES: [list(row) for row in codes]})
    return terms.genre_flags(frame, n_genres).astype(np.float32)
