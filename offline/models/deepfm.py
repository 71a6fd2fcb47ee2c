"""Ranker `deepfm`: a sparse FM plus an MLP over the dense columns (after Guo et al., "DeepFM", IJCAI 2017).

Recipe: `DeepFMRecipe`. Reads assembled rows of rated pairs, (batch, width) float32: one-hot codes, multi-hot flags,
dense values. Gives (batch, 1) logits. Trained by binary cross-entropy, as the source project does.
"""

from collections.abc import Mapping
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from data_exchange_center.dataset import Dataset
from data_exchange_center.features import FeatureSpec
from data_exchange_center.recipes import DeepFMRecipe, Frozen
from offline.models.fm import FieldEmbedding
from offline.models.kinds import Config, Ranker


class DeepFMConfig(Frozen):
    """Sizes of a `DeepFM`."""

    kind: Literal["deepfm"] = "deepfm"
    wide: tuple[int, ...]  # cardinalities of the id fields, the first columns
    narrow: tuple[int, ...]  # cardinalities of the other one-hot fields
    n_flags: int
    n_dense: int
    id_dim: int
    side_dim: int
    hidden: tuple[int, ...]
    dropout: float


class DeepFM(Ranker):
    """This project's variant: ids have wider factors than the side fields (gender, age, occupation, every genre), and
    there is no deep part over the embeddings.

    A side field's factors are zero beyond ``side_dim``: side fields meet each other and the ids in the first
    ``side_dim`` coordinates, and the ids meet each other in all ``id_dim``.
    """

    def __init__(self, config: DeepFMConfig) -> None:
        super().__init__()
        self.config = config
        self.bias = nn.Parameter(torch.zeros(1))
        one_hot = (*config.wide, *config.narrow)
        self.linear = FieldEmbedding(one_hot, 1, init_std=0.0)
        self.linear_flags = nn.Parameter(torch.zeros(config.n_flags, 1))
        self.wide = FieldEmbedding(config.wide, config.id_dim)
        self.narrow = FieldEmbedding(config.narrow, config.side_dim)
        self.flags = nn.Parameter(torch.randn(config.n_flags, config.side_dim) * 0.01)
        layers: list[nn.Module] = []
        width = config.n_dense
        for hidden in config.hidden:
            layers += [nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(config.dropout)]
            width = hidden
        self.mlp = nn.Sequential(*layers, nn.Linear(width, 1))

    def forward(self, rows: Tensor) -> Tensor:
        n_wide, n_one_hot = (
            len(self.config.wide),
            len(self.config.wide) + len(self.config.narrow),
        )
        codes = rows[:, :n_one_hot].to(torch.int64)
        flags = rows[:, n_one_hot : n_one_hot + self.config.n_flags]
        dense = rows[:, n_one_hot + self.config.n_flags :]
        linear = self.linear(codes).sum(dim=1) + flags @ self.linear_flags  # (batch, 1)
        # sums of all factors and of their squares, (batch, id_dim): ids, then side fields, padded with zeros
        wide = self.wide(codes[:, :n_wide])  # (batch, ids, id_dim)
        total, squares = wide.sum(dim=1), (wide * wide).sum(dim=1)
        side, side_squares = (
            flags @ self.flags,
            flags @ (self.flags * self.flags),
        )  # a flag is its own square
        if self.config.narrow:  # a data set may have no profile
            narrow = self.narrow(codes[:, n_wide:])  # (batch, side fields, side_dim)
            side, side_squares = (
                narrow.sum(dim=1) + side,
                (narrow * narrow).sum(dim=1) + side_squares,
            )
        padding = (0, self.config.id_dim - self.config.side_dim)
        total = total + nn.functional.pad(side, padding)
        squares = squares + nn.functional.pad(side_squares, padding)
        # the sum over all pairs of <v_i, v_j> x_i x_j, in linear time (Rendle 2010, Lemma 3.1)
        interactions = 0.5 * (total * total - squares).sum(dim=1, keepdim=True)
        logits: Tensor = self.bias + linear + interactions + self.mlp(dense)
        return logits

    # --- Fit and rebuild

    @classmethod
    def configure(
        cls, recipe: DeepFMRecipe, spec: FeatureSpec, dataset: Dataset, trained: Config
    ) -> Config:
        cardinalities = tuple(feature.cardinality for feature in spec.one_hot)
        return DeepFMConfig(
            wide=cardinalities[:2],  # the ids are the first two one-hot features
            narrow=cardinalities[2:],
            n_flags=len(spec.multi_hot),
            n_dense=len(spec.dense),
            id_dim=recipe.id_dim,
            side_dim=recipe.side_dim,
            hidden=recipe.hidden,
            dropout=recipe.dropout,
        ).model_dump(mode="json")

    @classmethod
    def build(cls, config: Mapping[str, Any]) -> Self:
        return cls(DeepFMConfig.model_validate(config))
