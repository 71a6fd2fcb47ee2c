"""Ranking's part of a synthetic release: the features that its recipe's model reads, and a random model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from pydantic import BaseModel
from torch import nn

from data_exchange_center import artifacts
from data_exchange_center.columns import Columns, clicks, genre_flag, impressions
from data_exchange_center.features import DenseFeature, FeatureSpec, HistoryFeature, movielens_spec, one_hot
from data_exchange_center.fusion import candidate_columns
from data_exchange_center.recipes import DEFAULT, SOURCE, DeepFMRecipe, ListRankerRecipe
from offline.data.knowledge import PRIOR, release_year
from offline.torchfm.models import DeepFM, DeepFMConfig, weights_to_bytes
from offline.torchfm.ranker import ListRanker, ListRankerConfig
from tests.synthetic_world import AGES, GENDERS, OCCUPATIONS, World

FACTORS = (5, 3)  # dimensions of the list ranker's similarities
RECENT = 0.8  # quantile of the times after which a rating is recent


def write_source_ranker(folder: Path, world: World, seed: int) -> None:
    """59 columns with 18 genres: profile, flags, statistics; a DeepFM."""
    recipe = SOURCE.ranker
    assert isinstance(recipe, DeepFMRecipe)
    spec = movielens_spec(
        users=world.userids.tolist()[:-1],  # the last user is unknown to the model
        items=world.itemids[world.trained].tolist(),
        genders=GENDERS,
        ages=AGES,
        occupations=OCCUPATIONS,
        genres=world.genres,
        window=SOURCE.data.window,
    )
    columns = [column(genre) for column in (impressions, clicks) for genre in world.genres]
    statistics = pd.DataFrame(world.statistics(SOURCE.data.window), columns=columns)
    flags = {
        genre_flag(genre): [int(code in world.codes[item]) for item in world.itemids]
        for code, genre in enumerate(world.genres, 1)
    }
    _write_features(folder, spec, world.people.join(statistics), pd.DataFrame({Columns.ITEM: world.itemids, **flags}))
    torch.manual_seed(seed)
    config = DeepFMConfig.of(spec, recipe)
    _write_model(folder, config, DeepFM(config))


def write_default_ranker(folder: Path, world: World, seed: int) -> None:
    """Item code, profile, counts, recall's scores, history; a list ranker."""
    recipe = DEFAULT.ranker
    assert isinstance(recipe, ListRankerRecipe)
    spec = list_spec(world, recipe)
    served = world.served
    n_ratings = served.groupby(Columns.USER).size().reindex(world.userids, fill_value=0).to_numpy()
    _write_features(folder, spec, world.people.assign(n_ratings=n_ratings), _item_statistics(world))
    torch.manual_seed(seed)
    config = ListRankerConfig.of(spec, recipe, FACTORS, DEFAULT.data.positive_above)
    _write_model(folder, config, ListRanker(config))


def list_spec(world: World, recipe: ListRankerRecipe) -> FeatureSpec:
    """The columns of the list ranker."""
    counts = ("item_ratings", "item_likes", "item_recent")
    return FeatureSpec(
        one_hot=(
            one_hot(Columns.ITEM, "item", world.itemids.tolist()),
            one_hot(Columns.GENDER, "user", GENDERS),
            one_hot(Columns.AGE, "user", AGES),
        ),
        multi_hot=(),
        dense=(
            DenseFeature(name="n_ratings", entity="user", scale=5, transform="log1p"),
            *(DenseFeature(name=name, entity="item", scale=5, transform="log1p") for name in counts),
            DenseFeature(name="item_mean_rating_x100", entity="item", scale=100),
            DenseFeature(name="item_year", entity="item", scale=100),
        ),
        genres=world.genres,
        candidate=candidate_columns([channel.name for channel in DEFAULT.recall.channels]),
        history=HistoryFeature(length=recipe.history),
    )


def _item_statistics(world: World) -> pd.DataFrame:
    served = world.served
    times = served[Columns.TIMESTAMP]
    by_item = served.assign(recent=times > np.quantile(times, RECENT)).groupby(Columns.ITEM)
    counted = by_item.agg(
        item_ratings=(Columns.RATING, "size"),
        item_likes=(Columns.LABEL, "sum"),
        item_recent=("recent", "sum"),
        total=(Columns.RATING, "sum"),
    ).reindex(world.itemids, fill_value=0)
    mean = (counted.pop("total") + PRIOR * served[Columns.RATING].mean()) / (counted["item_ratings"] + PRIOR)
    counted["item_mean_rating_x100"] = np.rint(mean * 100).astype(int)
    counted["item_year"] = [release_year(title) for title in world.titles]
    return counted.rename_axis(Columns.ITEM).reset_index()


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
