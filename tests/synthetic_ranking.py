"""Ranking's part of a synthetic release: the features that its recipe's ranker reads, and a random network."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pandas as pd
import torch
from torch import nn

from data_exchange_center import artifacts
from data_exchange_center.columns import Columns
from data_exchange_center.features import FeatureSpec
from data_exchange_center.recipes import Recipe
from data_exchange_center.settings import Settings
from offline.data.samples import rated_pairs_spec
from offline.data.sequences import Inputs
from offline.data.statistics import item_statistics, list_spec, user_statistics
from offline.data.terms import clicks, genre_columns, impressions
from offline.models.kinds import ranker_class, weights_to_bytes
from offline.readers import read_inputs
from tests.synthetic_world import AGES, GENDERS, OCCUPATIONS, World

# What only training knows: dimensions of the list ranker's similarities by factors, and how many it has by pairs.
TRAINED: Final = {"factors": [5, 3], "pairs": 2}

Stored = tuple[FeatureSpec, pd.DataFrame, pd.DataFrame]  # with features of users and of items


def write_ranker(folder: Path, world: World, recipe: Recipe, seed: int) -> None:
    """For a ranker of any kind: the columns that it is trained on, and a network that its recipe builds."""
    inputs, ranker = read_inputs(Settings(exchange_dir=folder, recipe_name=recipe.name)), recipe.ranker
    spec, users, items = _of_lists(world, recipe, inputs) if ranker.examples == "lists" else _of_pairs(world, recipe)
    artifacts.FEATURE_SPEC.write(folder, spec.model_dump(mode="json"))
    artifacts.USER_FEATURES.write(folder, users)
    artifacts.ITEM_FEATURES.write(folder, items)
    torch.manual_seed(seed)
    network = ranker_class(ranker.kind)
    config = network.configure(ranker, spec, inputs.dataset, TRAINED)
    artifacts.RANK_WEIGHTS.write(folder, weights_to_bytes(_lively(network.build(config))))
    artifacts.RANK_REPORT.write(folder, {"model": config, "auc": {}})


def _of_pairs(world: World, recipe: Recipe) -> Stored:
    """59 columns with 18 genres: profile, flags, statistics."""
    spec = rated_pairs_spec(
        users=world.userids.tolist()[:-1],  # the last user is unknown to the model
        items=world.itemids[world.trained].tolist(),
        profile={Columns.GENDER: GENDERS, Columns.AGE: AGES, Columns.OCCUPATION: OCCUPATIONS},
        genres=world.genres,
        window=recipe.data.window,
    )
    columns = [*impressions(world.genres), *clicks(world.genres)]
    statistics = pd.DataFrame(world.statistics(recipe.data.window), columns=columns)
    flags = {
        flag: [int(code in world.codes[item]) for item in world.itemids]
        for code, flag in enumerate(genre_columns(world.genres), 1)
    }
    return spec, world.people.join(statistics), pd.DataFrame({Columns.ITEM: world.itemids, **flags})


def _of_lists(world: World, recipe: Recipe, inputs: Inputs) -> Stored:
    """Item code, profile, statistics, recall's scores, history."""
    spec = list_spec(inputs, recipe, recipe.ranker)
    return spec, user_statistics(inputs.data, world.people), item_statistics(inputs.data, inputs)


def _lively(model: nn.Module) -> nn.Module:
    """Weights large enough that every input column moves the score."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    return model
