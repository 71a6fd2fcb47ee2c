"""Processes that train one model together (Li et al. 2020, "PyTorch Distributed"), and each one's share of the data.

Each worker has the events of its own users. All draw the same order of all examples, and each computes its own part of
every batch; gradients are those of the mean over the whole batch. So any number of workers takes the steps that one
would take, except for rounding, and for dropout, which each draws for itself.

A twin of a step starts as many workers as the settings say, as ``torchrun --standalone`` does; all are restarted when
one dies. For several machines start it with torchrun itself on each of them: it finds that it was launched. torchrun's
agent keeps the workers' addresses in a store that outlives them. So that restarted workers do not look for each other
at their old addresses (github.com/pytorch/pytorch/issues/135712), each start has its own store here.
"""

from __future__ import annotations

import datetime
import hashlib
import importlib
import json
import os
import shutil
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch import distributed as dist
from torch.autograd.function import once_differentiable
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from data_exchange_center import artifacts, plugins, steps
from data_exchange_center.columns import Columns
from data_exchange_center.files import written_in_place
from data_exchange_center.recipes import Recipe
from data_exchange_center.settings import IN_MEMORY, Settings
from data_exchange_center.steps import StepError
from offline.data.lists import Lists, prefetch
from offline.data.sequences import Inputs, Ints, Sequences
from offline.models.kinds import fit_channel
from offline.models.training import TRAINER, Examples, Run, Trainer
from offline.readers import read_inputs
from past_one_machine.workers.settings import TrainingSettings

TIMEOUT: Final = datetime.timedelta(hours=2)  # of waiting for the others, who may be fitting something alone
JOINING: Final = datetime.timedelta(minutes=2)  # of waiting for the others to join; after that a worker is restarted
# Of torchrun, with its rendezvous c10d: a store of addresses for each start of the workers.
OWN_STORE: Final = "TORCH_DISABLE_SHARE_RDZV_TCP_STORE"

CPU: Final = torch.device("cpu")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Share:
    """A worker's part of ``total`` numbered examples: from ``begin``, included, to ``end``, excluded."""

    begin: int
    end: int
    total: int

    def mask(self, index: Ints) -> NDArray[np.bool_]:
        """Which of some examples are in it."""
        return (index >= self.begin) & (index < self.end)


