"""Models as the steps see them: found by kind, fitted, stored, rebuilt, scored.

A kind's settings (`data_exchange_center.recipes`) name in ``trained_by`` what trains it: for a channel, a function
`fit(recipe, past, inputs, data)` that returns `Fitted`; for a ranker, a subclass of `Ranker`.
"""

import io
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from data_exchange_center import columns, plugins, wire
from data_exchange_center.channels import (
    Channel,
    ChannelSet,
    StoredVectors,
    VectorChannel,
)
from data_exchange_center.dataset import Dataset
from data_exchange_center.features import FeatureSpec, Float32, ModelInputs
from data_exchange_center.recipes import (
    ChannelRecipe,
    DataRecipe,
    RankerRecipe,
    Recipe,
    VectorRecipe,
    recipe_class,
)
from offline.data.lists import Lists, StoredFeatures, ranker_of_lists
from offline.data.sequences import Inputs, Sequences
from offline.models.pairs import PairsData, fit_on_pairs
from offline.models.training import THREADS, curves, tensors_of, train_on_lists

Config = Mapping[str, Any]  # JSON: "kind", and what sizes the network


# --- Channels


@dataclass(frozen=True, eq=False)
class Fitted:
    """A channel, and its fit's report for JSON: "auc" by part and "epochs", each with its "loss", if any."""

    channel: Channel
    report: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        if not isinstance(self.channel, VectorChannel):
            return "scores the items when a request comes"
        trained, dim = self.channel.trained[1:], self.channel.item_vectors().shape[1]
        return f"{trained.sum():,} of {len(trained):,} items, {dim} dimensions"


def fit_channel(
    recipe: ChannelRecipe, past: Sequences, inputs: Inputs, data: DataRecipe
) -> Fitted:
    """Fit a channel by its kind, on ``past``: events of the users and items of ``inputs``.

    Raises TypeError where recipe and channel do not agree on whether there are vectors to search.
    """
    fitted: Fitted = plugins.part(recipe, "trained_by")(recipe, past, inputs, data)
    if isinstance(fitted.channel, VectorChannel) != isinstance(recipe, VectorRecipe):
        raise TypeError(
            f"{recipe.kind}: a VectorRecipe is served by a VectorChannel, and only a VectorRecipe is"
        )
    return Fitted(
        fitted.channel,
        {"recipe": recipe.model_dump(mode="json"), **curves([]), **fitted.report},
    )


def fit_channels(past: Sequences, inputs: Inputs, recipe: Recipe) -> tuple[Fitted, ...]:
    """All channels of the recipe, in its order."""
    return tuple(
        fit_channel(channel, past, inputs, recipe.data)
        for channel in recipe.recall.channels
    )


def channel_set(channels: Sequence[Channel], past: Sequences) -> ChannelSet:
    """Channels that compute something at a request: all but those with a stored vector for each user."""
    return ChannelSet(
        past.item_numbers,
        tuple(each for each in channels if not isinstance(each, StoredVectors)),
    )


