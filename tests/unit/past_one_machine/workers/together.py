"""Work of each of two workers in the tests; a module of its own, as the workers import it."""

from __future__ import annotations

import os
import time
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import nn

from data_exchange_center.features import HISTORY, ModelInputs, one_hot
from data_exchange_center.recipes import ListRankerRecipe, TowerRecipe
from data_exchange_center.steps import StepError
from offline.data.lists import Lists
from offline.data.sequences import Inputs, Sequences
from offline.models.tower import train_tower
from offline.models.training import TRAINER, train_on_lists
from past_one_machine.workers import group
from past_one_machine.workers.group import Workers
from past_one_machine.workers.settings import TrainingSettings
from tests.datasets import STARS
from tests.unit.offline.data.ratings import made_up_lists

USERS, ITEMS, LAGS = 41, 30, 8
GENRES = np.vstack([np.zeros(2), np.eye(2)[np.arange(ITEMS) % 2]]).astype(np.float32)
PROFILES = np.stack([np.arange(USERS) % 2, np.arange(USERS) % 3], axis=1) + 1
PROFILE = (one_hot("two", "user", [1, 2]), one_hot("three", "user", [1, 2, 3]))
TOWER = TowerRecipe(dim=8, epochs=3, batch_size=24, learning_rate=0.02, stride=2, horizon=3, dropout=0.0)
SAMPLED = {"sampled_beyond": ITEMS - 1, "sampled_items": 8}
ONE_REQUEST = {"batch_size": 1, "epochs": 1}  # a batch


class Trained(NamedTuple):
    weights: dict[str, torch.Tensor]
    losses: list[float]


def world() -> Sequences:
    """Users take the items in turn; some have no event, some one, and the first has most."""
    random = np.random.default_rng(0)
    lengths = random.integers(0, 16, USERS)
    lengths[:3] = 60, 0, 1
    begin = random.integers(0, ITEMS, USERS)
    users = np.repeat(np.arange(USERS), lengths)
    positions = np.arange(len(users)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return Sequences(
        user_numbers=np.arange(1, USERS + 1),
        item_numbers=np.arange(1, ITEMS + 1),
        starts=np.concatenate([[0], np.cumsum(lengths)]),
        items=(begin[users] + positions) % ITEMS + 1,
        ratings=np.where(positions % 5 == 4, 2, 4),
        liked=positions % 5 != 4,
        times=positions * 60,
    )


def tower(recipe: TowerRecipe) -> Trained:
    past, nothing = world(), np.zeros((ITEMS + 1, 0))
    inputs = Inputs(STARS, past, ("a", "b"), GENRES, nothing, pd.DataFrame(), PROFILE, PROFILES)
    network, losses = train_tower(recipe, past, inputs, LAGS)
    return Trained(network.state_dict(), losses)


class Network(nn.Module):
    """Batches are normalised, as those of `offline.models.list_ranker.ListRanker` are.

    Without the bias of all scores, which no list's softmax depends on: rounding alone would move it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.layer = nn.BatchNorm1d(3, momentum=0.1), nn.Linear(3, 1, bias=False)

    def forward(self, rows: torch.Tensor, history: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.layer(torch.tanh(self.norm(rows.flatten(0, 1))))
        return scores.view(*rows.shape[:2], 1)


class Features:
    """Rows of lists are their features."""

    def inputs(self, lists: Lists) -> ModelInputs:
        return ModelInputs(lists.features.astype(np.float32), np.zeros((len(lists), 1, len(HISTORY)), np.float32))


def ranker() -> Trained:
    """On lists that hold something liked: of a batch of two, a worker often has none."""
    random, m, c = np.random.default_rng(0), 31, 12
    features = random.normal(size=(m, c, 3)).astype(np.float16)
    liked = features[:, :, 0] == features[:, :, 0].max(axis=1, keepdims=True)
    candidates = np.tile(np.arange(1, c + 1, dtype=np.int32), (m, 1))
    lists = made_up_lists(candidates, features, liked=liked, disliked=(features[:, :, 1] > 1) & ~liked)
    recipe = ListRankerRecipe(epochs=3, batch_size=2, sampled=8, learning_rate=0.02)
    now = TRAINER.get()
    if isinstance(now, Workers) and not now.first:  # the first has them all
        lists = lists.take(np.arange(m)[now.reads_lists(m)])
    network, losses = train_on_lists(Network, lists, Features(), recipe)
    return Trained(network.state_dict(), losses)


def work() -> dict[str, Trained]:
    with group.joined(TrainingSettings()) as each:
        assert each.world == 2
        return {
            "tower": tower(TOWER),
            "dropout": tower(TOWER.model_copy(update={"dropout": 0.2})),
            "sampled": tower(TOWER.model_copy(update=SAMPLED)),
            "tiny batches": tower(TOWER.model_copy(update=ONE_REQUEST)),
            "ranker": ranker(),
        }


def meet_after_a_restart() -> int:
    """How many workers met: all die once, and then the second is a second late."""
    restarted = os.environ["TORCHELASTIC_RESTART_COUNT"] != "0"
    if restarted and os.environ["RANK"] == "1":
        time.sleep(1)
    with group.joined(TrainingSettings()) as each:
        met = int(each.sum(torch.tensor(1)))
        if not restarted:
            os._exit(1)
        return met


def refused() -> int:
    """A worker's life where a step finds bad data."""

    def join(*_: object) -> None:
        raise StepError("there are no ratings")

    group._join = join
    return group._work("", join)
