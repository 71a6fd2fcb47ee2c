"""The tower's losses: softmax over the items that a user has not seen, all of them or a sample.

Over all items, with the gradient in closed form: the logits are one array that is worked on in place; autograd would go
over as many numbers a dozen times.

Over a sample, for catalogues whose logits, a row for each request, do not fit into memory. A batch's requests share one
sample. Each item is in it with a chance of its own, independently of the others, and then counts 1 / chance times: its
logit less the logarithm of the chance, the logQ correction (Bengio & Senecal 2008; Yi et al. 2019). So a denominator's
expectation is the sum over all items (Horvitz & Thompson 1952). A request's own targets are always in its denominator,
and count once. Where every chance is 1 both losses are equal.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from data_exchange_center.vocabulary import Vocabulary
from offline.data.sequences import Ints

EXCLUDED = -1e4  # logit of an item that is left out of the softmax
SMOOTHING = 0.75  # of how often an item is liked


def next_item_loss(
    users: Tensor,
    items: Tensor,
    bias: Tensor,
    seen: tuple[Tensor, Tensor],
    targets: tuple[Tensor, Tensor],
    weights: Tensor,
) -> Tensor:
    """Weighted cross-entropy of the targets, summed: (m, d) users, (n, d) items and their (n,) biases -> ().

    Args:
        seen: (row, item) of what is left out of the denominators; item 0, padding, is always left out.
        targets: (row, item) of what was liked next; a row may have several, or none.
        weights: (m,) of each target of a row.
    """
    loss: Tensor = _NextItemLoss.apply(users, items, bias, *seen, *targets, weights)
    return loss


class _NextItemLoss(torch.autograd.Function):
    """sum over rows r of weight_r * (count_r * logsumexp(logits_r) - its targets' logits); count_r: of its targets."""

    @staticmethod
    def forward(
        ctx: Any,
        users: Tensor,
        items: Tensor,
        bias: Tensor,
        seen_rows: Tensor,
        seen_items: Tensor,
        target_rows: Tensor,
        target_items: Tensor,
        weights: Tensor,
    ) -> Tensor:
        logits = torch.addmm(bias, users, items.T).float()  # (m, n)
        flat, width = logits.view(-1), logits.shape[1]
        flat[seen_rows * width + seen_items] = EXCLUDED
        logits[:, 0] = EXCLUDED
        at = target_rows * width + target_items
        of_target = weights[target_rows]
        chosen = (of_target * flat[at]).sum()  # no product of vectors: where autocast is on, it is one of bfloat16
        counts = torch.bincount(target_rows, minlength=len(users)) * weights
        top = logits.amax(dim=1)
        total = logits.sub_(top[:, None]).exp_().sum(dim=1)
        loss = (counts * (top + total.log())).sum() - chosen
        gradient = logits.mul_((counts / total)[:, None])  # of the loss by the logits, but for the targets' own part
        gradient.view(-1).index_add_(0, at, -of_target)
        ctx.save_for_backward(users, items, gradient)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor | None, ...]:
        users, items, gradient = ctx.saved_tensors
        by_users, by_items, by_bias = gradient @ items, gradient.T @ users, gradient.sum(dim=0)
        return outer * by_users, outer * by_items, outer * by_bias, None, None, None, None, None


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
    codes = Vocabulary(sample).codes(items)
    there = codes > 0
    return rows[there], codes[there] - 1


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