@dataclass(frozen=True, eq=False)
class OwnDraws:
    """Random numbers of a worker's part of a batch: all the batch's are drawn, so that none depends on the parts."""

    rng: np.random.Generator
    own: NDArray[np.bool_]  # (batch,)

    def random(self, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        drawn: NDArray[Any] = self.rng.random((len(self.own), *shape[1:]), dtype=dtype)
        return drawn[self.own]


@dataclass(eq=False)
class Workers(Trainer):
    """The group of workers, as seen by one of them.

    Attributes:
        rank: its number; worker 0 writes and reports.
        world: how many there are.
        device: where its model is.
        half: whether products of matrices are computed in bfloat16; only on a GPU.
        folder: for checkpoints of this step; None: none are kept.
        read: arrays that this worker trains on, which tell one run's checkpoints from another's.
    """

    rank: int = 0
    world: int = 1
    device: torch.device = CPU
    half: bool = False
    folder: Path | None = None
    read: tuple[NDArray[Any], ...] = ()

    @property
    def first(self) -> bool:
        """Whether this is the worker that reports and writes."""
        return self.rank == 0

    def share(self, total: int) -> Share:
        """An even share of ``total`` things that every worker knows the number of."""
        return Share(total * self.rank // self.world, total * (self.rank + 1) // self.world, total)

    def reads(self, users: int) -> slice:
        """Slice of ``users`` whose events the worker reads: its own; all for the first, which also works alone."""
        own = self.share(users)
        return slice(None) if self.first else slice(own.begin, own.end)

    def reads_lists(self, total: int) -> slice:
        """Slice of ``total`` training lists that a worker reads; the first, which runs the step itself, reads all."""
        own = self.share(total)
        return slice(own.begin, own.end)

    def own_events(self, past: Sequences) -> Sequences:
        """``past``: all events, or just the worker's."""
        own = past if self.world == 1 else past.select(self.share(past.n_users).mask(past.users))
        self.read = (own.starts, own.items, own.ratings, own.times)
        return own

    def own_lists(self, lists: Lists) -> Lists:
        """``lists``: all of them, of the first worker; the others have read just theirs."""
        own = lists.take(np.arange(self.share(len(lists)).end)) if self.first and self.world > 1 else lists
        self.read = (own.candidates, own.liked, own.features)
        return own

    def sum(self, values: Tensor) -> Tensor:
        """Sum of a tensor on the CPU over all workers."""
        if self.world > 1:
            dist.all_reduce(values := values.clone())
        return values

    def train(self, run: Run, examples: Examples) -> list[float]:
        """As `Trainer.train`, by all workers, on their devices, from the last checkpoint, if any."""
        loss_of = run.loss_of.to(self.device)
        if self.world > 1:  # averages the gradients over the workers
            loss_of = nn.parallel.DistributedDataParallel(normalised_together(loss_of), forward_sync_buffers=False)
        save = self.resume(run)
        total_batches = run.recipe.epochs * run.batches
        with steps.progress(total=total_batches, desc=run.title, unit="batch", disable=not self.first) as bar:
            for epoch in range(len(run.losses), run.recipe.epochs):
                if self.world > 1:  # each draws its own dropout
                    seeds = np.random.SeedSequence([run.recipe.seed, epoch, self.rank])
                    torch.manual_seed(int(seeds.generate_state(1)[0]))
                run.model.train()
                count, batch_of = examples(epoch)
                own = self.numbered(count)
                total = torch.zeros(2, dtype=torch.float64)  # losses, and what they are divided by
                for batch in prefetch(self.batches(run, own, batch_of)):
                    with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
                        loss = loss_of(self._on_device(batch))
                        everywhere = float(self.sum(torch.tensor(batch.weight, dtype=torch.float64)))
                        mean = loss * self.world / (everywhere or 1)  # averaged over the workers: of all targets
                    run.optimizer.zero_grad(set_to_none=True)
                    torch.autograd.backward(mean)
                    run.optimizer.step()
                    run.schedule.step()
                    total += torch.tensor([loss.item(), batch.weight] if run.by_target else [mean.item(), 1.0])
                    bar.update()
                losses, divisor = self.sum(total).tolist()
                run.losses.append(losses / (divisor or 1))
                save()
                bar.set_postfix(loss=f"{run.losses[-1]:.4f}", refresh=False)
        return run.losses

    def numbered(self, own: int) -> Share:
        """The worker's share, its ``own`` examples, when those of all workers are numbered in sequence."""
        sizes = torch.zeros(self.world, dtype=torch.int64)
        sizes[self.rank] = own
        ends = np.cumsum(self.sum(sizes).numpy())
        return Share(int(ends[self.rank]) - own, int(ends[self.rank]), int(ends[-1]))

    def batches(self, run: Run, own: Share, batch_of: Callable[[Ints, Any], Any]) -> Iterator[Any]:
        """The worker's part of each batch of an epoch, whose order is the same for all."""
        for index in np.array_split(run.rng.permutation(own.total), run.batches):
            mask = own.mask(index)
            yield batch_of(index[mask] - own.begin, OwnDraws(run.rng, mask))

    def _on_device(self, batch: Any) -> Any:
        """A tensor, or tuples of tensors, on the worker's device."""
        return batch.to(self.device) if isinstance(batch, Tensor) else tuple(map(self._on_device, batch))

    def resume(self, run: Run) -> Callable[[], None]:
        """Resume from the last checkpoint, if any. Returns a function that saves one, to call after each epoch.

        Only the first worker writes it, whole or not at all. Its name is a digest of model, recipe and data: with
        another recipe, other data or another number of workers training starts from scratch.
        """
        if self.folder is None:
            return lambda: None
        path = self.folder / f"{self._digest(run)}.pt"
        states: list[dict[str, Any] | None] = [None]
        if self.first and path.exists():
            states = [torch.load(path, map_location="cpu", weights_only=True)]
        dist.broadcast_object_list(states)
        if states[0] is not None:
            _load(run, states[0])

        def save() -> None:
            if self.first:
                with written_in_place(path) as temporary:
                    torch.save(_state(run), temporary)

        return save

    def _digest(self, run: Run) -> str:
        own = hashlib.sha256(run.recipe.model_dump_json().encode())
        for values in (*(each.cpu().numpy() for each in run.model.state_dict().values()), *self.read):
            own.update(np.ascontiguousarray(values).tobytes())
        digests = [""] * self.world
        dist.all_gather_object(digests, own.hexdigest())
        return hashlib.sha256("".join(digests).encode()).hexdigest()[:32]


def _state(run: Run) -> dict[str, Any]:
    return {
        **{name: getattr(run, name).state_dict() for name in ("model", "optimizer", "schedule")},
        "rng": json.dumps(run.rng.bit_generator.state),
        "losses": run.losses,
    }


def _load(run: Run, state: dict[str, Any]) -> None:
    for name in ("model", "optimizer", "schedule"):
        getattr(run, name).load_state_dict(state[name])
    run.rng.bit_generator.state = json.loads(state["rng"])
    run.losses[:] = state["losses"]


# --- A step's workers


def run(step: str, others: Callable[[Settings, Workers], None], *, about: str | None) -> None:
    """Run a step by as many workers as the settings say; see `steps.run`.

    Args:
        step: path of its script: the first worker runs it, or the twin that RECSYS_ENGINE has of it.
        others: the part of the other workers, a function of the script's module.
        about: as of `steps.run`.
    """
    steps.run(partial(_launch, step, others), about=about)


def _launch(step: str, others: Callable[[Settings, Workers], None], settings: Settings) -> None:
    training_settings = TrainingSettings.load()
    if training_settings.workers == 1 or dist.is_torchelastic_launched():
        _join(step, others, settings)
    elif failed := max(by_workers(training_settings, _work, step, others)):
        sys.exit(failed)


def by_workers(settings: TrainingSettings, work: Callable[..., Result], *arguments: Any) -> list[Result]:
    """Results of ``work`` in each worker, in their order. All are restarted when one dies.

    Raises StepError when that happens more often than the settings allow.
    """
    os.environ[OWN_STORE] = "1"
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=settings.workers,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=settings.restarts,
        monitor_interval=0.2,
    )
    try:
        results = elastic_launch(config, work)(*arguments)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        raise StepError(
            f"worker {rank} has died, with exit code {failure.exitcode}, and {settings.restarts} restarts were of no "
            "use: what it printed above says why; RECSYS_TRAINING__RESTARTS allows more."
        ) from error
    return [results[rank] for rank in sorted(results)]


def _work(step: str, others: Callable[[Settings, Workers], None]) -> int:
    """Run the step in a worker. Returns its exit code; what a step refuses is no crash, so nothing is restarted."""
    try:
        steps.run(partial(_join, step, others))
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)  # noqa: T201 (the sentence for the user)
            return 1
        return end.code or 0
    return 0


