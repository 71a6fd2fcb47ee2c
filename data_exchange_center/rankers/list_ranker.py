"""Ranker: affinities to the history, statistics and recall's own scores, through a small MLP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from data_exchange_center.dataset import Dataset
from data_exchange_center.features import FeatureSpec
from data_exchange_center.rankers.contract import Config, FittedRanker, ListsRecipe

if TYPE_CHECKING:
    from torch import nn

    from offline.training.examples import ListExamples


class ListRankerRecipe(ListsRecipe):
    """The network is `offline.models.list_ranker.ListRanker`."""

    kind: Literal["list"] = "list"
    kernels: int = 4  # learned weightings of the history, a similarity
    transitions_dim: int = 64  # rank of what-follows-what, one of the similarities; 128 gave the same on validation
    hidden: tuple[int, ...] = (64, 32)
    dropout: float = 0.0

    def configure(self, spec: FeatureSpec, dataset: Dataset, trained: Config) -> Config:
        from offline.models.list_ranker import ListRankerConfig

        config = ListRankerConfig.of(spec, self, trained["factors"], dataset)
        return config.model_dump(mode="json")

    @classmethod
    def build(cls, config: Config) -> nn.Module:
        from offline.models.list_ranker import ListRanker, ListRankerConfig

        return ListRanker(ListRankerConfig.model_validate(config))

    def fit(self, examples: ListExamples) -> FittedRanker:
        from offline.training.ranking import fit_list_ranker

        return fit_list_ranker(self, examples)
