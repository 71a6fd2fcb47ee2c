"""The rows of rated pairs that a click model is trained on, as tensors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from data_exchange_center.columns import Columns, Split
from data_exchange_center.feature_kinds import Float32
from data_exchange_center.recipes import DataRecipe
from offline.data.sequences import Sequences
from offline.data.split import positions, trains, validation_mask
from offline.training.click_model import Data, Rows


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
    """(rows, 2) int64 codes. ``past``: everything before the held-out rows."""
    rows = pd.DataFrame(
        {
            Columns.USER: past.userids[past.users].astype(np.int32),
            Columns.ITEM: past.itemids[past.items - 1].astype(np.int32),
            Columns.LABEL: past.liked,
        }
    )
    is_train = np.ones(len(rows), np.bool_)  # what servers were told trains
    own = is_train if past.recorded is None else ~past.recorded
    is_train[own] = trains(*positions(rows.loc[own, Columns.USER]), recipe.train_share)
    train, test = rows[is_train], rows[~is_train]
    users, items = (np.unique(train[column].to_numpy()) for column in (Columns.USER, Columns.ITEM))

    def coded(part: pd.DataFrame) -> Rows:
        codes = np.stack([codes_of(part[Columns.USER], users), codes_of(part[Columns.ITEM], items)], axis=1)
        return Rows(torch.from_numpy(codes), torch.from_numpy(part[Columns.LABEL].to_numpy(np.float32)))

    held_out = validation_mask(train[Columns.USER], recipe.validation_share)
    return FMData(coded(train), held_out, coded(test), users, items)


def pairs_data(inputs: Float32, ratings: pd.DataFrame, validation_share: float) -> Data:
    """``inputs`` (rows, width), one for every row of ``ratings`` (userid, label, split)."""
    labels = ratings[Columns.LABEL].to_numpy(np.float32)
    is_train = (ratings[Columns.SPLIT] != Split.TEST).to_numpy()
    train, test = (
        Rows(torch.from_numpy(inputs[mask]), torch.from_numpy(labels[mask])) for mask in (is_train, ~is_train)
    )
    return Data(train, validation_mask(ratings.loc[is_train, Columns.USER], validation_share), test)


def codes_of(ids: pd.Series, vocabulary: NDArray[np.int32]) -> NDArray[np.int64]:
    """Position in the sorted ``vocabulary`` plus one; 0 for an id that it does not hold."""
    position = pd.Index(vocabulary).get_indexer(pd.Index(ids))  # -1: not there
    return position.astype(np.int64) + 1
