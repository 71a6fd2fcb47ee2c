"""The ranking model as it is exported and served, loaded from the artifacts.

The weights are stored as a state dict; the configuration in the report rebuilds the network around them.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Annotated, Any

import torch
from pydantic import Field, TypeAdapter
from torch import Tensor, nn

from offline.models.deepfm import DeepFM, DeepFMConfig
from offline.models.list_ranker import ListRanker, ListRankerConfig
from offline.models.row_ranker import RowRanker

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
