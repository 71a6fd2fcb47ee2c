"""The softmax over a sample of the items: for catalogues whose logits, a row for each request, have no room.

A batch's requests share one sample. Each item is in it with a chance of its own, independently of the others, and then
counts 1 / chance times: its logit less the logarithm of the chance, the logQ correction (Bengio & Senecal 2008; Yi et
al. 2019). So a denominator's expectation is the sum over all items (Horvitz & Thompson 1952). A request's own targets
are always in its denominator, and count once. Where every chance is 1 this is `next_item_loss`.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from offline.data.sequences import Ints
from offline.training.next_item_loss import EXCLUDED

SMOOTHING = 0.75  # of how often an item is liked


def chances(liked: NDArray[np.floating], size: int) -> NDArray[np.float64]:
    """(items + 1,) how often each is liked, row 0 padding -> (items + 1,) the chance of each to be in a batch's sample.

    They grow with what is liked, up to 1, none is 0, and their sum is ``size``, or the number of items where that is
    less. Item 0, which no denominator counts, is always drawn: a sample is never empty.
    """
    weights = (liked[1:] + 1.0) ** SMOOTHING
    falling = np.sort(weights)[::-1]
    certain = np.arange(min(size, len(weights)))  # if so many of the most liked are always drawn
    share = (size - certain) / np.cumsum(falling[::-1])[::-1][certain]  # what is left, over the others' weights
    enough = share * falling[certain] <= 1
    whole = size >= len(weights)
    chance = np.ones(len(weights)) if whole else np.minimum(share[enough.argmax()] * weights, 1)
    return np.concatenate([[1.0], chance])


def drawn(chance: NDArray[np.float64], rng: np.random.Generator) -> Ints:
    """Codes of one batch's sample, ascending."""
    return np.flatnonzero(rng.random(len(chance)) < chance)


def within(sample: Ints, pairs: tuple[Ints, Ints]) -> tuple[Ints, Ints]:
    """(row, item) -> (row, position in the sample) of those items that are in it."""
    rows, items = pairs
    position = np.minimum(np.searchsorted(sample, items), len(sample) - 1)
    there = sample[position] == items
    return rows[there], position[there]


def sampled_item_loss(
    users: Tensor,
    items: Tensor,
    bias: Tensor,
    left_out: tuple[Tensor, Tensor],
    targets: tuple[Tensor, Tensor],
    weights: Tensor,
) -> Tensor:
    """Weighted cross-entropy of the targets, summed: (m, d) users, (k, d) items of the sample, (k,) biases -> ().

    Args:
        bias: each item's, less the logarithm of its chance.
        left_out: (row, position in the sample) of what is not counted: what was seen, and the row's own targets. The
            first of the sample, padding, never is.
        targets: row and logit of what was liked next; a row may have several, or none.
        weights: (m,) of each target of a row.
    """
    rows, of_target = targets
    logits = torch.addmm(bias, users, items.T).float()  # (m, k)
    excluded = torch.zeros_like(logits, dtype=torch.bool)
    excluded[left_out] = True
    excluded[:, 0] = True
    logits = logits.masked_fill(excluded, EXCLUDED)
    top = logits.detach().amax(dim=1).scatter_reduce(0, rows, of_target.detach(), "amax")
    own = (of_target - top[rows]).exp()
    total = (logits - top[:, None]).exp().sum(dim=1).index_add(0, rows, own)
    counts = torch.bincount(rows, minlength=len(users)) * weights
    loss: Tensor = (counts * (top + total.log())).sum() - (weights[rows] * of_target).sum()
    return loss
