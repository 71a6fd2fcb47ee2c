"""The workers that train one model together (Li et al. 2020, "PyTorch Distributed"), and what each has of the data.

Each worker has the events of its own users. All of them draw the same order of all examples, and compute, of each
batch, what is theirs; gradients are those of the mean over the whole batch. So any number of workers takes the steps
that one would take, but for rounding, and for dropout, which each draws for itself.
"""

from __future__ import annotations

import datetime
import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch import distributed as dist

from data_exchange_center.settings import TrainingSettings
from data_exchange_center.steps import StepError
from offline.data.sequences import Ints, Sequences
from offline.training.distributed.batch_norm import normalised_together

TIMEOUT: Final = datetime.timedelta(hours=2)  # of waiting for the others, who may be fitting something alone
JOINING: Final = datetime.timedelta(minutes=2)  # of waiting for them to be there; who waited longer is started anew
# Of torchrun, with its rendezvous c10d: a store of addresses for each start of the workers.
OWN_STORE: Final = "TORCH_DISABLE_SHARE_RDZV_TCP_STORE"

CPU: Final = torch.device("cpu")


@dataclass(frozen=True)
class Share:
    """Which of ``total`` things are a worker's: those from ``begin``, included, to ``end``, excluded."""

    begin: int
    end: int
    total: int

    def of(self, index: Ints) -> Ints:
        """Of positions among all, those of this worker, as positions within the share."""
        return index[self.mask(index)] - self.begin

    @property
    def slice(self) -> slice:
        return slice(self.begin, self.end)

    def mask(self, index: Ints) -> NDArray[np.bool_]:
        return (index >= self.begin) & (index < self.end)


@dataclass(frozen=True)
class Workers:
    """All workers, seen by one of them.

    Attributes:
        rank: its number; worker 0 writes and reports.
        world: how many there are.
        device: where its model is.
        half: whether products of matrices are computed in bfloat16; only on a GPU.
        folder: for checkpoints of this step; None: none are kept.
    """

    rank: int = 0
    world: int = 1
    device: torch.device = CPU
    half: bool = False
    folder: Path | None = None

    @property
    def first(self) -> bool:
        return self.rank == 0

    def share(self, total: int) -> Share:
        """An even share of ``total`` things that every worker knows the number of."""
        return Share(total * self.rank // self.world, total * (self.rank + 1) // self.world, total)

    def numbered(self, own: int) -> Share:
        """The share of a worker that has ``own`` things, where they are numbered worker after worker."""
        if self.world == 1:
            return Share(0, own, own)
        sizes = torch.zeros(self.world, dtype=torch.int64)
        sizes[self.rank] = own
        ends = np.cumsum(self.sum(sizes).numpy())
        return Share(int(ends[self.rank]) - own, int(ends[self.rank]), int(ends[-1]))

    def reads(self, users: int) -> slice:
        """Of ``users`` in order, those whose events the worker reads: its own; the first, who also works alone, all."""
        own = self.share(users)
        return slice(None) if self.first else slice(own.begin, own.end)

    def own_events(self, data: Sequences) -> Sequences:
        """The events of the worker's users; all users keep their place. ``data``: all events, or just these."""
        if self.world == 1:
            return data
        return data.select(self.share(data.n_users).mask(data.users))

    def sum(self, values: Tensor) -> Tensor:
        """Sum over the workers of a tensor on the CPU, the same for all of them."""
        if self.world > 1:
            dist.all_reduce(values := values.clone())
        return values

    def seed(self, seed: int, epoch: int) -> None:
        """Seed what each of several workers draws for itself in an epoch: dropout. Who is alone goes on as it was."""
        if self.world > 1:
            torch.manual_seed(int(np.random.SeedSequence([seed, epoch, self.rank]).generate_state(1)[0]))

    def parallel(self, loss: nn.Module) -> nn.Module:
        """A module whose forward is a loss, on the worker's device; its gradients are averaged over the workers."""
        loss = loss.to(self.device)
        if self.world == 1:
            return loss
        return nn.parallel.DistributedDataParallel(normalised_together(loss), forward_sync_buffers=False)

    def precision(self) -> AbstractContextManager[None]:
        """In which a loss is computed; gradients and weights stay in single precision."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.half)

    def mean(self, loss: Tensor, weight: float) -> Tensor:
        """From the sum over the worker's targets: what to go backward from, so that averaged gradients are those of
        the mean over all workers' targets. ``weight``: of the worker's, their number where each weighs 1."""
        everywhere = float(self.sum(torch.tensor(weight, dtype=torch.float64)))
        return loss * self.world / (everywhere or 1)


def on_device(values: Any, device: torch.device) -> Any:
    """A tensor, or tuples of tensors, on the device."""
    if isinstance(values, Tensor):
        return values.to(device)
    return tuple(on_device(each, device) for each in values)


ALONE: Final = Workers()
_current: ContextVar[Workers] = ContextVar("workers", default=ALONE)


def current() -> Workers:
    """The workers that this process is one of. Recipes' `fit`, which others write too, need not hand them on."""
    return _current.get()


def launched() -> bool:
    """Whether torchrun, or `launch.run`, has started this process."""
    return dist.is_torchelastic_launched()


@contextmanager
def joined(settings: TrainingSettings, folder: Path | None = None) -> Iterator[Workers]:
    """The group of the workers that were started with this one; a process that nobody launched is alone.

    ``folder``: for checkpoints; it goes when the block ends well.

    Raises StepError where there is no GPU for the worker and the settings want one, or where workers that are started
    anew would look for each other where they died.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True" and os.environ.get("TORCHELASTIC_MAX_RESTARTS") != "0":
        raise StepError(f"torchrun --max-restarts needs --rdzv-backend c10d and {OWN_STORE}=1, on every machine.")
    device = _device(settings)
    if not launched():
        yield from _as_current(Workers(device=device, half=settings.half))
        return
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timeout=JOINING)
    try:
        dist.set_timeout(TIMEOUT)
        workers = Workers(dist.get_rank(), dist.get_world_size(), device, settings.half, folder)
        yield from _as_current(workers)
        if folder is not None and workers.first:
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        dist.destroy_process_group()


def _as_current(workers: Workers) -> Iterator[Workers]:
    token = _current.set(workers)
    try:
        yield workers
    finally:
        _current.reset(token)


def _device(settings: TrainingSettings) -> torch.device:
    if settings.device == "cpu":
        return CPU
    number, there = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if number >= there:
        raise StepError(
            f"RECSYS_TRAINING__DEVICE=cuda: this machine has {there} GPUs, and worker {number} of it needs one of its "
            "own. Start fewer workers, or train with RECSYS_TRAINING__DEVICE=cpu."
        )
    torch.cuda.set_device(number)
    return torch.device("cuda", number)
