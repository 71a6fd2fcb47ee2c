"""The offline side of the check: the artifacts' scores, features and model inputs, in double precision where it counts.

Recall's scores are exact inner products over all items; the ranking model's inputs are the artifacts' features through
the spec; its scores are PyTorch's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from pickle import UnpicklingError  # what PyTorch raises for bytes that are no weights; nothing is unpickled
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_exchange_center import artifacts
from data_exchange_center.channels import ChannelSet, VectorChannel
from data_exchange_center.columns import Columns, vector_of
from data_exchange_center.dataset import OwnIds
from data_exchange_center.features import FeatureSpec, Float32, ModelInputs
from data_exchange_center.fusion import Fused, Hits, candidate_columns, fuse
from data_exchange_center.recipes import DataRecipe, VectorRecipe
from data_exchange_center.release import Manifest
from data_exchange_center.release_parts import read_channels, read_item_ids
from data_exchange_center.steps import CheckError
from data_exchange_center.vocabulary import Vocabulary
from data_exchange_center.wire import hybrid_scores
from offline.models.kinds import ScoringModel, load_ranker, ranker_class, score
from offline_to_online.parity.recount import recounted_items, recounted_states, recounted_users
from offline_to_online.rows import UserRow, request_time, user_rows, vectors_by, vectors_of
from offline_to_online.stores.elasticsearch import TOLERANCE

LIST: Final = 10  # candidates in a sampled list, at most
Float64 = NDArray[np.float64]
Ints = NDArray[np.integer]


# Recall.


@dataclass(frozen=True)
class RecallTruth:
    """The channels of a release over all its items.

    Attributes:
        manifest: names the channels and their weights.
        channels: those that compute something when a request comes.
        itemids: (items,) ascending numbers.
        own_ids: what people call the items.
        vectors: searched channel -> (items, dim), not numbers where the channel does not know the item.
        genres: (items, genres) whether an item has the genre of code column + 1.
    """

    manifest: Manifest
    channels: ChannelSet
    itemids: Ints
    own_ids: OwnIds
    vectors: Mapping[str, Float64]
    genres: NDArray[np.bool_]

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of `Fused.features`."""
        return candidate_columns([channel.name for channel in self.manifest.recipe.recall.channels])

    def scores(self, user: UserRow, timestamp: int) -> dict[str, Float64]:
        """Score every item by each channel for a request at ``timestamp``: channel name -> (items,).

        Not a number for an item that a search cannot find. Raises CheckError for a vector of another width.
        """
        vectors = vectors_of(self.manifest, self.channels, user, timestamp)
        codes = self.channels.codes(self.itemids)
        scored = self.channels.scores(user.history, user.profile, timestamp)
        given = {
            name: np.where((codes > 0) & np.isfinite(values[codes]), values[codes], np.nan).astype(np.float64)
            for name, values in scored.items()
        }
        searched = {
            channel.name: self._search(channel, vectors.get(channel.name), user)
            for channel in self.manifest.recipe.recall.searched
        }
        return {channel.name: (given | searched)[channel.name] for channel in self.manifest.recipe.recall.channels}

    def _search(self, channel: VectorRecipe, vector: NDArray[np.float32] | None, user: UserRow) -> Float64:
        unknown = np.full(len(self.itemids), np.nan)
        products = self.vectors[channel.name] @ vector.astype(np.float64) if vector is not None else unknown
        if channel.term_weight <= 0 or not len(user.genres):
            return products
        matches = np.asarray(self.genres[:, user.genres - 1].any(axis=1))
        return hybrid_scores(np.where(self._near_enough(products, user.seen), products, np.nan), matches, channel)

    def _near_enough(self, products: Float64, seen: Ints) -> NDArray[np.bool_]:
        """(items,) whether an item is among the neighbours that a search by vector and genres looks at."""
        there = np.where(np.isin(self.itemids, seen), np.nan, products)
        order = np.argsort(-there, kind="stable")  # not a number: last
        near = np.zeros(len(products), dtype=bool)
        near[order[: self.manifest.recipe.recall.num_candidates]] = True
        return near & ~np.isnan(there)

    def fused(self, scores: Mapping[str, Float64], found: Mapping[str, Ints]) -> Fused:
        """Fusion of the lists that the index gave, best first, with offline scores. ``found``: channel name -> ids."""
        recipe = self.manifest.recipe.recall
        hits = [
            Hits(found[channel.name], scores[channel.name][self.positions(found[channel.name])])
            for channel in recipe.channels
        ]
        return fuse(hits, [channel.fusion_weight for channel in recipe.channels], recipe.candidates)

    def findable(self, scores: Mapping[str, Float64], seen: Ints) -> Ints:
        """Unseen items that at least one channel can find, by `scores`."""
        known = ~np.isnan(np.stack(list(scores.values()))).all(axis=0)
        return np.setdiff1d(self.itemids[known], seen)

    def positions(self, itemids: Ints) -> NDArray[np.intp]:
        """Rows of items. Raises CheckError for an unknown one."""
        codes = Vocabulary(self.itemids).codes(itemids)
        if not codes.all():
            raise CheckError(
                f"Elasticsearch found an item with the number {itemids[codes == 0][0]}, which none of the items has"
            )
        return codes - 1

    def disorder(self, scores: Mapping[str, Float64], found: Mapping[str, Ints]) -> Iterator[str]:
        """One sentence a channel whose list is not in the order of its offline scores, beyond what is a tie."""
        for name, ids in found.items():
            ranked = scores[name][self.positions(ids)]
            if np.isnan(ranked).any():
                yield f"channel {name!r} found item {self._own(ids, np.isnan(ranked).argmax())}, which it does not know"
                continue
            best_after = np.maximum.accumulate(ranked[::-1])[::-1]
            late = best_after - ranked > TOLERANCE * np.maximum(1, np.abs(ranked))
            if late.any():
                first = int(late.argmax())
                worst = first + int(ranked[first:].argmax())
                yield (
                    f"channel {name!r} found item {self._own(ids, first)} ({ranked[first]:.6g} offline) before item "
                    f"{self._own(ids, worst)} ({ranked[worst]:.6g})"
                )

    def _own(self, ids: Ints, position: np.intp | int) -> str:
        return repr(self.own_ids[int(ids[position])])


