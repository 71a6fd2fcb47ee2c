"""Ranker: an MLP over the statistics and what recall says of each candidate; without hidden layers it is linear."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from data_exchange_center.dataset import Dataset
from data_exchange_center.features import FeatureSpec
from data_exchange_center.recipes import ListsRecipe
from offline.models.kinds import Config

if TYPE_CHECKING:
    from torch import nn


class MLPRecipe(ListsRecipe):
    """What configures it; how it is fitted, by a softmax over each list, comes with `ListsRecipe`."""

    kind: Literal["mlp"] = "mlp"
    hidden: tuple[int, ...] = (16,)

    def configure(self, spec: FeatureSpec, dataset: Dataset, trained: Config) -> Config:
        columns = [spec.columns.index(name) for name in (*(number.name for number in spec.dense), *spec.candidate)]
        return {"kind": self.kind, "columns": columns, "hidden": list(self.hidden)}

    @classmethod
    def build(cls, config: Config) -> nn.Module:
        from offline.models.layers import Pick
        from torch import nn

        sizes = [len(config["columns"]), *config["hidden"]]
        layers: list[nn.Module] = [Pick(config["columns"])]
        for inputs, outputs in pairwise(sizes):
            layers += [nn.Linear(inputs, outputs), nn.SiLU()]
        return nn.Sequential(*layers, nn.Linear(sizes[-1], 1))
