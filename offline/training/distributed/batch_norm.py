"""Batch normalisation over the rows of all workers: torch's SyncBatchNorm does the same, on GPUs alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.autograd.function import once_differentiable


class _Sum(torch.autograd.Function):
    """The sum over the workers; what a worker adds is in the loss of each of them."""

    @staticmethod
    def forward(_: Any, values: Tensor) -> Tensor:
        dist.all_reduce(total := values.clone())
        return total

    @staticmethod
    @once_differentiable
    def backward(_: Any, gradient: Tensor) -> Tensor:
        dist.all_reduce(total := gradient.clone())
        return total


class GlobalBatchNorm1d(nn.BatchNorm1d):
    """`nn.BatchNorm1d` of (n, features) rows, whose batch is that of all workers; n may be 0 for some of them."""

    def forward(self, rows: Tensor) -> Tensor:
        if not self.training:
            return super().forward(rows)
        rows = rows.float()
        sums: Tensor = _Sum.apply(torch.cat([rows.sum(dim=0), rows.new_tensor([len(rows)])]))
        count = sums[-1].detach()
        mean = sums[:-1] / count
        centred = rows - mean
        variance: Tensor = _Sum.apply((centred * centred).sum(dim=0)) / count
        self._remember(mean.detach(), variance.detach() * count / (count - 1))
        return centred * (variance + self.eps).rsqrt() * self.weight + self.bias

    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        """What rows are normalised by in evaluation."""
        momentum = self.momentum or 0.0
        for running, value in ((self.running_mean, mean), (self.running_var, variance)):
            if running is not None:
                running.lerp_(value, momentum)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked += 1


def normalised_together(network: nn.Module) -> nn.Module:
    """The network, each `nn.BatchNorm1d` in it replaced by one over all workers' rows, with the same weights."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if type(child) is nn.BatchNorm1d:
                together = GlobalBatchNorm1d(child.num_features, child.eps, child.momentum)
                together.load_state_dict(child.state_dict())
                setattr(module, name, together)
    return network
