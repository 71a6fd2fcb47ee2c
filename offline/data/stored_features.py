"""From recalled lists to the ranker's input, by the functions that the server calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_exchange_center.features import FeatureSpec, Float32
from data_exchange_center.fusion import candidate_columns
from data_exchange_center.recipes import Recipe
from offline.data.inputs import Inputs
from offline.data.lists import Lists
from offline.data.sequences import Sequences
from offline.data.statistics import N_RATINGS, item_statistics, user_statistics


@dataclass(frozen=True, eq=False)
class StoredFeatures:
    """What a feature store would hold at the end of a past, and the spec that encodes it.

    Attributes:
        columns: names of `Lists.features`.
        users: name -> (users,) raw values.
        items: (items + 1, item features) encoded; code c is row c, row 0 (padding) is zero.
    """

    spec: FeatureSpec
    columns: tuple[str, ...]
    users: Mapping[str, NDArray[Any]]
    items: Float32

    @classmethod
    def of(cls, past: Sequences, inputs: Inputs, spec: FeatureSpec, recipe: Recipe) -> StoredFeatures:
        """Profile and counts as they stand after ``past``."""
        users, items = user_statistics(past, inputs.users), item_statistics(past, inputs)
        encoded = spec.encode_items(_columns(items))
        padding = np.zeros((1, encoded.shape[1]), dtype=np.float32)
        channels = [channel.name for channel in recipe.recall.channels]
        return cls(spec, candidate_columns(channels), _columns(users), np.concatenate([padding, encoded]))

    def rows(self, lists: Lists) -> Float32:
        """(m, c, spec.width) model inputs of m lists of c candidates.

        How much a user has rated is counted at the request, point in time.
        """
        users = {name: values[lists.users] for name, values in self.users.items()} | {N_RATINGS: lists.lengths}
        history = self.spec.encode_history_codes(lists.events, lists.ratings, lists.ages)
        return self.spec.assemble(
            self.spec.encode_users(users)[:, None],
            self.items[lists.candidates],
            self.spec.encode_candidates(self.columns, lists.features),
            history[:, None],
        )


def _columns(frame: pd.DataFrame) -> dict[str, NDArray[Any]]:
    return {str(name): column.to_numpy() for name, column in frame.items()}
