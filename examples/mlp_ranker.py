"""A ranker of your own: an MLP over the statistics and recall's scores of each candidate, without the history.

One file holds its settings and its network; fitting by a softmax over the lists that recall makes comes with `Ranker`.
pyproject.toml next to it declares the settings, which name the network. To try it:

    .venv/bin/uv pip install -e examples
    .venv/bin/python -m examples.mlp_ranker > mlp.json
    RECSYS_RECIPE=mlp.json make demo
"""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from data_exchange_center.dataset import Dataset
from data_exchange_center.features import FeatureSpec
from data_exchange_center.recipes import DEFAULT, ListsRecipe
from offline.models.kinds import Config, Ranker


class MLPRecipe(ListsRecipe):
    """Settings, as a recipe names them; those of the training lists and of the softmax come with `ListsRecipe`."""

    trained_by: ClassVar[str] = "examples.mlp_ranker:MLP"

    kind: Literal["mlp"] = "mlp"
    hidden: tuple[int, ...] = (16,)


class MLP(Ranker):
    """(m, c, columns) rows of lists -> (m, c, 1) scores. Without hidden layers it is linear."""

    columns: Tensor

    def __init__(self, columns: list[int], hidden: list[int]) -> None:
        super().__init__()
        self.register_buffer("columns", torch.tensor(columns), persistent=False)
        sizes = [len(columns), *hidden]
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(sizes):
            layers += [nn.Linear(inputs, outputs), nn.SiLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(sizes[-1], 1))

    def forward(self, rows: Tensor, history: Tensor) -> Tensor:
        # (m, c, columns) -> (m, c, 1)
        scores: Tensor = self.layers(rows.index_select(-1, self.columns))
        return scores

    @classmethod
    def configure(
        cls, recipe: MLPRecipe, spec: FeatureSpec, dataset: Dataset, trained: Config
    ) -> Config:
        columns = [
            spec.columns.index(name)
            for name in (*(number.name for number in spec.dense), *spec.candidate)
        ]
        return {"kind": recipe.kind, "columns": columns, "hidden": list(recipe.hidden)}

    @classmethod
    def build(cls, config: Config) -> Self:
        return cls(config["columns"], config["hidden"])


# the default recipe with this ranker
RECIPE = DEFAULT.model_copy(update={"name": "mlp", "ranker": MLPRecipe()})

if __name__ == "__main__":
    print(RECIPE.model_dump_json(indent=2))
