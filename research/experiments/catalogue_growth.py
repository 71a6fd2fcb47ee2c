"""What fitting tower and EASE takes as the catalogue grows, in full and in the way for large catalogues.

The data set at hand gets copies of its items: each event is then with one of its item's copies, drawn as `kronecker`
says of groups of items, so that the tail grows as it does in an expansion. Users and events stay as they are. Each way
is fitted in a process of its own, whose peak memory is measured; of the tower a few batches, as an epoch has as many
whatever the catalogue.
"""

from __future__ import annotations

import logging
import multiprocessing
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from data_exchange_center.recipes import EaseRecipe, TowerRecipe
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from offline.data.requests import request_points
from offline.data.sequences import Inputs, Sequences
from offline.models.kinds import fit_channel
from offline.readers import read_inputs
from past_one_machine.synthesis.kronecker import coarse, copies

log = logging.getLogger(__name__)

NEVER: Final = 10**9  # items: no catalogue is larger
FULL: Final = "full"
SEED: Final = 0
EVERY: Final = 20  # users, of whom the tower's batches are
STRIDE: Final = 50
EPOCHS: Final = 3
# One batch after the other, and nothing fitted before the first: it would be timed with them.
TOWER: Final = TowerRecipe(start="random", stride=STRIDE, epochs=EPOCHS)


class Case(NamedTuple):
    """What is fitted, the name of the way, and on how many times the items."""

    recipe: TowerRecipe | EaseRecipe
    way: str
    times: int


def cases() -> Iterator[Case]:
    """The full ways where they take no minutes."""
    for times in (1, 16):
        yield Case(TOWER.model_copy(update={"sampled_beyond": NEVER}), FULL, times)
    for times in (1, 16, 64):
        yield Case(TOWER.model_copy(update={"sampled_beyond": 0}), str(TOWER.sampled_items), times)
    ease = EaseRecipe()
    for times in (1, 2):
        yield Case(ease.model_copy(update={"low_rank_beyond": NEVER}), FULL, times)
    for times in (1, 16, 64):
        yield Case(ease.model_copy(update={"low_rank_beyond": 0}), str(ease.eigenvectors), times)


def wider(inputs: Inputs, times: int) -> Inputs:
    """``times`` as many items; copy j of item v is j * items + v."""
    data, n = inputs.data, inputs.data.n_items
    (shares,) = coarse(lambda: [(data.users, data.items - 1)], 1, times)
    copy = copies(shares, len(data.items), np.random.default_rng(SEED))
    items = replace(data, itemids=np.arange(1, times * n + 1), items=copy * n + data.items)
    genres = np.concatenate([inputs.genres[:1], *[inputs.genres[1:]] * times])
    return replace(inputs, data=items, genres=genres)


def cost(settings: Settings, case: Case) -> dict[str, Any]:
    """Processor seconds, of a batch of the tower or of all of EASE, and the peak memory of this process."""
    inputs = wider(read_inputs(settings), case.times)
    items = inputs.data.n_items
    if isinstance(case.recipe, TowerRecipe):
        inputs = replace(inputs, data=_of_few(inputs.data))
        _seconds(case.recipe.model_copy(update={"epochs": 1}), inputs, settings)  # the first batch loads torch
        points = len(request_points(inputs.data, case.recipe.stride, np.random.default_rng(case.recipe.seed)))
        batches = -(-points // case.recipe.batch_size) * case.recipe.epochs
    else:
        batches = 1
    seconds = _seconds(case.recipe, inputs, settings) / batches
    return {"kind": case.recipe.kind, "way": case.way, "items": items, "cpu_seconds": seconds, "peak_mb": peak_mb()}


def measure(settings: Settings, of: Sequence[Case] | None = None) -> Iterator[dict[str, Any]]:
    """A row for each case, each in a process of its own."""
    for case in cases() if of is None else of:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as alone:
            row = alone.submit(cost, settings, case).result()
        log.info("%s", row)
        yield row


def peak_mb() -> int:
    """The most memory that this process has held, in MB. Raises StepError where there is no /proc that says so.

    getrusage says of a process that was started by a larger one what that one held.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError as error:
        raise StepError(f"the peak memory of a process is read from /proc/self/status ({error}): use Linux.") from error
    return round(int(next(line for line in status.splitlines() if line.startswith("VmHWM:")).split()[1]) / 1024)


def _of_few(data: Sequences) -> Sequences:
    return data.select(data.users % EVERY == 0)


def _seconds(recipe: TowerRecipe | EaseRecipe, inputs: Inputs, settings: Settings) -> float:
    begin = time.process_time()
    fit_channel(recipe, inputs.data, inputs, settings.recipe.data)
    return time.process_time() - begin


def show(rows: Sequence[Mapping[str, Any]], console: Console) -> None:
    """One line a case."""
    table = Table(
        title="as the catalogue grows: processor seconds of a batch of the tower, or of EASE, and peak memory"
    )
    for name in ("channel", "way", "items", "CPU s", "peak MB"):
        table.add_column(name, justify="left" if name in ("channel", "way") else "right")
    for row in rows:
        cells = (f"{row['items']:,}", f"{row['cpu_seconds']:.3f}", f"{row['peak_mb']:,}")
        table.add_row(row["kind"], row["way"], *cells)
    console.print(table)
