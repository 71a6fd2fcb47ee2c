"""The stages of a recipe fitted on any past, asked once for every user."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from data_exchange_center.recipes import Recipe
from offline.data.inputs import Inputs
from offline.data.lists import channel_list, recall_lists
from offline.data.requests import Points
from offline.data.sequences import Sequences
from offline.evaluation.metrics import Lists
from offline.stages.ranking import Stages, list_recipe
from offline.stages.recall import history_channels
from offline.torchfm.ranker_train import ranked


@dataclass(frozen=True)
class Answers:
    """(users, candidates) codes, best first: each channel's, the fused ones, the same in the ranker's order."""

    channels: Mapping[str, Lists]
    fused: Lists
    ranked: Lists


def answer(stages: Stages, past: Sequences, inputs: Inputs, recipe: Recipe) -> Answers:
    """The lists of every user right after the past, asked at the time of the user's first held-out rating.

    Of the held-out part nothing but that time is read: it says whether the user comes back after a break.
    """
    points = Points(np.arange(past.n_users), past.lengths)
    channels, size = history_channels(stages.channels), recipe.recall.candidates
    alone = {each.name: channel_list(inputs.data, points, inputs.profiles, each, size) for each in channels}
    weights = [channel.fusion_weight for channel in recipe.recall.channels]
    history = list_recipe(recipe).history
    lists = recall_lists(inputs.data, points, inputs.profiles, channels, weights, size=size, history=history)
    return Answers(alone, lists.candidates.astype(np.int64), ranked(stages.ranker, lists, stages.side))
