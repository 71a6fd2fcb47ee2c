"""The softmax over all items a user has not seen, with its gradient in closed form: most of the tower's training.

Written out, the logits are one array that is worked on in place; autograd would go over as many numbers a dozen times.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

EXCLUDED = -1e4  # logit of an item that is left out of the softmax


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
