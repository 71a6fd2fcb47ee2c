"""Models of large catalogues: the tower's softmax over a sample of the items, EASE without a matrix of items x items.

They take the place of the full ones where a catalogue has more items than the recipe's `sampled_beyond` and
`low_rank_beyond`.

Sampled softmax: a batch's requests share one sample. Each item is in it with a chance of its own, independently of the
others (Poisson sampling), and then counts 1 / chance times: its logit less the logarithm of the chance, the logQ
correction (Bengio & Senecal 2008; Yi et al. 2019). So a denominator's expectation is the sum over all items (Horvitz &
Thompson 1952). A request's own targets are always in its denominator, and count once. Where every chance is 1, the loss
is the full softmax's.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from scipy import linalg
from scipy.sparse.linalg import LinearOperator, svds
from torch import Tensor

from data_exchange_center.channels import Float32
from data_exchange_center.fusion import Vocabulary
from offline.data.sequences import Ints, Points, Sequences
from offline.models.ease import factors
from offline.models.tower import (
    EXCLUDED,
    Batch,
    Pairs,
    Softmax,
    Tower,
    batch_of,
)

Floats = NDArray[np.float64]
SMOOTHING = 0.75  # exponent of an item's number of likes, for its chance to be sampled


# --- The tower's loss over a sample


class SampledBatch(NamedTuple):
    """Requests, and the sample that their softmax is over."""

    requests: Batch
    sample: Tensor  # (k,) item codes
    left_out: Pairs  # (row, position in the sample) of what is not counted: what was seen, and the row's own targets

    @property
    def weight(self) -> float:
        """Sum of the targets' weights."""
        return self.requests.weight


class SampledSoftmax(Softmax):
    """`Softmax` over a sample of the items, a new one for each batch."""

    def __init__(self, model: Tower, people: Tensor, clicks: Float32) -> None:
        super().__init__(model, people, clicks)
        self.chance = chances(clicks, model.recipe.sampled_items)
        # (items + 1,) logarithm of each item's chance to be in a sample
        self.correction = torch.from_numpy(np.log(self.chance).astype(np.float32))

    def batches(self, epoch: int) -> Callable[[Sequences, Points, int], SampledBatch]:
        """See `Softmax.batches`."""
        return partial(
            self._batch, rng=np.random.default_rng([self.model.recipe.seed, epoch])
        )

    def _batch(
        self, data: Sequences, points: Points, lags: int, rng: np.random.Generator
    ) -> SampledBatch:
        batch, sample = (
            batch_of(data, points, lags, self.model.recipe),
            drawn(self.chance, rng),
        )
        rows, items = (
            torch.cat(each).numpy()
            for each in zip(batch.left_out, batch.targets, strict=True)
        )
        left_out = within(sample, np.stack([rows, items]))
        return SampledBatch(
            batch,
            torch.from_numpy(sample),
            (torch.from_numpy(left_out[0]), torch.from_numpy(left_out[1])),
        )

    def __call__(self, batch: Any) -> Tensor:
        requests, sample, left_out = batch
        users, items, ratings, regime, _, (rows, liked), weights, totals = requests
        model = self.model
        vectors = model(items, ratings, self.people[users], regime)  # (m, dim)
        of_target = (vectors[rows].float() * model.item_vectors(liked)).sum(
            dim=1
        ) + model.bias[liked]
        bias = model.bias[sample] - self.correction[sample]
        return sampled_item_loss(
            vectors,
            model.item_vectors(sample),
            bias,
            left_out,
            (rows, of_target),
            weights,
            totals,
        )


def chances(liked: NDArray[np.floating], size: int) -> Floats:
    """(items + 1,) how often each is liked, row 0 padding -> (items + 1,) the chance of each to be in a batch's sample.

    Without item 0 their sum is ``size``, or the number of items where that is less; none is 0. Item 0, which no
    denominator counts, is always drawn: a sample is never empty.
    """
    weights = (liked[1:] + 1.0) ** SMOOTHING
    falling = np.sort(weights)[::-1]
    # if so many of the most liked are always drawn
    certain = np.arange(min(size, len(weights)))
    # what is left, over the others' weights
    share = (size - certain) / np.cumsum(falling[::-1])[::-1][certain]
    enough = share * falling[certain] <= 1
    whole = size >= len(weights)
    chance = (
        np.ones(len(weights))
        if whole
        else np.minimum(share[enough.argmax()] * weights, 1)
    )
    return np.concatenate([[1.0], chance])


