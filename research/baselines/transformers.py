"""Transformers of RecTools, trained by `worker` in an environment of its own, one folder a training."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import subprocess
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from data_exchange_center.files import write_json, written_in_place
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from offline.evaluation.metrics import Lists
from offline.evaluation.replay import Holdout
from research.baselines import environment
from research.baselines.contract import SIZE, Fitted, Rival, Setting

log = logging.getLogger(__name__)

WORKER = Path(__file__).with_name("worker.py")
ESASREC, HSTU = "eSASRec", "HSTU"
COMMON: Final[Setting] = {
    "targets": "rated",
    "dropout": 0.2,
    "learning_rate": 3e-3,
    "blocks": 2,
    "epochs": 10,
    "heads": 2,
    "length": 200,
    "loss": "sampled_softmax",
    "batch_size": 32,
    "seed": 0,
}
# Settings of a training, and the order in which other values are tried: the most important first.
FIRST: Final[Mapping[str, Setting]] = {
    ESASREC: {**COMMON, "dim": 64, "negatives": 1024, "temperature": 1.0},
    HSTU: {**COMMON, "dim": 50, "negatives": 1024, "temperature": 0.05},
}
OTHERS: Final[Mapping[str, Sequence[Any]]] = {
    "epochs": (30, 100),
    "learning_rate": (1e-3, 6e-3),
    "targets": ("liked",),
    "dropout": (0.1, 0.3, 0.5),
    "dim": (128,),
    "blocks": (4, 8),
}


def transformers(settings: Settings) -> tuple[Rival, ...]:
    """SASRec with LiGR layers and a sampled softmax (eSASRec), and HSTU with relative times and the request's own."""
    return tuple(Rival(name, first, OTHERS, partial(fit, settings, name), rounds=1) for name, first in FIRST.items())


def fit(settings: Settings, model: str, holdout: Holdout, setting: Setting) -> Fitted:
    """The lists of one setting, trained on the past; what an earlier run has kept of it is not done again.

    Raises StepError when the training fails.
    """
    job = {"model": model, "setting": dict(setting), "size": SIZE}
    folder = prepared(settings.offline_dir / "rivals", job, holdout)
    if not (folder / "lists.npz").is_file():
        _train(environment.python(settings), folder)
    progress = json.loads((folder / "progress.json").read_text(encoding="utf-8"))
    with np.load(folder / "lists.npz") as file:
        lists: Lists = file["lists"]
    return Fitted(lists, progress["seconds"])


def prepared(root: Path, job: dict[str, Any], holdout: Holdout) -> Path:
    """The folder of a training, named by all that it depends on, with what it reads."""
    past = holdout.past
    events: dict[str, Any] = {
        "starts": past.starts,
        "items": past.items,
        "liked": past.liked,
        "times": past.times,
        "known": holdout.known.lengths,
        "request_times": holdout.times,
    }
    digest = hashlib.sha256(json.dumps(job, sort_keys=True).encode())
    for column in events.values():
        digest.update(np.ascontiguousarray(column).tobytes())
    folder = root / f"{job['model']}-{digest.hexdigest()[:16]}"
    folder.mkdir(parents=True, exist_ok=True)
    with written_in_place(folder / "events.npz") as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **events)
    write_json(folder / "job.json", job)
    return folder


def _train(python: Path, folder: Path) -> None:
    log.info("training in %s; it can be ended and goes on after its last epoch", folder)
    variables = {**os.environ, "PYTHONUNBUFFERED": "1"}
    done = subprocess.run([str(python), str(WORKER), str(folder)], env=variables, check=False)
    if done.returncode:
        raise StepError(f"{WORKER.name} ended with {done.returncode} in {folder}; its last lines stand above.")
