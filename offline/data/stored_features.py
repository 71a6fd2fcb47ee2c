"""From recalled lists to the ranker's input, by the functions that the server calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from numpy.typing import NDArray

from data_exchange_center.feature_kinds import Float32
from data_exchange_center.features import Encoded, FeatureSpec
from data_exchange_center.fusion import candidate_columns
from data_exchange_center.recipes import Recipe
from offline.data.inputs import Inputs
from offline.data.lists import Lists
from offline.data.sequences import Sequences
from offline.data.statistics import item_statistics, user_columns


@dataclass(frozen=True, eq=False)
class StoredFeatures:
    """What a feature store would hold at the end of a past, and the spec that encodes it.

    Users' statistics are not among it: the lists have them, as they stood at each request.

    Attributes:
        columns: names of `Lists.features`.
        profile: name -> (users,) raw values.
        items: items + 1; code c is row c, row 0 is padding.
    """

    spec: FeatureSpec
    columns: tuple[str, ...]
    profile: Mapping[str, NDArray[Any]]
    items: Encoded

    @classmethod
    def of(cls, past: Sequences, inputs: Inputs, spec: FeatureSpec, recipe: Recipe) -> StoredFeatures:
        """Profiles, and the items' statistics as they stand after ``past``."""
        items = Encoded.joined(
            [Encoded.none(spec.of("item"), 1), spec.encode_items(_columns(item_statistics(past, inputs)))]
        )
        channels = [channel.name for channel in recipe.recall.channels]
        return cls(spec, candidate_columns(channels), _columns(inputs.users), items)

    def rows(self, lists: Lists) -> Float32:
        """(m, c, spec.width) model inputs of m lists of c candidates."""
        statistics = dict(zip(user_columns(), lists.statistics.T, strict=True))
        users = self.spec.encode_users(
            {name: values[lists.users] for name, values in self.profile.items()} | statistics
        )
        history = self.spec.encode_history_codes(lists.events, lists.ratings, lists.ages)
        return self.spec.assemble(
            users[:, None],
            self.items[lists.candidates],
            lists.times[:, None],
            self.spec.encode_candidates(self.columns, lists.features),
            history[:, None],
        )


def _columns(frame: pd.DataFrame) -> dict[str, NDArray[Any]]:
    return {str(name): column.to_numpy() for name, column in frame.items()}