def _join(step: str, others: Callable[[Settings, Workers], None], settings: Settings) -> None:
    folder = settings.offline_dir / f"checkpoints-{Path(sys.argv[0]).stem}"
    with joined(TrainingSettings.load(), folder) as workers:
        if workers.first:
            twins = {} if settings.engine == IN_MEMORY else plugins.engine(settings.engine).TWINS
            importlib.import_module(twins.get(step, step).removesuffix(".py").replace("/", ".")).main(settings)
        else:
            others(settings, workers)


@contextmanager
def trained_by(trainer: Trainer) -> Iterator[None]:
    """Train by ``trainer`` inside the block."""
    token = TRAINER.set(trainer)
    try:
        yield
    finally:
        TRAINER.reset(token)


@contextmanager
def joined(settings: TrainingSettings, folder: Path | None = None) -> Iterator[Workers]:
    """Train, inside the block, in the group of the workers that were started with this one; by default alone.

    ``folder``: for checkpoints; removed when the block ends well.

    Raises StepError where there is no GPU for the worker and the settings want one, or where restarted workers would
    look for each other at their old addresses.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True" and os.environ.get("TORCHELASTIC_MAX_RESTARTS") != "0":
        raise StepError(f"torchrun --max-restarts needs --rdzv-backend c10d and {OWN_STORE}=1, on every machine.")
    device = _device(settings)
    if not dist.is_torchelastic_launched():
        alone = Workers(device=device, half=settings.half)
        with trained_by(alone):
            yield alone
        return
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timeout=JOINING)
    try:
        dist.set_timeout(TIMEOUT)
        workers = Workers(dist.get_rank(), dist.get_world_size(), device, settings.half, folder)
        with trained_by(workers):
            yield workers
        if folder is not None and workers.first:
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        dist.destroy_process_group()


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


def read_own_inputs(settings: Settings, workers: Workers) -> Inputs:
    """`readers.read_inputs`, with only the events of the users that a worker reads."""
    users = artifacts.USERS.read(settings.exchange_dir, [Columns.USER])[Columns.USER].sort_values()
    own = users.iloc[workers.reads(len(users))]
    if len(own) == len(users):
        return read_inputs(settings)
    between = [(Columns.USER, ">=", own.iloc[0]), (Columns.USER, "<=", own.iloc[-1])] if len(own) else None
    return read_inputs(settings, only=between or [(Columns.USER, "in", [])])


def fit_together(past: Sequences, inputs: Inputs, recipe: Recipe) -> None:
    """A worker's part in the channels that all workers train; the first fits all channels, in the same order."""
    for channel in recipe.recall.channels:
        if channel.together:
            fit_channel(channel, past, inputs, recipe.data)


# --- Batch normalisation over the rows of all workers: torch's SyncBatchNorm does the same, on GPUs alone


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
        """Update the running statistics that evaluation normalises by."""
        momentum = self.momentum or 0.0
        for running, value in ((self.running_mean, mean), (self.running_var, variance)):
            if running is not None:
                running.lerp_(value, momentum)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked += 1


def normalised_together(network: nn.Module) -> nn.Module:
    """The network, each `nn.BatchNorm1d` in it replaced by one over all workers' rows, with its parameters."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if type(child) is nn.BatchNorm1d:
                together = GlobalBatchNorm1d(child.num_features, child.eps, child.momentum)
                together.load_state_dict(child.state_dict())
                together.weight, together.bias = child.weight, child.bias  # which the optimizer has
                setattr(module, name, together)
    return network
