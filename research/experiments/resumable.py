"""Reports that grow while a command runs, and that an ended command goes on with."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from offline.evaluation.metrics import Floats
from offline.evaluation.replay import Holdout

log = logging.getLogger(__name__)

SAME = ("cuts", "recipe")  # what has to be as it was


def resumed(path: Path, head: Mapping[str, Any], kept: tuple[str, ...]) -> dict[str, Any]:
    """``head`` with what ``path`` has of ``kept``, each {} where it has none, or is a report of something else."""
    found: dict[str, Any] = {**head, **{name: {} for name in kept}}
    if path.is_file():
        before = json.loads(path.read_text(encoding="utf-8"))
        if all(before.get(name) == head[name] for name in SAME):
            return found | {name: before.get(name, {}) for name in kept}
        log.warning("%s is of other data, or was asked otherwise: it is begun anew", path)
    return found


def digest(*cuts: Holdout) -> str:
    """Of what is asked and what is wanted: figures of other cuts are not compared."""
    found = hashlib.sha256()
    for cut in cuts:
        for column in (cut.times, cut.known.lengths, cut.relevance.indptr, cut.relevance.indices):
            found.update(np.ascontiguousarray(column, dtype=np.int64).tobytes())
    return found.hexdigest()[:16]


def packed(of_users: Floats) -> str:
    """Thousandths of values between 0 and 1, deflated, as text: to be compared later, without a fit; NaN stays."""
    whole = np.where(np.isnan(of_users), -1, np.round(np.nan_to_num(of_users) * 1000)).astype("<i2")
    return base64.b64encode(zlib.compress(whole.tobytes(), 9)).decode()


def unpacked(text: str) -> Floats:
    """What was `packed`, to three digits."""
    whole = np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype="<i2").astype(np.float64)
    return np.where(whole < 0, np.nan, whole / 1000)
