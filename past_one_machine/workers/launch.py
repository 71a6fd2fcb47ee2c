"""Start a step as several workers, as ``torchrun --standalone`` does; all are restarted when one dies.

For several machines start the step with torchrun itself on each of them: it finds that it was launched.

torchrun's agent keeps the workers' addresses in a store that outlives them. So that restarted workers do not look for
each other where they died (github.com/pytorch/pytorch/issues/135712), each start has a store of its own here.
"""

from __future__ import annotations

import importlib
import os
import sys
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from data_exchange_center import plugins, steps
from data_exchange_center.recipes import Recipe
from data_exchange_center.settings import IN_MEMORY, Settings, TrainingSettings
from data_exchange_center.steps import StepError
from offline.data.sequences import Inputs, Sequences
from offline.models.kinds import fit_channel
from past_one_machine.workers import group
from past_one_machine.workers.group import Workers

Main = Callable[[Settings, Workers], None]
Result = TypeVar("Result")


def run(main: Main) -> None:
    """Run ``main``, a function of the script's module, by as many workers as the settings say; see `steps.run`."""
    steps.run(partial(_launch, main))


def _launch(main: Main, settings: Settings) -> None:
    if settings.training.workers == 1 or group.launched():
        _join(main, settings)
        return
    if failed := max(by_workers(settings.training, _work, main)):
        sys.exit(failed)


def by_workers(settings: TrainingSettings, work: Callable[..., Result], *arguments: Any) -> list[Result]:
    """Results of ``work`` in each worker, in their order. All are restarted when one dies.

    Raises StepError when that happens more often than the settings allow.
    """
    os.environ[group.OWN_STORE] = "1"
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


def _work(main: Main) -> int:
    """A worker's life: exit code. What a step refuses, it would refuse again: no reason to restart it."""
    try:
        steps.run(partial(_join, main))
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)  # noqa: T201 (the message for the user)
            return 1
        return end.code or 0
    return 0


def _join(main: Main, settings: Settings) -> None:
    folder = settings.offline_dir / f"checkpoints-{Path(sys.argv[0]).stem}"
    with group.joined(settings.training, folder) as workers:
        main(settings, workers)


def run_whole(step: str, settings: Settings) -> None:
    """Run a step, or the twin that RECSYS_ENGINE has of it, as a single process would: the first worker's part.

    Args:
        step: path of its script.
    """
    twins = {} if settings.engine == IN_MEMORY else plugins.load("recsys.steps", settings.engine)
    importlib.import_module(twins.get(step, step).removesuffix(".py").replace("/", ".")).main(settings)


def fit_together(past: Sequences, inputs: Inputs, recipe: Recipe) -> None:
    """A worker's part in the channels that all workers train; the first fits all channels, in the same order."""
    for channel in recipe.recall.channels:
        if channel.together:
            fit_channel(channel, past, inputs, recipe.data)
