"""How Elasticsearch scores: inner products on its scale of positive numbers, and genres beside them.

Its similarity `max_inner_product` makes 1 + p of an inner product p, and 1 / (1 - p) where p is below zero, so that the
order is that of the products. Arrays keep their type and may hold NaN: an item without a vector.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.recipes import VectorRecipe

Products = TypeVar("Products", NDArray[np.float32], NDArray[np.float64])


def score_of_product(products: Products) -> Products:
    """Inner products -> the scores of a search by vector alone."""
    return np.where(products >= 0, 1 + products, 1 / (1 - np.minimum(products, 0)))


def product_of_score(scores: Products) -> Products:
    """Inverse of `score_of_product`."""
    return np.where(scores >= 1, scores - 1, 1 - 1 / scores)


def hybrid_scores(products: Products, matches: NDArray[np.bool_], channel: VectorRecipe) -> NDArray[np.float64]:
    """Inner products, and whether a genre matches -> the scores of a search by both; NaN for what neither finds.

    A match earns the channel's term weight, a vector its vector weight times the score of the product.
    """
    has_vector = ~np.isnan(products)
    near = np.where(has_vector, score_of_product(products), 0)
    scores = channel.term_weight * matches + channel.vector_weight * near
    return np.where(matches | has_vector, scores, np.nan)
