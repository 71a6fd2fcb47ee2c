"""Models of rated pairs: a factorization machine for recall, DeepFM for ranking. And how any ranker is served.

Models return logits. A ranker's weights travel as a state dict; its configuration rebuilds it.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from torch import Tensor, nn

from data_exchange_center.features import FeatureSpec
from data_exchange_center.recipes import DeepFMRecipe
from offline.torchfm.layers import FieldEmbedding, pairwise_interactions
from offline.torchfm.ranker import ListRanker, ListRankerConfig
from offline.torchfm.row_ranker import RowRanker


class FM(nn.Module):
    """Factorization machine on two ids: w0 + w_user + w_item + <v_user, v_item>.

    Code 0 is the unknown user and the unknown item.
    Shapes: (batch, 2) int64 codes -> (batch, 1) logits.
    """

    def __init__(self, n_users: int, n_items: int, dim: int) -> None:
        super().__init__()
        self.n_users = n_users
        self.bias = nn.Parameter(torch.zeros(1))
        self.linear = FieldEmbedding((n_users, n_items), 1, init_std=0.0)
        self.factors = FieldEmbedding((n_users, n_items), dim)

    def forward(self, codes: Tensor) -> Tensor:
        vectors = self.factors(codes)  # (batch, 2, dim)
        interaction = (vectors[:, 0] * vectors[:, 1]).sum(dim=1, keepdim=True)  # (batch, 1)
        logits: Tensor = self.bias + self.linear(codes).sum(dim=1) + interaction
        return logits

    def user_factors(self) -> Tensor:
        """(n_users, dim), the unknown user first."""
        return self.factors.table.weight.detach()[: self.n_users]

    def item_factors(self) -> Tensor:
        """(n_items, dim), the unknown item first."""
        return self.factors.table.weight.detach()[self.n_users :]

    def item_bias(self) -> Tensor:
        """(n_items,), the unknown item first."""
        return self.linear.table.weight.detach()[self.n_users :, 0]


class DeepFMConfig(BaseModel):
    """What sizes a `DeepFM`; columns of its input are one-hot codes, then multi-hot flags, then dense values."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["deepfm"] = "deepfm"
    wide: tuple[int, ...]  # cardinalities of the id fields, the first columns
    narrow: tuple[int, ...]  # cardinalities of the other one-hot fields
    n_flags: int
    n_dense: int
    id_dim: int
    side_dim: int
    hidden: tuple[int, ...]
    dropout: float

    @classmethod
    def of(cls, spec: FeatureSpec, recipe: DeepFMRecipe) -> DeepFMConfig:
        """The configuration for the columns of ``spec``; the ids are its first two one-hot features."""
        cardinalities = tuple(feature.cardinality for feature in spec.one_hot)
        return cls(
            wide=cardinalities[:2],
            narrow=cardinalities[2:],
            n_flags=len(spec.multi_hot),
            n_dense=len(spec.dense),
            id_dim=recipe.id_dim,
            side_dim=recipe.side_dim,
            hidden=recipe.hidden,
            dropout=recipe.dropout,
        )

    @property
    def width(self) -> int:
        return len(self.wide) + len(self.narrow) + self.n_flags + self.n_dense


class DeepFM(nn.Module):
    """Sparse FM plus an MLP over the dense columns (after Guo et al., "DeepFM", IJCAI 2017).

    The variant of this project: ids have wider factors than the side fields (gender, age, occupation, every genre),
    and there is no deep part over the embeddings. A product needs two vectors of one length: a side field's factors
    are zero beyond ``side_dim``, so side fields meet each other and the ids in the first ``side_dim`` coordinates and
    the ids meet each other in all ``id_dim``.

    Shapes: (batch, width) float32, as `FeatureSpec.assemble` makes it -> (batch, 1) logits.
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
        n_wide, n_one_hot = len(self.config.wide), len(self.config.wide) + len(self.config.narrow)
        codes = rows[:, :n_one_hot].to(torch.int64)
        flags = rows[:, n_one_hot : n_one_hot + self.config.n_flags]
        dense = rows[:, n_one_hot + self.config.n_flags :]

        linear = self.linear(codes).sum(dim=1) + flags @ self.linear_flags  # (batch, 1)
        interactions = self._interactions(codes[:, :n_wide], codes[:, n_wide:], flags)
        logits: Tensor = self.bias + linear + interactions + self.mlp(dense)
        return logits

    def _interactions(self, wide_codes: Tensor, narrow_codes: Tensor, flags: Tensor) -> Tensor:
        wide = self.wide(wide_codes)  # (batch, ids, id_dim)
        narrow = self.narrow(narrow_codes)  # (batch, side fields, side_dim)
        total, squares = wide.sum(dim=1), (wide * wide).sum(dim=1)  # (batch, id_dim)
        side = narrow.sum(dim=1) + flags @ self.flags  # (batch, side_dim)
        side_squares = (narrow * narrow).sum(dim=1) + flags @ (self.flags * self.flags)  # a flag is its own square
        padding = (0, self.config.id_dim - self.config.side_dim)
        return pairwise_interactions(
            total + nn.functional.pad(side, padding), squares + nn.functional.pad(side_squares, padding)
        )


RankerConfig = Annotated[DeepFMConfig | ListRankerConfig, Field(discriminator="kind")]
_RANKER_CONFIG: TypeAdapter[DeepFMConfig | ListRankerConfig] = TypeAdapter(RankerConfig)


class ScoringModel(nn.Module):
    """A ranking model as it is served: (batch, width) float32 -> (batch, 1) probability of a click."""

    def __init__(self, ranker: nn.Module) -> None:
        super().__init__()
        self.ranker = ranker

    def forward(self, rows: Tensor) -> Tensor:
        return torch.sigmoid(self.ranker(rows))


def weights_to_bytes(model: nn.Module) -> bytes:
    """The state dict as `torch.save` writes it: the same weights give the same bytes."""
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    return buffer.getvalue()


def load_weights(model: nn.Module, content: bytes) -> None:
    """The inverse of `weights_to_bytes`, into ``model``."""
    model.load_state_dict(torch.load(io.BytesIO(content), weights_only=True))


def load_ranker(weights: bytes, config: Mapping[str, Any]) -> ScoringModel:
    """The served model in evaluation mode, from `artifacts.RANK_WEIGHTS` and "model" of `artifacts.RANK_REPORT`.

    The list ranker's softmax knows no probability; the sigmoid keeps its order and the range that the wire promises.
    Raises pydantic's ValidationError or RuntimeError when the two do not belong together.
    """
    known: RankerConfig = _RANKER_CONFIG.validate_python(config)
    match known:
        case DeepFMConfig():
            model: nn.Module = DeepFM(known)
            load_weights(model, weights)
        case ListRankerConfig():
            ranker = ListRanker(known)
            load_weights(ranker, weights)
            model = RowRanker(ranker)
    return ScoringModel(model).eval()
