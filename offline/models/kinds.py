"""Interfaces of models of any kind: a channel's fit gives `Fitted`; a ranker is a subclass of `Ranker`.

The kinds of this project are in `offline.recall.s2_vector_recall.CHANNELS` and `offline.models.rankers.RANKERS`.
Another package's kind is named by its settings (`data_exchange_center.recipes`), in ``trained_by``.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from torch import nn

from data_exchange_center.channels import Channel, VectorChannel
from data_exchange_center.dataset import Dataset
from data_exchange_center.features import FeatureSpec
from offline.data.lists import Lists, StoredFeatures
from offline.data.sequences import Inputs, Sequences
from offline.models import pair_training
from offline.models.training import curves, train_on_lists

Config = Mapping[str, Any]  # JSON: "kind", and what sizes the network


@dataclass(frozen=True, eq=False)
class Fitted:
    """A channel, and its fit's report for JSON: "auc" by part and "epochs", each with its "loss", if any."""

    channel: Channel
    report: Mapping[str, Any] = field(default_factory=lambda: curves([]))

    def __str__(self) -> str:
        if not isinstance(self.channel, VectorChannel):
            return "scores the items when a request comes"
        trained = self.channel.trained[1:]
        dim = self.channel.item_vectors().shape[1]
        return f"{trained.sum():,} of {len(trained):,} items, {dim} dimensions"


@dataclass(frozen=True, eq=False)
class PairExamples:
    """Rows of rated pairs with the columns of ``spec``, and their labels."""

    spec: FeatureSpec
    dataset: Dataset
    data: pair_training.PairsData


@dataclass(frozen=True, eq=False)
class ListExamples:
    """Training data of a ranker of lists: lists recalled at past moments, and all else that may be known."""

    past: Sequences  # every event that may be known
    inputs: Inputs
    spec: FeatureSpec  # the columns of a row
    # they made the lists; fitted on the first part of each user's past
    training_channels: Sequence[Channel]
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
    their users, which `FeatureSpec.encode_events` makes -> (m, c, outputs) scores: one output for each target type.

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
        """Train on `PairExamples`, or on `ListExamples` with item statistics as of the first `past` share of events."""
        if isinstance(examples, PairExamples):
            config = cls.configure(recipe, examples.spec, examples.dataset, {})
            network, report = pair_training.fit_on_pairs(
                lambda: cls.build(config), examples.data, recipe.train, cls.__name__
            )
            return FittedRanker(network, config, report)
        inputs, spec = examples.inputs, examples.spec
        config = cls.configure(recipe, spec, inputs.dataset, {})
        known = examples.past.earlier(recipe.past)
        stored = StoredFeatures.of(known, inputs, spec, recipe)
        ranker, losses = train_on_lists(
            lambda: cls.build(config), examples.lists, stored, recipe
        )
        return FittedRanker(ranker, config, curves(losses, lists=len(examples.lists)))
