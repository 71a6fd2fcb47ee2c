"""The trained ranking model over the stored features: what a request's candidates score, without services."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_exchange_center import artifacts, candidates
from data_exchange_center.columns import Columns
from data_exchange_center.features import Encoded, FeatureSpec, Float32, ModelInputs
from data_exchange_center.release_parts import read_feature_spec
from offline.data.sequences import Ints
from offline.data.terms import arrays_of
from offline.models.rankers import ScoringModel, load_ranker, score


@dataclass(frozen=True, eq=False)
class OfflineRanker:
    """The ranking model, and the stored features of the users and items that it scores."""

    spec: FeatureSpec
    model: ScoringModel
    users: pd.DataFrame  # index userid; one column a stored user feature, and userid
    items: pd.DataFrame  # index itemid; one column a stored item feature, and itemid

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read model, spec and features. Raises ArtifactError when a file is absent."""
        model = load_ranker(
            artifacts.RANK_WEIGHTS.read(folder),
            artifacts.RANK_REPORT.read(folder)["model"],
        )
        return cls(read_feature_spec(folder), model, *read_features(folder))

    @cached_property
    def _encoded(self) -> tuple[Encoded, Encoded]:
        users = self.spec.encode("user", arrays_of(self.users))
        return users, self.spec.encode("item", arrays_of(self.items))

    def inputs(
        self, user: candidates.StoredUser, found: candidates.Candidates, timestamp: int
    ) -> ModelInputs:
        """Inputs of the model for one user's candidates. Raises KeyError for an unknown id."""
        users, items = self._encoded
        of_user, of_items = (
            users[rows_of(self.users, [user.number])],
            items[rows_of(self.items, found.item_numbers)],
        )
        return candidates.model_inputs(
            self.spec, of_user, of_items, found, user.history, timestamp
        )

    def scores(self, inputs: ModelInputs) -> Float32:
        """(n,) scores from 0 to 1."""
        return score(self.model, inputs)


def read_features(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Stored features of all users and of all items, by id. Raises ArtifactError when a file is absent."""
    users, items = (
        artifacts.USER_FEATURES.read(folder),
        artifacts.ITEM_FEATURES.read(folder),
    )
    return users.set_index(Columns.USER, drop=False), items.set_index(
        Columns.ITEM, drop=False
    )


def rows_of(frame: pd.DataFrame, ids: Sequence[int] | Ints) -> NDArray[np.intp]:
    """Positions of ids in the index. Raises KeyError for one that is not there."""
    rows = frame.index.get_indexer(pd.Index(ids))
    if (rows < 0).any():
        raise KeyError(ids[int(np.argmin(rows))])
    return rows