def vector_tables(
    channels: Sequence[Channel], past: Sequences
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """`artifacts.USER_VECTORS` and `artifacts.ITEM_VECTORS`: every user and item; null where a channel was not trained
    on it."""
    users: dict[str, Any] = {columns.Columns.USER: past.user_numbers}
    items: dict[str, Any] = {columns.Columns.ITEM: past.item_numbers}
    for each in channels:
        name = wire.vector_of(each.name)
        if isinstance(each, StoredVectors):
            users[name] = [row if np.isfinite(row[0]) else None for row in each.users]
        if isinstance(each, VectorChannel):
            trained = zip(each.item_vectors()[1:], each.trained[1:], strict=True)
            items[name] = [row if there else None for row, there in trained]
    return pd.DataFrame(users), pd.DataFrame(items)


def fit_training_channels(
    past: Sequences, inputs: Inputs, recipe: Recipe
) -> tuple[Channel, ...]:
    """Fit the recipe's channels on the first part of each user's past, so that the ranker's targets do not leak into
    its inputs."""
    known = past.earlier(ranker_of_lists(recipe).past)
    return tuple(fitted.channel for fitted in fit_channels(known, inputs, recipe))


# --- Rankers


@dataclass(frozen=True, eq=False)
class PairExamples:
    """Rows of rated pairs with the columns of ``spec``, and their labels."""

    spec: FeatureSpec
    dataset: Dataset
    data: PairsData


@dataclass(frozen=True, eq=False)
class ListExamples:
    """Training data of a ranker of lists: lists recalled at past moments, and all else that may be known."""

    past: Sequences  # every event that may be known
    inputs: Inputs
    recipe: Recipe  # of the recommender
    spec: FeatureSpec  # the columns of a row
    training_channels: Sequence[
        Channel
    ]  # they made the lists; fitted on the first part of each user's past
    channels: Sequence[Channel]  # the same, fitted on the whole past
    lists: Lists


@dataclass(frozen=True, eq=False)
class FittedRanker:
    """A trained network, the configuration that rebuilds it, and its fit's report for JSON: see `Fitted`."""

    network: "Ranker"
    config: Config
    report: Mapping[str, Any] = field(default_factory=lambda: curves([]))


class Ranker(nn.Module, ABC):
    """A ranking network.

    Of rated pairs: ``forward(rows)``, (n, columns) float32 rows of `FeatureSpec.assemble` -> (n, 1) scores.
    Of lists: ``forward(rows, history)``, (m, c, columns) rows of m lists' candidates and (m, events, 3) histories of
    their users, which `FeatureSpec.encode_events` makes -> (m, c, 1) scores.

    It is stored as weights and configuration, and exported to ONNX in evaluation mode, within a `ScoringModel`. A
    ranker may add to it after training: the list ranker replaces its tables by newer ones and adds `returning`.
    """

    @classmethod
    @abstractmethod
    def configure(
        cls, recipe: Any, spec: FeatureSpec, dataset: Dataset, trained: Config
    ) -> Config:
        """The sizes of the network for the columns of ``spec``.

        ``trained``: the configuration of a trained network of this kind, for what only training knows; else empty.
        """

    @classmethod
    @abstractmethod
    def build(cls, config: Config) -> Self:
        """The network with random weights."""

    @classmethod
    def fit(cls, recipe: Any, examples: Any) -> FittedRanker:
        """Train on rated pairs, or on lists with item statistics as of the first `past` share of events."""
        if isinstance(examples, PairExamples):
            config = cls.configure(recipe, examples.spec, examples.dataset, {})
            network, report = fit_on_pairs(
                lambda: cls.build(config), examples.data, recipe.train, cls.__name__
            )
            return FittedRanker(network, config, report)
        config = cls.configure(recipe, examples.spec, examples.inputs.dataset, {})
        known = examples.past.earlier(recipe.past)
        stored = StoredFeatures.of(
            known, examples.inputs, examples.spec, examples.recipe
        )
        network, losses = train_on_lists(
            lambda: cls.build(config), examples.lists, stored, recipe
        )
        return FittedRanker(
            network, config, {**curves(losses), "lists": len(examples.lists)}
        )


def ranker_class(kind: object) -> type[Ranker]:
    """The network's class. Raises ValueError when there is no such kind."""
    found = plugins.part(recipe_class(kind, RankerRecipe), "trained_by")
    if not (isinstance(found, type) and issubclass(found, Ranker)):
        raise ValueError(f"{kind!r} is no ranker")
    return found


# --- A ranker as it is stored, exported and served


class ScoringModel(nn.Module):
    """A ranking model as it is served: one user's n candidates -> (n, 1) scores from 0 to 1.

    Inputs are those of `ModelInputs`: (n, columns) rows and, where the network reads a history, (1, events, 3). The
    score is the sigmoid of the network's output: of a ranker of pairs the probability of a click; of a ranker of lists
    no probability, as a softmax over a list fixes its order alone.
    """

    def __init__(self, ranker: nn.Module) -> None:
        super().__init__()
        self.ranker = ranker

    def forward(self, rows: Tensor, history: Tensor | None = None) -> Tensor:
        if history is None:
            return torch.sigmoid(self.ranker(rows))
        of_one_list = self.ranker(rows[None], history)  # (1, n, 1)
        return torch.sigmoid(of_one_list[0])


def score(model: nn.Module, inputs: ModelInputs) -> Float32:
    """Score one list's candidates with a `ScoringModel`: (n,) scores."""
    if not len(inputs):
        return np.empty(0, np.float32)
    with torch.inference_mode():
        scores: Float32 = model(*tensors_of(inputs))[:, 0].numpy()
    return scores


def weights_to_bytes(model: nn.Module) -> bytes:
    """The state dict as `torch.save` writes it: the same weights give the same bytes."""
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    return buffer.getvalue()


def load_ranker(weights: bytes, config: Config) -> ScoringModel:
    """Load the served model, in evaluation mode, from `artifacts.RANK_WEIGHTS` and "model" of `artifacts.RANK_REPORT`.

    Sets PyTorch to one thread in this process. Raises ValueError or RuntimeError when the two do not belong together.
    """
    torch.set_num_threads(
        THREADS
    )  # a list's products are small: a second thread waits for more than it multiplies
    network = ranker_class(config.get("kind")).build(config)
    network.load_state_dict(torch.load(io.BytesIO(weights), weights_only=True))
    return ScoringModel(network).eval()
