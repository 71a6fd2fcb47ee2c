"""What a training goes on from when a worker has died and all are started anew: everything as it was after an epoch.

The first worker writes it, whole or not at all, into a folder of the step's own, which goes when the step is done. Its
name is a digest of what is trained, and on what: another recipe, other data or more workers begin from the beginning.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import distributed as dist
from torch import nn

from data_exchange_center.files import written_in_place
from data_exchange_center.frozen import Frozen
from offline.training.distributed.workers import Workers


@dataclass(frozen=True, eq=False)
class Training:
    """What changes from epoch to epoch. ``rng`` is the same for all workers; ``losses``: of the epochs that are over.

    What a worker draws for itself is not here: `Workers.seed` makes that anew for every epoch.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    rng: np.random.Generator
    losses: list[float]

    def state(self) -> dict[str, Any]:
        return {
            **{name: getattr(self, name).state_dict() for name in ("model", "optimizer", "schedule")},
            "rng": json.dumps(self.rng.bit_generator.state),
            "losses": self.losses,
        }

    def load(self, state: dict[str, Any]) -> None:
        for name in ("model", "optimizer", "schedule"):
            getattr(self, name).load_state_dict(state[name])
        self.rng.bit_generator.state = json.loads(state["rng"])
        self.losses[:] = state["losses"]


class Checkpoint:
    """Of one training, by workers that have a folder for it; without one, nothing is kept."""

    def __init__(self, workers: Workers, training: Training, recipe: Frozen, *data: NDArray[Any]) -> None:
        """``training``, before its first epoch, is set to where it was cut off. ``data``: what this worker reads."""
        self._workers, self._training = workers, training
        if workers.folder is None:
            return
        self._path = workers.folder / f"{_digest(workers, training.model, recipe, *data)}.pt"
        states: list[dict[str, Any] | None] = [None]
        if workers.first and self._path.exists():
            states = [torch.load(self._path, map_location="cpu", weights_only=True)]
        dist.broadcast_object_list(states)
        if states[0] is not None:
            training.load(states[0])

    def save(self) -> None:
        if self._workers.folder is not None and self._workers.first:
            with written_in_place(self._path) as temporary:
                torch.save(self._training.state(), temporary)


def _digest(workers: Workers, model: nn.Module, recipe: Frozen, *data: NDArray[Any]) -> str:
    own = hashlib.sha256(recipe.model_dump_json().encode())
    for values in (*(each.cpu().numpy() for each in model.state_dict().values()), *data):
        own.update(np.ascontiguousarray(values).tobytes())
    digests = [""] * workers.world
    dist.all_gather_object(digests, own.hexdigest())
    return hashlib.sha256("".join(digests).encode()).hexdigest()[:32]
