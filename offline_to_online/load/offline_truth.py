"""What the ranking model sees and says offline: the artifacts' features through the spec into the PyTorch model.

The genre statistics are counted here once more, straight from the ratings, so that a wrong window in the features
themselves is found too, not only a difference between two copies of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError  # what PyTorch raises for bytes that are no weights; nothing is unpickled
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import nn

from data_exchange_center import artifacts
from data_exchange_center.columns import Columns, Split, clicks, impressions
from data_exchange_center.features import FeatureSpec
from data_exchange_center.release import read_feature_spec
from offline.torchfm.models import DeepFMConfig, load_ranker


@dataclass(frozen=True)
class OfflineTruth:
    """Raw features by id, the contract that encodes them, and the model that scores them."""

    spec: FeatureSpec
    users: pd.DataFrame  # index userid; one column a stored user feature, and userid
    items: pd.DataFrame  # index itemid; one column a stored item feature, and itemid
    model: nn.Module  # (n, width) -> (n, 1) probability

    def rows(self, userids: Sequence[int] | NDArray[Any], itemids: Sequence[int] | NDArray[Any]) -> NDArray[np.float32]:
        """(n,) users and (n,) items -> (n, width) model inputs. Raises KeyError for an id that is not there."""
        users, items = self.users.loc[list(userids)], self.items.loc[list(itemids)]
        return self.spec.assemble(self.spec.encode_users(_columns(users)), self.spec.encode_items(_columns(items)))

    def scores(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, width) -> (n,) probabilities."""
        with torch.inference_mode():
            scores: NDArray[np.float32] = self.model(torch.from_numpy(rows))[:, 0].numpy()
        return scores

    def sampled_rows(self, n: int, seed: int = 0) -> NDArray[np.float32]:
        """(n, width) inputs of ``n`` pairs of a known user and a known item, the same ones for the same data."""
        random = np.random.default_rng(seed)
        return self.rows(random.choice(self.users.index, n), random.choice(self.items.index, n))


def _columns(frame: pd.DataFrame) -> Mapping[str, Any]:
    return {name: frame[name].to_numpy() for name in frame.columns}


def offline_truth(exchange_dir: Path) -> OfflineTruth:
    """Everything from the artifacts. Raises ArtifactError when one is missing or does not belong to the others."""
    spec = read_feature_spec(exchange_dir)
    users = artifacts.USER_FEATURES.read(exchange_dir).set_index(Columns.USER, drop=False)
    items = artifacts.ITEM_FEATURES.read(exchange_dir).set_index(Columns.ITEM, drop=False)
    return OfflineTruth(spec=spec, users=users, items=items, model=_model(exchange_dir, spec))


def _model(exchange_dir: Path, spec: FeatureSpec) -> nn.Module:
    """The trained model. Raises ArtifactError when weights, configuration and spec are not of one size."""
    weights = artifacts.RANK_WEIGHTS
    try:
        config = DeepFMConfig.model_validate(artifacts.RANK_REPORT.read(exchange_dir).get("model"))
        model = load_ranker(weights.read(exchange_dir), config.model_dump())
    except (ValidationError, RuntimeError, UnpicklingError, EOFError) as error:
        reason = " ".join(str(error).split())[:200]
        raise weights.wrong(weights.at(exchange_dir), f"cannot be loaded as its report says ({reason})") from error
    cardinalities = tuple(feature.cardinality for feature in spec.one_hot)
    if ((*config.wide, *config.narrow), config.n_flags, config.n_dense) != (
        cardinalities,
        len(spec.multi_hot),
        len(spec.dense),
    ):
        raise weights.wrong(weights.at(exchange_dir), "was trained with another feature spec")
    return model


def recount(exchange_dir: Path, truth: OfflineTruth, window: int, userids: Sequence[int]) -> OfflineTruth:
    """The truth with these users' genre statistics counted anew from the ratings.

    A user's statistics cover the newest ``window`` train and test ratings: how often each genre was rated
    (impressions), and how often liked (clicks). Raises ArtifactError for a user without features.
    """
    ratings = artifacts.RATINGS.read(
        exchange_dir, [Columns.USER, Columns.ITEM, Columns.LABEL, Columns.SPLIT]
    )  # sorted by user and time
    known = ratings[Columns.USER].isin(userids) & (ratings[Columns.SPLIT] != Split.ONLINE)  # excluded: the last ten
    genres = artifacts.ITEM_TERMS.read(exchange_dir).set_index(Columns.ITEM)[Columns.GENRES].to_dict()
    absent = sorted(set(userids) - set(truth.users.index))
    if absent:
        path = artifacts.USER_FEATURES.at(exchange_dir)
        raise artifacts.USER_FEATURES.wrong(path, f"user {absent[0]}, whom recall knows, is not in it")
    users = truth.users.loc[list(userids)].copy()
    statistics = [column(genre) for genre in truth.spec.genres for column in (impressions, clicks)]
    users[statistics] = 0
    counts: dict[tuple[int, str], int] = {}
    newest = ratings[known].groupby(Columns.USER).tail(window)
    for userid, itemid, label in zip(newest[Columns.USER], newest[Columns.ITEM], newest[Columns.LABEL], strict=True):
        for code in genres.get(itemid, ()):
            genre = truth.spec.genres[code - 1]
            for column in (impressions(genre), clicks(genre)) if label else (impressions(genre),):
                counts[userid, column] = counts.get((userid, column), 0) + 1
    for (userid, column), count in counts.items():
        users.at[userid, column] = count
    return OfflineTruth(spec=truth.spec, users=users, items=truth.items, model=truth.model)
