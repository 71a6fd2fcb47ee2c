"""What a ranker consists of: a recipe that configures, fits and rebuilds it.

Its network reads rows as `FeatureSpec.assemble` makes them, so it has every column of the release by name. It is stored
as weights and a configuration, and exported to ONNX as it was trained: `offline.models.served` gives it one list, whose
history comes in once and is in every row.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from data_exchange_center.dataset import Dataset
from data_exchange_center.features import FeatureSpec
from data_exchange_center.frozen import Frozen, Need

if TYPE_CHECKING:
    from torch import nn

    from offline.training.examples import ListExamples, PairExamples

Examples = Literal["pairs", "lists"]
Config = Mapping[str, Any]  # JSON: "kind", and what sizes the network


@dataclass(frozen=True, eq=False)
class FittedRanker:
    """A trained network, the configuration that rebuilds it, and what its fitting reports, for JSON.

    The report has "auc" by part and "epochs", each with its "loss", if any.
    """

    network: nn.Module
    config: Config
    report: Mapping[str, Any] = field(default_factory=lambda: {"auc": {}, "epochs": []})


class RankerRecipe(Frozen, ABC):
    """What configures a ranker. A kind of ranker is a subclass with a ``kind``, named in `registry.KINDS`.

    Subclass `PairsRecipe` or `ListsRecipe`: they say what it is trained on. ``needs``: what a data set must have.
    """

    examples: ClassVar[Examples]
    needs: ClassVar[frozenset[Need]] = frozenset()

    kind: str

    @abstractmethod
    def configure(self, spec: FeatureSpec, dataset: Dataset, trained: Config) -> Config:
        """What sizes the network for the columns of ``spec``.

        ``trained``: the configuration of a network trained by this kind, for what only training knows; else empty.
        """

    @classmethod
    @abstractmethod
    def build(cls, config: Config) -> nn.Module:
        """The network, random, of float32 rows: (n, width) -> (n, 1) scores, or (m, c, width) -> (m, c, 1) of lists."""


class PairsRecipe(RankerRecipe, ABC):
    """A ranker trained on rated pairs: one row a rating, liked or not; (n, width) of them at once."""

    examples: ClassVar[Examples] = "pairs"
    needs: ClassVar[frozenset[Need]] = frozenset({"dislikes"})

    @abstractmethod
    def fit(self, examples: PairExamples) -> FittedRanker:
        """Fit, with nothing that is not in the examples."""


class ListsRecipe(RankerRecipe, ABC):
    """A ranker trained on the lists that recall makes, by a softmax over each list: (m, c, width) rows at once.

    The c candidates of a list are one user's, with the same history in every row.
    """

    examples: ClassVar[Examples] = "lists"

    history: int = 40  # newest events in a row
    past: float = 0.6  # share of each user's events that the recall behind the training lists is fitted on
    stride: int = 5  # events between request points, all of them later than those
    horizon: int = 10  # events after a request that say what was liked
    later: float = 0.05  # share of the requests that are asked years later: `make tune-later`
    epochs: int = 6
    batch_size: int = 128  # lists
    sampled: int = 32  # candidates of a list that a batch holds; others each time
    learning_rate: float = 5e-3
    weight_decay: float = 0.01
    seed: int = 0

    def fit(self, examples: ListExamples) -> FittedRanker:
        """Fit `build`'s network, with nothing that is not in the examples."""
        from offline.training.list_ranker import fit_network

        return fit_network(self, examples)
