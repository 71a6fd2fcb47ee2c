"""Recall channel `ease`: EASE, a linear item-item model (Steck, "Embarrassingly Shallow Autoencoders", WWW 2019).

Recipe: `EaseRecipe`. Reads which users liked which items, (users, items + 1) 0/1. Fits a weight matrix, (items + 1,
items + 1), in closed form, and factors it: rows and columns (items + 1, dim), whose products are its best approximation
of that rank. A user's vector is the weighted sum of the rows of the history, an item's is its column.

Served: `HistorySum`. Its factors are also similarities of the list ranker. `transition_factors` are such factors of
what is liked after what: the tower starts from them, and the list ranker reads them.
"""

from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy import linalg
from scipy.sparse.linalg import svds

from data_exchange_center import event_types, plugins, recipes
from data_exchange_center.channels import CONTINUES, RETURNS, Float32, HistorySum
from offline.data.sequences import Inputs, Sequences
from offline.models.kinds import Fitted

SMOOTHING = 0.75  # exponent of item frequencies, as in word2vec: rare items do not seem to follow everything


def fit(
    recipe: recipes.EaseRecipe,
    past: Sequences,
    inputs: Inputs,
    data: recipes.DataRecipe,
) -> Fitted:
    """Fit the channel: user = sum of rows x (lag + 1)^-power, halved for dislikes; item = columns; no popularity.

    After a break: likes among the newest `EaseRecipe.taste` events all have one weight, dislikes a tenth of it.
    """
    # Factors of the weights, (items + 1, dim) each.
    likes = past.wanted()
    catalogues = plugins.find(plugins.ENGINES).get("catalogues")
    if catalogues and past.n_items > recipe.low_rank_beyond:
        rows, columns = catalogues.load().low_rank_ease(
            likes, recipe.eigenvectors, recipe.l2, recipe.dim, recipe.seed
        )
    else:
        rows, columns = low_rank(
            ease(past.liked_together(), recipe.l2), recipe.dim, recipe.seed
        )
    rows[0] = columns[0] = 0
    # An event's weight in a user's sum: by its rating, (regimes, rating codes), times by its place, (regimes, lags).
    dataset = inputs.dataset
    ratings = np.arange(len(dataset.levels) + 1)  # codes, that of padding included
    rating_weight = np.ones((2, len(ratings)), dtype=np.float32)
    for regime, disliked in ((CONTINUES, 0.5), (RETURNS, 0.1)):
        rating_weight[regime, ratings <= dataset.positive_level] = disliked
    if dataset.types:
        weights = event_types.weights(dataset.types)
        rating_weight[:] = weights / np.abs(weights).max()
    rating_weight[:, 0] = 0  # padding
    decay = np.arange(1, data.history + 1) ** -recipe.power
    lag = np.zeros((2, max(data.history, recipe.taste)), dtype=np.float32)
    lag[CONTINUES, : data.history] = decay
    # so that scores are about as large as within a session
    lag[RETURNS, : recipe.taste] = decay.mean()
    channel = HistorySum(
        name=recipe.name,
        rows=rows[None],
        lag=lag[None],
        rating_weight=rating_weight[None],
        base=np.zeros((2, columns.shape[1]), dtype=np.float32),
        profile=(),
        items=columns,
        bias=np.zeros(len(columns), dtype=np.float32),
        trained=np.asarray(likes.sum(axis=0)).ravel() > 0,
    )
    return Fitted(channel)


def ease(together: sp.csr_matrix, l2: float = 1000.0) -> Float32:
    """EASE (Steck 2019): co-occurrence (`Sequences.liked_together`) -> (items + 1, items + 1) weights, diagonal 0."""
    gram = together.toarray().astype(np.float64)  # (items + 1, items + 1)
    gram[np.diag_indices_from(gram)] += l2
    inverse = linalg.inv(gram, overwrite_a=True, check_finite=False, assume_a="pos")
    # in place: this matrix, items x items doubles, is the step's peak memory
    inverse /= -np.diag(inverse)
    weights = inverse.astype(np.float32)
    np.fill_diagonal(weights, 0)
    return weights


def low_rank(
    weights: Float32 | sp.csr_matrix, dim: int, seed: int = 0
) -> tuple[Float32, Float32]:
    """Truncated SVD: (n, n) -> rows (n, dim), columns (n, dim); rows @ columns.T is the best of that rank.

    ``dim`` is at most n - 1.
    """
    if not (weights.count_nonzero() if sp.issparse(weights) else weights.any()):
        nothing = np.zeros(
            (weights.shape[0], min(dim, weights.shape[0] - 1)), dtype=np.float32
        )
        return nothing, nothing.copy()
    # in single precision, runs differ in the last digits
    return factors(weights.astype(np.float64), dim, seed)


def factors(weights: Any, dim: int, seed: int) -> tuple[Float32, Float32]:
    """As `low_rank`; ``weights``: a matrix or a linear operator in double precision, not zero."""
    left, values, right = svds(
        weights, k=min(dim, weights.shape[0] - 1), random_state=seed
    )
    order = np.argsort(-values)
    values = values[order]
    # what is below is rounding
    root = np.sqrt(np.where(values > 1e-6 * values[0], values, 0))
    return (left[:, order] * root).astype(np.float32), (right[order].T * root).astype(
        np.float32
    )


def transition_factors(
    followers: sp.csr_matrix, dim: int, seed: int = 0
) -> tuple[Float32, Float32]:
    """Positive pointwise mutual information of an event and what is liked after it (Levy & Goldberg 2014), low rank.

    ``followers``: `Sequences.followers`. Returns factors of events and of candidates, (items + 1, min(dim, items))
    each; row 0 is zero.
    """
    counts = followers.tocoo()  # no pair twice
    liked, events = (
        np.bincount(counts.col, counts.data),
        np.bincount(counts.row, counts.data),
    )
    share = liked**SMOOTHING / (liked**SMOOTHING).sum()
    information = np.log(counts.data / (events[counts.row] * share[counts.col]))
    positive = np.maximum(information, 0)
    rows, columns = low_rank(
        sp.csr_matrix((positive, (counts.row, counts.col)), shape=counts.shape),
        dim,
        seed,
    )
    rows[0] = columns[0] = 0
    return rows, columns