def drawn(chance: Floats, rng: np.random.Generator) -> Ints:
    """Draw the sample of one batch: item codes, ascending."""
    return np.flatnonzero(rng.random(len(chance)) < chance)


def within(sample: Ints, pairs: Ints) -> tuple[Ints, Ints]:
    """(2, n) rows and items -> rows and positions in the sample of those items that are in it."""
    rows, items = pairs
    codes = Vocabulary(sample).codes(items)
    there = codes > 0
    return rows[there], codes[there] - 1


def sampled_item_loss(
    users: Tensor,
    items: Tensor,
    bias: Tensor,
    left_out: Pairs,
    targets: Pairs,
    weights: Tensor,
    totals: Tensor,
) -> Tensor:
    """`next_item_loss` of a sample's k items; the first, padding, is never counted.

    Args:
        bias: (k,) each item's, less the logarithm of its chance.
        left_out: (row, position in the sample) of what is not counted: what was seen, and the row's own targets.
        targets: row and logit of what was liked next.
    """
    rows, of_target = targets
    logits = torch.addmm(bias, users, items.T).float()  # (m, k)
    excluded = torch.zeros_like(logits, dtype=torch.bool)
    excluded[left_out] = True
    excluded[:, 0] = True
    logits = logits.masked_fill(excluded, EXCLUDED)
    top = (
        logits.detach().amax(dim=1).scatter_reduce(0, rows, of_target.detach(), "amax")
    )
    own = (of_target - top[rows]).exp()
    total = (logits - top[:, None]).exp().sum(dim=1).index_add(0, rows, own)
    chosen = (weights * of_target).sum()
    loss: Tensor = (totals * (top + total.log())).sum() - chosen
    return loss


# --- EASE


def low_rank_ease(
    seen: sp.csr_matrix, eigenvectors: int, l2: float, dim: int, seed: int = 0
) -> tuple[Float32, Float32]:
    """`low_rank` of EASE's weights, without a matrix of items x items: of (users, items + 1) 0/1, column 0 empty.

    The co-occurrence matrix is approximated by V L V' of its largest eigenvalues, and the rest of its diagonal. The
    inverse that EASE needs is a diagonal less a product of (n, eigenvectors) with itself (Woodbury): exact where there
    are as many eigenvectors as the matrix has rank.
    """
    exact = seen.astype(np.float64)
    _, values, vectors = svds(
        exact, k=min(eigenvectors, min(seen.shape) - 1), random_state=seed
    )
    half = vectors.T * values  # (n, k): V L^1/2
    seen_by = np.asarray(exact.sum(axis=0)).ravel()  # the diagonal, as all values are 1
    diagonal = l2 + np.maximum(seen_by - np.square(half).sum(axis=1), 0)
    half /= np.sqrt(diagonal)[:, None]
    inner = np.linalg.cholesky(np.eye(half.shape[1]) + half.T @ half)
    product = (
        linalg.solve_triangular(inner, half.T, lower=True).T
        / np.sqrt(diagonal)[:, None]
    )
    # over the inverse's diagonal
    columns = product / (1 / diagonal - np.square(product).sum(axis=1))[:, None]
    of_itself = (product * columns).sum(axis=1)  # EASE's weights have none

    def by(left: Floats, right: Floats) -> Callable[..., Floats]:
        return lambda vector: (
            left @ (right.T @ vector.ravel()) - of_itself * vector.ravel()
        )

    weights = LinearOperator(
        (len(half), len(half)),
        matvec=by(product, columns),
        rmatvec=by(columns, product),
        dtype=np.float64,
    )
    found = factors(weights, dim, seed)
    for rows in (
        found
    ):  # an item that was seen together with nothing has none, but for rounding
        sizes = np.linalg.norm(rows, axis=1)
        rows[sizes < 1e-9 * sizes.max()] = 0
    return found
