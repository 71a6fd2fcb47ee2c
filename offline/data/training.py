"""The rows of rated pairs that a model is trained on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from data_exchange_center import artifacts
from data_exchange_center.columns import Columns, Split
from data_exchange_center.features import FeatureSpec
from data_exchange_center.recipes import DataRecipe
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from offline.data import samples
from offline.data.sequences import Sequences
from offline.data.split import trains, validation_mask
from offline.data.vectors import codes_of
from offline.torchfm.train import Data, Rows

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class FMData(Data):
    """Codes of user and item, as the spec's: position in the vocabulary plus one, 0 for an id never trained."""

    users: NDArray[np.int32]  # sorted ids of the training rows
    items: NDArray[np.int32]

    @property
    def n_users(self) -> int:
        """Rows of the user table: the known and the unknown."""
        return len(self.users) + 1

    @property
    def n_items(self) -> int:
        return len(self.items) + 1


def fm_data(past: Sequences, recipe: DataRecipe) -> FMData:
    """(rows, 2) int64 codes. ``past``: everything before the online rows."""
    rows = pd.DataFrame(
        {
            Columns.USER: past.userids[past.users].astype(np.int32),
            Columns.ITEM: past.itemids[past.items - 1].astype(np.int32),
            Columns.LABEL: past.liked,
        }
    )
    is_train = trains(past.positions, np.repeat(past.lengths, past.lengths), recipe.train_share)
    train, test = rows[is_train], rows[~is_train]
    users, items = (np.unique(train[column].to_numpy()) for column in (Columns.USER, Columns.ITEM))

    def coded(part: pd.DataFrame) -> Rows:
        codes = np.stack([codes_of(part[Columns.USER], users), codes_of(part[Columns.ITEM], items)], axis=1)
        return Rows(torch.from_numpy(codes), torch.from_numpy(part[Columns.LABEL].to_numpy(np.float32)))

    held_out = validation_mask(train[Columns.USER], recipe.validation_share)
    return FMData(coded(train), held_out, coded(test), users, items)


@dataclass(frozen=True, eq=False)
class RatedPairs:
    """Train and test ratings as rows of a click model, with what the rows are encoded from.

    Attributes:
        ratings: userid, itemid, label and split of every row.
        spec: the columns.
        rows: (rows, spec.width) encoded, the user's statistics as they stood before the rating.
        user_features, item_features: newest raw values.
    """

    ratings: pd.DataFrame
    spec: FeatureSpec
    rows: Float32
    user_features: pd.DataFrame
    item_features: pd.DataFrame


def rated_pairs(settings: Settings) -> RatedPairs:
    """The rows of the source's ranker, made of what preprocessing left. Raises StepError when that is of two runs."""
    folder, keys = settings.exchange_dir, [Columns.USER, Columns.ITEM]
    genres: list[str] = artifacts.GENRES.read(folder)[Columns.GENRES]
    ratings = artifacts.RATINGS.read(folder, [*keys, Columns.LABEL, Columns.SPLIT])
    ratings = ratings[ratings[Columns.SPLIT] != Split.ONLINE].reset_index(drop=True)
    users, impression_terms = artifacts.USERS.read(folder), artifacts.IMPRESSION_TERMS.read(folder)
    if not ratings[keys].equals(impression_terms[keys]):
        raise StepError("impression_terms.parquet does not belong to ratings.parquet: run s2_term_trans.py again.")
    spec = samples.build_spec(ratings, users, genres, settings.recipe.data.window)
    user_features = samples.user_features(users, artifacts.USER_TERMS.read(folder))
    item_features = samples.item_features(artifacts.ITEM_TERMS.read(folder), genres)
    rows = samples.encode(impression_terms, user_features, item_features, spec)
    return RatedPairs(ratings, spec, rows, user_features, item_features)


def pairs_data(inputs: Float32, ratings: pd.DataFrame, validation_share: float) -> Data:
    """``inputs`` (rows, width), one for every row of ``ratings`` (userid, label, split)."""
    labels = ratings[Columns.LABEL].to_numpy(np.float32)
    is_train = (ratings[Columns.SPLIT] == Split.TRAIN).to_numpy()
    train, test = (
        Rows(torch.from_numpy(inputs[mask]), torch.from_numpy(labels[mask])) for mask in (is_train, ~is_train)
    )
    return Data(train, validation_mask(ratings.loc[is_train, Columns.USER], validation_share), test)


def ranker_data(settings: Settings) -> tuple[Data, FeatureSpec]:
    """(rows, spec.width) float32 inputs, and the spec they are encoded by."""
    folder = settings.exchange_dir
    spec = FeatureSpec.model_validate(artifacts.FEATURE_SPEC.read(folder))
    table = artifacts.SAMPLES.read(folder)
    ratings = artifacts.RATINGS.read(folder, [Columns.USER, Columns.LABEL, Columns.SPLIT])
    ratings = ratings[ratings[Columns.SPLIT] != Split.ONLINE].reset_index(drop=True)
    known = [Columns.LABEL, Columns.SPLIT]
    if not ratings[known].equals(table[known]) or set(spec.columns) - set(table.columns):
        raise StepError("samples.parquet does not belong to ratings.parquet: run s1_feature_engi.py again.")
    inputs = table[list(spec.columns)].to_numpy(np.float32)
    return pairs_data(inputs, ratings, settings.recipe.data.validation_share), spec