def recall_truth(exchange_dir: Path, manifest: Manifest) -> RecallTruth:
    """From the artifacts. Channels that compute user vectors also compute their item vectors."""
    channels = read_channels(exchange_dir)
    terms = artifacts.ITEM_TERMS.read(exchange_dir).sort_values(Columns.ITEM)
    itemids = terms[Columns.ITEM].to_numpy(np.int64)
    genres = np.zeros((len(itemids), len(manifest.feature_spec.genres)), dtype=bool)
    for row, codes in enumerate(terms[Columns.GENRES]):
        genres[row, np.asarray(codes, dtype=np.int64) - 1] = True
    stored = vectors_by(artifacts.ITEM_VECTORS.read(exchange_dir), Columns.ITEM)
    vectors = {}
    for name, width in manifest.vector_dims.items():
        rows = vectors[name] = np.full((len(itemids), width), np.nan)
        for row, itemid in enumerate(itemids.tolist()):
            if (vector := stored.get(itemid, {}).get(vector_of(name))) is not None:
                rows[row] = vector
    codes = channels.codes(itemids)
    for channel in channels.channels:
        if not isinstance(channel, VectorChannel):
            continue
        known = channel.trained[codes]
        vectors[channel.name][known] = channel.item_vectors()[codes[known]]
        vectors[channel.name][~known] = np.nan
    return RecallTruth(manifest, channels, itemids, read_item_ids(exchange_dir), vectors, genres)


# The ranking model.


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
        """Inputs of the model for one user's candidates. Raises KeyError for an unknown id."""
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
