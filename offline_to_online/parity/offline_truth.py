"""The ranking model's inputs and scores offline: the artifacts' features through the spec into the PyTorch model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from pickle import UnpicklingError  # what PyTorch raises for bytes that are no weights; nothing is unpickled
from typing import Any, Final

import numpy as np
import pandas as pd

from data_exchange_center import artifacts
from data_exchange_center.columns import Columns
from data_exchange_center.feature_kinds import Float32
from data_exchange_center.features import FeatureSpec, ModelInputs
from data_exchange_center.fusion import Fused
from data_exchange_center.recipes import DataRecipe
from data_exchange_center.release import Manifest
from offline.models.kinds import ScoringModel, load_ranker, ranker_class, score
from offline_to_online.parity.recall_truth import Ints, RecallTruth, recall_truth
from offline_to_online.parity.recount import recounted_items, recounted_states, recounted_users
from offline_to_online.rows import UserRow, request_time, user_rows

LIST: Final = 10  # candidates in a sampled list, at most


@dataclass(frozen=True)
class OfflineTruth:
    """Raw features by id, recall, the contract that encodes what they say, and the model that scores it."""

    spec: FeatureSpec
    users: pd.DataFrame  # index userid; one column a stored user feature, and userid
    items: pd.DataFrame  # index itemid; one column a stored item feature, and itemid
    states: Mapping[int, UserRow]  # by number
    recall: RecallTruth
    model: ScoringModel

    def inputs(self, userid: int, timestamp: int, fused: Fused) -> ModelInputs:
        """What the model is given of one user's candidates. Raises KeyError for an id that is not there."""
        user, items = self.users.loc[[userid]], self.items.loc[fused.ids.tolist()]
        return self.spec.model_inputs(
            self.spec.encode_users(_columns(user)),
            self.spec.encode_items(_columns(items)),
            timestamp,
            self.spec.encode_candidates(self.recall.columns, fused.features),
            self.spec.encode_history(self.states[userid].history, timestamp),
        )

    def scores(self, inputs: ModelInputs) -> Float32:
        """(n,) probabilities."""
        return score(self.model, inputs)

    def sampled_lists(self, n: int, seed: int = 0) -> list[ModelInputs]:
        """Short lists of random items that recall might have found for n users, the same for the same data."""
        random = np.random.default_rng(seed)
        users = random.choice(sorted({*self.users.index} & {*self.states}), n)
        return [inputs for userid in users if len(inputs := self._some_list(int(userid), random))]

    def _some_list(self, userid: int, random: np.random.Generator) -> ModelInputs:
        state = self.states[userid]
        timestamp = request_time(state)
        scores = self.recall.scores(state, timestamp)
        found: dict[str, Ints] = dict.fromkeys(scores, self.recall.itemids[:0])
        reached = np.flatnonzero(~np.isnan(np.stack(list(scores.values()))).all(axis=0))
        some = random.choice(reached, min(LIST, len(reached)), replace=False) if len(reached) else reached
        for name, values in scores.items():
            ranked = some[np.argsort(-values[some], kind="stable")]
            found[name] = self.recall.itemids[ranked[~np.isnan(values[ranked])]]
        return self.inputs(userid, timestamp, self.recall.fused(scores, found))


def _columns(frame: pd.DataFrame) -> Mapping[str, Any]:
    return {name: frame[name].to_numpy() for name in frame.columns}


def offline_truth(exchange_dir: Path, manifest: Manifest) -> OfflineTruth:
    """Everything from the artifacts. Raises ArtifactError when one is missing or does not belong to the others."""
    return OfflineTruth(
        spec=manifest.feature_spec,
        users=artifacts.USER_FEATURES.read(exchange_dir).set_index(Columns.USER, drop=False),
        items=artifacts.ITEM_FEATURES.read(exchange_dir).set_index(Columns.ITEM, drop=False),
        states={row.userid: row for row in user_rows(exchange_dir)},
        recall=recall_truth(exchange_dir, manifest),
        model=_model(exchange_dir, manifest),
    )


def _model(exchange_dir: Path, manifest: Manifest) -> ScoringModel:
    """The trained model. Raises ArtifactError when weights, configuration, recipe and spec do not belong together."""
    weights = artifacts.RANK_WEIGHTS
    try:
        config = artifacts.RANK_REPORT.read(exchange_dir).get("model") or {}
        model = load_ranker(weights.read(exchange_dir), config)
    except (ValueError, RuntimeError, UnpicklingError, EOFError) as error:
        reason = " ".join(str(error).split())[:200]
        raise weights.wrong(weights.at(exchange_dir), f"cannot be loaded as its report says ({reason})") from error
    ranker = manifest.recipe.ranker
    if config["kind"] != ranker.kind or config != ranker_class(ranker.kind).configure(
        ranker, manifest.feature_spec, manifest.dataset, config
    ):
        raise weights.wrong(weights.at(exchange_dir), "was trained with another feature spec or recipe")
    return model


def recount(exchange_dir: Path, truth: OfflineTruth, recipe: DataRecipe, userids: Sequence[int]) -> OfflineTruth:
    """The truth about these users, with everything countable counted again from the ratings.

    Raises ArtifactError for a user without features.
    """
    absent = sorted({*userids} - {*truth.users.index})
    if absent:
        path = artifacts.USER_FEATURES.at(exchange_dir)
        raise artifacts.USER_FEATURES.wrong(
            path, f"user {truth.states[absent[0]].own_id!r}, who is known to recall, is not in it"
        )
    return replace(
        truth,
        users=recounted_users(exchange_dir, truth.users.loc[list(userids)], truth.spec, recipe.window),
        items=recounted_items(exchange_dir, truth.items, truth.spec),
        states=recounted_states(exchange_dir, userids),
    )
