"""Recommenders fitted in memory and evaluated at the end of each user's past; reports that the next run resumes.

A numbered step writes files between what is fitted here in one go.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from data_exchange_center.channels import Channel
from data_exchange_center.figures import OFFLINE, OTHER_RECIPE, UNFINISHED, machine, stale
from data_exchange_center.fusion import Hits
from data_exchange_center.recipes import Recipe
from data_exchange_center.settings import Settings
from offline.data.lists import Lists as RecallLists
from offline.data.lists import ListsConfig, StoredFeatures, channel_hits, ranker_of_lists, recall_lists
from offline.data.requests import Points
from offline.data.sequences import Inputs, Sequences
from offline.data.statistics import list_spec
from offline.evaluation import replay
from offline.evaluation.metrics import Floats, Lists
from offline.evaluation.replay import Holdout
from offline.models.kinds import ListExamples, fit_channels, fit_ranker, fit_teachers
from offline.models.training import ranked
from offline.readers import read_with_holdout

log = logging.getLogger(__name__)

CHOSEN_ON = "the ten before the last ten"
SAME = ("cuts", "recipe")  # of a report that is resumed
CODE = (*OFFLINE, "research/experiments")  # that figures of what is fitted here depend on


@dataclass(frozen=True, eq=False)
class Stages:
    """Fitted channels and ranker, and the ranker's features of users and items."""

    channels: tuple[Channel, ...]
    ranker: nn.Module
    stored: StoredFeatures


def fit_stages(past: Sequences, inputs: Inputs, recipe: Recipe) -> Stages:
    """Everything fitted on ``past``, as the steps do it. The recipe's ranker is trained on lists."""
    ranker = ranker_of_lists(recipe)
    teachers = fit_teachers(past, inputs, recipe)
    lists = ListsConfig.of(recipe).recalled(past, inputs.profiles, teachers)
    channels = tuple(each.channel for each in fit_channels(past, inputs, recipe))
    spec = list_spec(inputs, recipe, ranker)
    fitted = fit_ranker(ranker, ListExamples(past, inputs, recipe, spec, teachers, channels, lists))
    return Stages(channels, fitted.network, StoredFeatures.of(past, inputs, spec, recipe))


@dataclass(frozen=True, eq=False)
class EvalRequests:
    """One request for every user with a past and a holdout, at the holdout's times."""

    holdout: Holdout
    inputs: Inputs

    @property
    def data(self) -> Sequences:
        """All events before the holdout, of which a request sees a part."""
        return self.holdout.past

    @property
    def points(self) -> Points:
        asked = np.diff((self.holdout.relevance + self.holdout.disliked).indptr) > 0
        users = np.flatnonzero((self.data.lengths > 0) & asked)
        return Points(users, self.holdout.known.lengths[users], self.holdout.times[users])

    def hits(self, channel: Channel, size: int) -> list[Hits]:
        """Hits of a channel at every point."""
        return list(channel_hits(self.data, self.points, self.inputs.profiles, channel, size))

    def recalled(self, channels: Sequence[Channel], recipe: Recipe, size: int) -> RecallLists:
        """The fused lists of every point."""
        weights = [channel.fusion_weight for channel in recipe.recall.channels]
        history = ranker_of_lists(recipe).history
        return recall_lists(self.data, self.points, self.inputs.profiles, channels, weights, size=size, history=history)

    def lists(self, rows: Iterable[NDArray[np.integer]], size: int) -> Lists:
        """Codes of every point -> (users, size), 0 where shorter and for users without a request."""
        out = np.zeros((self.holdout.past.n_users, size), dtype=np.int64)
        for user, codes in zip(self.points.users, rows, strict=True):
            kept = codes[:size]
            out[user, : len(kept)] = kept
        return out


def before_the_last(settings: Settings) -> EvalRequests:
    """Requests that choices are made on, for the ratings before the last ones. The held-out ones are gone from here on.

    Raises ArtifactError or StepError when preprocessing has not run.
    """
    inputs = read_with_holdout(settings)
    rule = inputs.dataset.holdout
    data = inputs.data.before_last(rule.sizes(inputs.data.lengths))
    return EvalRequests(replay.hold_out(data, rule), replace(inputs, data=data))


def systems(stages: Stages, requests: EvalRequests, recipe: Recipe) -> dict[str, Lists]:
    """Name -> (users, candidates): every channel, the fused lists, the same in the ranker's order."""
    size, channels = recipe.recall.candidates, stages.channels
    recalled = requests.recalled(channels, recipe, size)
    alone = {
        f"channel {each.name}": requests.lists((hits.ids for hits in requests.hits(each, size)), size)
        for each in channels
    }
    return {
        **alone,
        "recall": requests.lists(recalled.candidates, size),
        "ranked": requests.lists(ranked(stages.ranker, recalled, stages.stored), size),
    }


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
