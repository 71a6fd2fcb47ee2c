"""Recommenders that an experiment has fitted in memory, evaluated at the end of each user's past."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.channels import Channel
from data_exchange_center.fusion import Hits
from data_exchange_center.recipes import Recipe
from data_exchange_center.settings import Settings
from offline.data.lists import Lists as RecallLists
from offline.data.lists import channel_hits, recall_lists
from offline.data.requests import Points
from offline.data.sequences import Inputs, Sequences
from offline.evaluation import replay
from offline.evaluation.metrics import Lists
from offline.evaluation.replay import Holdout
from offline.models.stages import Stages, ranker_of_lists
from offline.models.training import ranked
from offline.readers import read_with_holdout

CHOSEN_ON = "the ten before the last ten"


@dataclass(frozen=True, eq=False)
class EvalRequests:
    """One request for every user with a past and a holdout, at the holdout's times."""

    holdout: Holdout
    inputs: Inputs

    @property
    def data(self) -> Sequences:
        """What the requests see a part of."""
        return self.holdout.past

    @property
    def points(self) -> Points:
        asked = np.diff((self.holdout.relevance + self.holdout.disliked).indptr) > 0
        users = np.flatnonzero((self.data.lengths > 0) & asked)
        return Points(users, self.holdout.known.lengths[users], self.holdout.times[users])

    def hits(self, channel: Channel, size: int) -> list[Hits]:
        """What a channel finds at every point."""
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
    """Where choices are made: requests for the ratings before the last ones. The held-out ones are gone from here on.

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
