"""A Gaussian factor model of ratings, and what it expects of a rating from the earlier ratings of its user.

rating = item's mean + user's bias + <item's loadings, user's taste> + drift + noise, taste standard normal. Fitted
by expectation-maximization over the users, whose taste is integrated out: probabilistic PCA with missing values and a
prior on the loadings (Ilin and Raiko, "Practical Approaches to Principal Component Analysis in the Presence of Missing
Values", JMLR 2010). A user who was not in the fit needs no training: given the model, all of a user's ratings are
jointly Gaussian, so the earlier ones say what to expect of the next.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy import linalg

from data_exchange_center.as_of import happened
from offline.data.sequences import Ints, Sequences

Floats = NDArray[np.float64]

# Variances in squared stars, chosen on validation rows as the rest. A drift is a mood: ratings of about the same time
# have it in common.
USER_VARIANCE = 0.2
DRIFT_VARIANCE = 0.05
DRIFT_EVENTS = 50.0  # ratings after which a drift's correlation has fallen to 1/e
LOADING_PRECISION = 120.0  # of the prior: a loading is about 1 / sqrt(120) = 0.09 stars
MEAN_PRIOR = 5.0  # average ratings that every item starts with


@dataclass(frozen=True)
class RatingFactors:
    """A fitted model.

    Attributes:
        item_mean: (items + 1,) stars; the overall mean for an item never rated.
        loadings: (items + 1, dim) stars; nearly 0 for an item never rated.
        noise: variance that is left, in squared stars.
    """

    item_mean: Floats
    loadings: Floats
    noise: float


def fit_factors(data: Sequences, dim: int = 16, iterations: int = 20, seed: int = 0) -> RatingFactors:
    """The model of all ratings in ``data``."""
    shape = (data.n_users, data.n_items + 1)
    rated = sp.csr_matrix((np.ones(len(data.items)), data.items, data.starts), shape=shape)
    overall = float(data.ratings.mean())
    model = RatingFactors(
        item_mean=np.full(shape[1], overall),
        loadings=np.random.default_rng(seed).normal(0, LOADING_PRECISION**-0.5, (shape[1], dim)),
        noise=float(data.ratings.var()),
    )
    for _ in range(iterations):
        taste, moments, noise = _taste(model, data, rated)
        model = _refitted(data.ratings.astype(np.float64) - overall, overall, rated, taste, moments, noise)
    return model


def expected_ratings(
    model: RatingFactors, items: Ints, ratings: NDArray[np.integer], times: Ints
) -> tuple[Floats, Floats]:
    """Mean and standard deviation, in stars, of each of one user's ratings given those of an earlier second.

    Gaussian process regression (Rasmussen and Williams 2006, section 2.2), in the order of time. One Cholesky factor L
    of the ratings' covariance serves all rows: with L z = ratings - item means, a row's part of L before its second,
    times z, is that row's conditional mean. The deviation is that of the rating without its noise.

    Args:
        model: fitted without this user.
        items, ratings, times: (n,), oldest first.
    """
    order = np.arange(len(items))
    loadings = model.loadings[items]
    drift: Floats = DRIFT_VARIANCE * np.exp(-np.abs(order[:, None] - order) / DRIFT_EVENTS)
    covariance = loadings @ loadings.T + USER_VARIANCE + drift
    prior = covariance.diagonal().copy()
    covariance[order, order] += model.noise
    lower = linalg.cholesky(covariance, lower=True, overwrite_a=True, check_finite=False)
    surprise = linalg.solve_triangular(lower, ratings - model.item_mean[items], lower=True, check_finite=False)
    known = np.where(happened(times, times[:, None]), lower, 0)  # [now, earlier]
    mean = model.item_mean[items] + known @ surprise
    return mean, np.sqrt(np.maximum(prior - np.square(known).sum(axis=1), 0))


def _taste(model: RatingFactors, data: Sequences, rated: sp.csr_matrix) -> tuple[Floats, Floats, float]:
    """E-step: (users, dim + 1) posterior means of bias and taste, their second moments, and the noise they leave.

    The bias is a factor whose loading is the same for every item.
    """
    loadings = np.column_stack([np.full(len(model.loadings), USER_VARIANCE**0.5), model.loadings])
    dim = loadings.shape[1]
    squares = (rated @ _outer(loadings).reshape(-1, dim * dim)).reshape(-1, dim, dim)
    covariance = np.linalg.inv(squares / model.noise + np.eye(dim))
    residual = data.ratings - model.item_mean[data.items]
    sums = sp.csr_matrix((residual, data.items, data.starts), shape=rated.shape) @ loadings
    mean = np.einsum("ukl,ul->uk", covariance, sums) / model.noise
    left = residual - (mean[data.users] * loadings[data.items]).sum(axis=1)
    uncertain = np.einsum("ukl,ukl->", covariance, squares)
    return mean, covariance + _outer(mean), float((left @ left + uncertain) / len(left))


def _refitted(
    centred: Floats, overall: float, rated: sp.csr_matrix, taste: Floats, moments: Floats, noise: float
) -> RatingFactors:
    """M-step: each item's loadings and mean by ridge regression on the users' bias (its loading is known) and taste."""
    users, dim = taste.shape
    regressors = np.column_stack([taste, np.ones(users)])  # bias, taste, mean
    second = _outer(regressors)
    second[:, :dim, :dim] = moments
    by_item = rated.T.tocsr()
    gram = (by_item @ second.reshape(users, -1)).reshape(-1, dim + 1, dim + 1)
    target = sp.csr_matrix((centred, rated.indices, rated.indptr), shape=rated.shape).T @ regressors
    target = (target - gram[:, :, 0] * USER_VARIANCE**0.5)[:, 1:]
    gram = gram[:, 1:, 1:]
    gram[:, range(dim), range(dim)] += np.r_[np.full(dim - 1, LOADING_PRECISION * noise), MEAN_PRIOR]
    solved = np.linalg.solve(gram, target[..., None])[..., 0]
    return RatingFactors(item_mean=overall + solved[:, -1], loadings=solved[:, :-1], noise=noise)


def _outer(rows: Floats) -> Floats:
    """(n, d) -> (n, d, d)."""
    product: Floats = rows[:, :, None] * rows[:, None, :]
    return product
