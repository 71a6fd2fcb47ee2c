"""Transformers of RecTools, trained by `worker` in an environment of its own, one folder a training."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from data_exchange_center.files import sha256, write_json, written_in_place
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from offline.evaluation.metrics import Lists
from offline.evaluation.replay import Holdout
from research.baselines.contest import SIZE, Fitted, Rival, Setting

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
        _train(environment(settings), folder)
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


def _train(interpreter: Path, folder: Path) -> None:
    log.info("training in %s; it can be ended and goes on after its last epoch", folder)
    variables = {**os.environ, "PYTHONUNBUFFERED": "1"}
    done = subprocess.run([str(interpreter), str(WORKER), str(folder)], env=variables, check=False)
    if done.returncode:
        raise StepError(f"{WORKER.name} ended with {done.returncode} in {folder}; its last lines stand above.")


# --- RecTools' environment: it wants numpy < 2, which nothing else here does


REQUIREMENTS: Final = Path(__file__).with_name("requirements.txt")


def environment(settings: Settings) -> Path:
    """Its interpreter; the first time some gigabytes are brought.

    Raises StepError with what the installer said.
    """
    folder = settings.services_dir / "rivals"
    ready, interpreter = folder / ".ready", folder / "bin" / "python"
    stamp = f"{sys.version_info.major}.{sys.version_info.minor} {sha256(REQUIREMENTS)}\n"
    if ready.is_file() and ready.read_text(encoding="utf-8") == stamp:
        return interpreter
    log.info("making RecTools' environment in %s", folder)
    ready.unlink(missing_ok=True)
    _run("venv", "--quiet", "--clear", "--python", sys.executable, str(folder))
    _run("pip", "sync", "--quiet", "--python", str(interpreter), str(REQUIREMENTS))
    with written_in_place(ready) as temporary:  # last: what is interrupted is not ready
        temporary.write_text(stamp, encoding="utf-8")
    return interpreter


def _run(*arguments: str) -> None:
    uv = Path(sys.executable).with_name("uv")
    done = subprocess.run([str(uv), *arguments], check=False, capture_output=True, text=True)
    if done.returncode:
        raise StepError(f"`uv {' '.join(arguments)}` failed; run `make rivals` again. It said:\n{done.stderr.strip()}")
