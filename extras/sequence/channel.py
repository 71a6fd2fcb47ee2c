"""Recall channel `sequence`, a transformer sequence model trained by the steps: RECSYS_RECIPE=sequence.

RecTools trains it, SASRec or eSASRec, in an environment of its own (`train.py`), and writes a bundle as an exporter of
`extras.models` does. What is served is an imported encoder: ONNX in Triton, item vectors in the index.

A finished training is kept in models/sequence/ of the exchange folder, by settings and events: it is not trained again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final, Literal

import numpy as np
from numpy.typing import NDArray

from data_exchange_center import steps
from data_exchange_center.recipes import (
    DEFAULT,
    DataRecipe,
    Recipe,
    VectorRecipe,
)
from data_exchange_center.settings import load_settings
from data_exchange_center.steps import StepError

if TYPE_CHECKING:
    from offline.data.sequences import Inputs, Sequences
    from offline.models.kinds import Fitted

Ints = NDArray[np.int64]
log = logging.getLogger(__name__)

SCRIPT: Final = Path(__file__).with_name("train.py")
EXPORTERS: Final = SCRIPT.parents[1] / "models" / "exporters"
TRAINING: Final = "training.json"  # losses and processor seconds
KEPT: Final = 8  # trainings


class SequenceRecipe(VectorRecipe):
    """Settings of a sequence model of RecTools, in Triton, and the vectors of its items, in the index."""

    # what is served has the form of an imported encoder
    trained_by: ClassVar[str] = f"{__name__}:fit"

    kind: Literal["sequence"] = "sequence"
    name: str = "sequence"
    model: Literal["sasrec", "esasrec"] = "esasrec"
    dims: int = 64
    blocks: int = 2
    heads: int = 2
    history: int = 50  # newest events that it reads
    disliked: float = 1.0  # weight of a target that was not liked
    dropout: float = 0.2
    epochs: int = 4
    batch_size: int = 32  # windows of ``history`` events
    learning_rate: float = 2e-3
    seed: int = 0


def fit(
    recipe: SequenceRecipe, past: Sequences, inputs: Inputs, data: DataRecipe
) -> Fitted:
    """Train the model, or read it where it is kept. Raises StepError where it cannot be trained, or where its ONNX
    model gives other lists than RecTools."""
    from extras.models import __main__ as models
    from extras.models import bundle
    from extras.models.channel import served
    from extras.models.encoder import ImportedEncoderRecipe
    from offline.models.kinds import Fitted
    from offline.models.training import curves

    folder = trained(recipe, past)
    own = (
        {str(user): user for user in range(past.n_users)},
        {str(item): item for item in range(past.n_items)},
    )
    try:
        prepared = bundle.read(folder, bundle.about(folder), past, own)
        as_imported = ImportedEncoderRecipe(
            name=recipe.name, file=str(folder), history=recipe.history
        )
        channel = served(as_imported, prepared, past.item_numbers, past.user_numbers)
        parity = models.compared(channel, folder, replace(inputs, data=past), own)
    except bundle.BundleError as error:
        raise StepError(f"{error}: remove {folder} and train it again") from error
    if parity.same < models.SAME_LISTS:
        raise StepError(
            f"{folder}: {parity.same:.1%} of {parity.users} lists of the ONNX model are RecTools' own, at least "
            f"{models.SAME_LISTS:.0%} must be. The first difference: {parity.first}"
        )
    about = json.loads((folder / TRAINING).read_text(encoding="utf-8"))
    losses, seconds = about["losses"], about["seconds"]
    report = curves(losses, seconds=seconds, parity=parity._asdict())
    return Fitted(channel, report)


def trained(recipe: SequenceRecipe, past: Sequences) -> Path:
    """The folder of the finished training with these settings on these events. Ids in it count from 0."""
    import pandas as pd  # the server has none, and reads the settings

    settings = recipe.model_dump_json(
        exclude={"fusion_weight", "term_weight", "vector_weight"}
    )
    digest = hashlib.sha256(settings.encode())
    for script in (SCRIPT, *sorted(EXPORTERS.glob("*.py"))):
        digest.update(script.read_bytes())
    weights = np.where(past.liked, 1.0, recipe.disliked)
    for array in (past.starts, past.items, weights):
        digest.update(np.ascontiguousarray(array).tobytes())
    kept = load_settings().exchange_dir / "models" / "sequence"
    folder = kept / digest.hexdigest()[:16]
    if not folder.is_dir():
        unfinished = folder.with_suffix(".part")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        (unfinished / "settings.json").write_text(settings, encoding="utf-8")
        items = (past.items - 1).astype(str)
        columns = {"user": past.users, "item": items, "weight": weights}
        events = pd.DataFrame(columns)
        events.to_parquet(unfinished / "events.parquet", index=False)
        rows, of = windows(past, recipe.history)
        events.iloc[rows].assign(user=of).to_parquet(
            unfinished / "windows.parquet", index=False
        )
        run(unfinished, recipe)
        for name in ("events.parquet", "windows.parquet"):
            (unfinished / name).unlink()
        unfinished.rename(folder)
    os.utime(folder)
    with suppress(FileNotFoundError):  # the other training has renamed or removed one
        folders = sorted(kept.iterdir(), key=lambda each: each.stat().st_mtime)
        for old in folders[:-KEPT]:
            shutil.rmtree(old, ignore_errors=True)
    return folder


def windows(past: Sequences, history: int) -> tuple[Ints, Ints]:
    """Cut each user's events into windows of up to ``history`` + 1: RecTools trains on the newest of a user alone.

    The first event of a window is the last of the one before it, so that each event is once a target. Returns the
    events' rows and the number of each one's window, both ascending.
    """
    from_end = np.repeat(past.lengths, past.lengths) - 1 - past.positions
    window = np.maximum(from_end - 1, 0) // history  # of a user, the newest is 0
    shared = np.flatnonzero(
        (from_end % history == 0) & (from_end > 0) & (past.positions > 0)
    )
    rows = np.concatenate([np.arange(len(window)), shared])
    window = np.concatenate([window, window[shared] + 1])
    order = np.lexsort((-window, rows))
    rows, window = rows[order], window[order]
    begins = np.diff(past.users[rows], prepend=-1) != 0
    begins[1:] |= np.diff(window) != 0
    return rows, np.cumsum(begins) - 1


def run(folder: Path, recipe: SequenceRecipe) -> None:
    """Run `train.py` in an environment with RecTools, which uv makes at the first time. Raises StepError."""
    uv = shutil.which(
        "uv", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}"
    )
    if not uv:
        raise StepError(
            f"the channel {recipe.name!r} is trained by RecTools, which uv installs: run make setup"
        )
    # else uv finds or downloads one
    python = ("--python", sys.executable) if sys.version_info < (3, 13) else ()
    log.info(
        "%s: RecTools trains it in %s; installing RecTools takes minutes, once",
        recipe.name,
        folder,
    )
    environment = {**os.environ, "PYTHONPATH": str(EXPORTERS)}
    process = subprocess.Popen(
        [uv, "run", "--quiet", *python, str(SCRIPT), str(folder)],
        env=environment,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    printed: list[str] = []
    assert process.stdout is not None  # noqa: S101
    with steps.progress(
        total=recipe.epochs, desc=f"{recipe.name}: {recipe.model}", unit="epoch"
    ) as bar:
        for line in process.stdout:
            printed.append(line)
            if line.startswith("epoch "):
                _, number, loss = line.split()
                bar.set_postfix(loss=loss, refresh=False)
                bar.update(int(number) - bar.n)
    if process.wait():
        last = "".join(printed[-15:]).strip()
        what = "RecTools' training failed."
        if "start\n" not in printed:
            what = "uv cannot install RecTools: does this machine reach the package registry?"
        raise StepError(f"the channel {recipe.name!r}: {what} It printed:\n{last}")


SEQUENCE: Final = Recipe(
    name="sequence",
    recall=DEFAULT.recall.model_copy(
        update={"channels": (*DEFAULT.recall.channels, SequenceRecipe())}
    ),
    ranker=DEFAULT.ranker,
)
