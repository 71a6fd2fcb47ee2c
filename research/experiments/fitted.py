"""Recommenders fitted in memory and evaluated at the end of each user's past; reports that the next run resumes.

A numbered step writes files between what is fitted here in one go.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from data_exchange_center.figures import OFFLINE, OTHER_RECIPE, UNFINISHED, machine, stale
from data_exchange_center.recipes import Recipe
from data_exchange_center.settings import Settings
from offline.data.split import holdout_sizes
from offline.evaluation import replay
from offline.evaluation.metrics import Floats, Lists
from offline.evaluation.protocols import EvalRequests, Stages, in_both_orders
from offline.evaluation.replay import Holdout
from offline.readers import read_with_holdout

log = logging.getLogger(__name__)

CHOSEN_ON = "the ten before the last ten"
SAME = ("cuts", "recipe")  # of a report that is resumed
CODE = (*OFFLINE, "research/experiments")  # that figures of what is fitted here depend on


def before_the_last(settings: Settings) -> EvalRequests:
    """Requests that choices are made on, for the ratings before the last ones. The held-out ones are gone from here on.

    Raises ArtifactError or StepError when preprocessing has not run.
    """
    inputs = read_with_holdout(settings)
    rule = inputs.dataset.holdout
    data = inputs.data.before_last(holdout_sizes(rule, inputs.data.lengths, inputs.data.newest))
    return EvalRequests(replay.hold_out(data, rule), replace(inputs, data=data))


def systems(stages: Stages, requests: EvalRequests, recipe: Recipe) -> dict[str, Lists]:
    """Name -> (users, candidates): every channel, the fused lists, the same in the ranker's order."""
    size = recipe.recall.candidates
    alone = {
        f"channel {each.name}": requests.lists((hits.ids for hits in requests.hits(each, size)), size)
        for each in stages.channels
    }
    recalled, served = in_both_orders(stages, recipe, requests.inputs, requests.holdout)
    return {**alone, "recall": recalled, "ranked": served}


# --- Reports that grow while a command runs, and that the next run resumes


def resumed(path: Path, head: Mapping[str, Any], kept: tuple[str, ...]) -> dict[str, Any]:
    """``head`` with what ``path`` has of ``kept``, each {} where it has none, or is a report of something else."""
    found: dict[str, Any] = {**head, **{name: {} for name in kept}}
    if path.is_file():
        before = json.loads(path.read_text(encoding="utf-8"))
        why = stale(before, machine())
        if all(before.get(name) == head[name] for name in SAME) and why in ("", UNFINISHED, OTHER_RECIPE):
            return found | {name: before.get(name, {}) for name in kept}
        log.warning("%s is begun again: %s", path, why or "it is of other data, or of other requests")
    return found


def digest(*cuts: Holdout) -> str:
    """Digest of requests and targets: figures of other cuts are not compared."""
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
    """Unpack what `packed` made, to three digits."""
    whole = np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype="<i2").astype(np.float64)
    return np.where(whole < 0, np.nan, whole / 1000)
