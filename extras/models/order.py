"""Ranker `order`: keeps the order of recall's fused list, for a release whose lists are an imported model's own."""

from __future__ import annotations

from typing import Self

from torch import Tensor

from data_exchange_center.dataset import Dataset
from data_exchange_center.features import FeatureSpec
from extras.models.channel import OrderRecipe
from offline.models.kinds import Config, FittedRanker, ListExamples, Ranker


class Order(Ranker):
    """Score: the negative logarithm of the rank in the fused list."""

    def __init__(self, column: int) -> None:
        super().__init__()
        self.column = column

    def forward(self, rows: Tensor, history: Tensor) -> Tensor:
        """(m, c, columns) rows -> (m, c, 1)."""
        return -rows[..., self.column : self.column + 1]

    @classmethod
    def configure(
        cls, recipe: OrderRecipe, spec: FeatureSpec, dataset: Dataset, trained: Config
    ) -> Config:
        return {"kind": recipe.kind, "column": spec.columns.index("fused_log_rank")}

    @classmethod
    def build(cls, config: Config) -> Self:
        return cls(config["column"])

    @classmethod
    def fit(cls, recipe: OrderRecipe, examples: ListExamples) -> FittedRanker:
        """Nothing is learned."""
        config = cls.configure(recipe, examples.spec, examples.inputs.dataset, {})
        return FittedRanker(cls.build(config), config)
