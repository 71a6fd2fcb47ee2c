"""The source's recipe from the artifacts: candidates by genre terms and FM vectors, searched exactly, then its DeepFM.

The same scores as the server's query: a matching genre earns the term weight; for the nearest ``num_candidates`` unseen
items, the inner product p of user and item earns the vector weight times 1 + p, or 1 / (1 - p) below zero, as
Elasticsearch scores `max_inner_product`. That the index finds the nearest approximately is the only difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from data_exchange_center import artifacts
from data_exchange_center.columns import Columns
from data_exchange_center.features import FeatureSpec
from data_exchange_center.recipes import RecallRecipe
from data_exchange_center.settings import Settings
from offline.data import terms
from offline.data.sequences import Sequences
from offline.evaluation import replay
from offline.evaluation.metrics import Lists
from offline.torchfm.models import load_ranker
from offline.torchfm.train import predict

CHUNK = 256  # users ranked at once
Float32 = NDArray[np.float32]


def source_lists(settings: Settings, past: Sequences) -> tuple[Lists, Lists]:
    """(users, candidates) codes in the recall's order, and in the DeepFM's. Users nothing is found for: the popular.

    Raises ArtifactError when a file of `make offline` is absent.
    """
    recipe = settings.recipe.recall
    scores = _recall_scores(settings.exchange_dir, past, recipe)
    recalled = replay.best_unseen(scores, past.seen(), recipe.candidates)
    nothing = ~(recalled > 0).any(axis=1)
    recalled[nothing] = replay.popular_lists(past, recipe.candidates)[nothing]
    return recalled, _ranked(settings.exchange_dir, past, recalled)


def hybrid_scores(products: Float32, matches: NDArray[np.bool_], recipe: RecallRecipe) -> Float32:
    """(m, n) inner products, NaN where user or item has no vector, and genre matches -> scores; -inf: not found."""
    near = np.where(products >= 0, 1 + products, 1 / (1 - np.minimum(products, 0)))
    has_vector = ~np.isnan(products)
    scores = recipe.term_weight * matches + recipe.vector_weight * np.where(has_vector, near, 0)
    return np.where(matches | has_vector, scores, -np.inf).astype(np.float32)


def nearest(products: Float32, seen: sp.csr_matrix, n: int) -> Float32:
    """(m, items + 1) inner products; NaN for all but the ``n`` highest unseen of each row (and their ties)."""
    known = np.where(np.isnan(products), -np.inf, products)
    known[seen.nonzero()] = -np.inf
    n = min(n, known.shape[1])
    floor = -np.partition(-known, n - 1, axis=1)[:, n - 1 : n]
    kept: Float32 = np.where((known >= floor) & np.isfinite(known), products, np.nan)
    return kept


def _recall_scores(folder: Path, past: Sequences, recipe: RecallRecipe) -> Float32:
    genres: list[str] = artifacts.GENRES.read(folder)[Columns.GENRES]
    preferred = artifacts.USER_PREFERENCES.read(folder).set_index(Columns.USER)[Columns.GENRES]
    wanted = _flags([preferred.get(user, ()) for user in past.userids], len(genres))
    item_terms = artifacts.ITEM_TERMS.read(folder).set_index(Columns.ITEM)[Columns.GENRES]
    flags = _flags([(), *(item_terms.get(item, ()) for item in past.itemids)], len(genres))
    users = _vectors(artifacts.USER_VECTORS.read(folder), Columns.USER, past.userids)
    items = _vectors(artifacts.ITEM_VECTORS.read(folder), Columns.ITEM, past.itemids)
    items = np.vstack([np.full((1, items.shape[1]), np.nan, dtype=np.float32), items])
    products = nearest(users @ items.T, past.seen(), recipe.num_candidates)
    return hybrid_scores(products, wanted @ flags.T > 0, recipe)


def _flags(codes: Sequence[Sequence[int]], n_genres: int) -> Float32:
    """Genre codes of n rows -> (n, genres) 0/1."""
    frame = pd.DataFrame({Columns.GENRES: [list(row) for row in codes]})
    return terms.genre_flags(frame, n_genres).astype(np.float32)


def _vectors(table: pd.DataFrame, key: str, ids: NDArray[np.int64]) -> Float32:
    """(ids, dim), NaN for an id without a vector."""
    stored = np.stack(table[Columns.VECTOR].to_list()).astype(np.float32)
    row = pd.Index(table[key]).get_indexer(pd.Index(ids))
    return np.where((row >= 0)[:, None], stored[row], np.nan).astype(np.float32)


def _ranked(folder: Path, past: Sequences, candidates: Lists) -> Lists:
    spec = FeatureSpec.model_validate(artifacts.FEATURE_SPEC.read(folder))
    model = load_ranker(artifacts.RANK_WEIGHTS.read(folder), artifacts.RANK_REPORT.read(folder)["model"])
    user_table = artifacts.USER_FEATURES.read(folder).set_index(Columns.USER, drop=False).loc[past.userids]
    item_table = artifacts.ITEM_FEATURES.read(folder).set_index(Columns.ITEM, drop=False).loc[past.itemids]
    users = spec.encode_users({str(name): column.to_numpy() for name, column in user_table.items()})
    items = spec.encode_items({str(name): column.to_numpy() for name, column in item_table.items()})
    out = []
    for start in tqdm(range(0, len(candidates), CHUNK), desc="DeepFM", unit="chunk", mininterval=1):
        part = candidates[start : start + CHUNK]
        rows = spec.assemble(
            np.repeat(users[start : start + CHUNK], part.shape[1], axis=0), items[np.maximum(part.ravel() - 1, 0)]
        )
        scores = np.where(part > 0, predict(model, torch.from_numpy(rows)).reshape(part.shape), -np.inf)
        out.append(np.take_along_axis(part, np.argsort(-scores, axis=1, kind="stable"), axis=1))
    return np.concatenate(out)
