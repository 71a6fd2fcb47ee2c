"""The ranking model as it is exported and served, loaded from the artifacts.

The weights are stored as a state dict; the configuration in the report rebuilds the network around them.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from data_exchange_center.feature_kinds import Float32
from data_exchange_center.features import ModelInputs
from data_exchange_center.rankers.registry import ranker_called


class ScoringModel(nn.Module):
    """A ranking model as it is served: one user's n candidates -> (n, 1) probabilities of a click.

    Given (n, `Widths.row`) float32 and, where the model reads a history, (1, `Widths.history`): that of all candidates.
    The network gets them joined, as in training: a list where there is a history, else rows.
    """

    def __init__(self, ranker: nn.Module) -> None:
        super().__init__()
        self.ranker = ranker

    def forward(self, rows: Tensor, history: Tensor | None = None) -> Tensor:
        if history is None:
            return torch.sigmoid(self.ranker(rows))
        whole = torch.cat([rows, history.expand(rows.shape[0], -1)], dim=1)
        return torch.sigmoid(self.ranker(whole[None])[0])


def score(model: nn.Module, inputs: ModelInputs) -> Float32:
    """(n,) probabilities that a `ScoringModel` gives one list's candidates, if there are any."""
    if not len(inputs):
        return np.empty(0, np.float32)
    with torch.inference_mode():
        probabilities: Float32 = model(*map(torch.from_numpy, inputs.by_name.values()))[:, 0].numpy()
    return probabilities


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

    A softmax over lists knows no probability; the sigmoid keeps its order and the range that the wire promises.
    Raises ValueError or RuntimeError when the two do not belong together.
    """
    kind = ranker_called(config.get("kind"))
    network = kind.build(config)
    load_weights(network, weights)
    return ScoringModel(network).eval()
