"""Ranking's part of a synthetic release: the features that its recipe's model reads, and a random model."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pandas as pd
import torch
from pydantic import BaseModel
from torch import nn

from data_exchange_center import artifacts
from data_exchange_center.columns import Columns, clicks, genre_flags, impressions
from data_exchange_center.features import FeatureSpec
from data_exchange_center.rankers.deepfm import DeepFMRecipe
from data_exchange_center.rankers.list_ranker import ListRankerRecipe
from data_exchange_center.recipes import Recipe
from data_exchange_center.settings import Settings
from offline.data.samples import rated_pairs_spec
from offline.data.statistics import item_statistics, list_spec, user_statistics
from offline.models.deepfm import DeepFM, DeepFMConfig
from offline.models.list_ranker import ListRanker, ListRankerConfig
from offline.models.served import weights_to_bytes
from offline.readers import read_inputs
from tests.synthetic_world import AGES, GENDERS, OCCUPATIONS, World

FACTORS = (5, 3)  # dimensions of the list ranker's similarities


def write_deepfm(folder: Path, world: World, recipe: Recipe, seed: int) -> None:
    """59 columns with 18 genres: profile, flags, statistics."""
    ranker = recipe.ranker
    assert isinstance(ranker, DeepFMRecipe)
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
        for code, flag in enumerate(genre_flags(world.genres), 1)
    }
    _write_features(folder, spec, world.people.join(statistics), pd.DataFrame({Columns.ITEM: world.itemids, **flags}))
    torch.manual_seed(seed)
    config = DeepFMConfig.of(spec, ranker)
    _write_model(folder, config, DeepFM(config))


def write_list_ranker(folder: Path, world: World, recipe: Recipe, seed: int) -> None:
    """Item code, profile, counts, recall's scores, history."""
    ranker = recipe.ranker
    assert isinstance(ranker, ListRankerRecipe)
    inputs = read_inputs(Settings(exchange_dir=folder, recipe_name=recipe.name))
    spec = list_spec(inputs, recipe, ranker)
    users, items = user_statistics(inputs.data, world.people), item_statistics(inputs.data, inputs)
    _write_features(folder, spec, users, items)
    torch.manual_seed(seed)
    config = ListRankerConfig.of(spec, ranker, FACTORS, inputs.dataset)
    _write_model(folder, config, ListRanker(config))


WRITE_RANKER: Final = {"deepfm": write_deepfm, "list": write_list_ranker}  # by kind


def _write_features(folder: Path, spec: FeatureSpec, users: pd.DataFrame, items: pd.DataFrame) -> None:
    artifacts.FEATURE_SPEC.write(folder, spec.model_dump(mode="json"))
    artifacts.USER_FEATURES.write(folder, users)
    artifacts.ITEM_FEATURES.write(folder, items)


def _write_model(folder: Path, config: BaseModel, model: nn.Module) -> None:
    artifacts.RANK_WEIGHTS.write(folder, weights_to_bytes(_lively(model)))
    artifacts.RANK_REPORT.write(folder, {"model": config.model_dump(mode="json"), "auc": {}})


def _lively(model: nn.Module) -> nn.Module:
    """Weights large enough that every input column moves the score."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    return model
