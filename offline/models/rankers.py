"""Rankers by kind, and a ranker as it is stored, exported to ONNX and served."""

import io
from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from data_exchange_center import plugins
from data_exchange_center.features import Float32, ModelInputs, weighted
from data_exchange_center.recipes import RankerRecipe, recipe_class
from offline.models.deepfm import DeepFM
from offline.models.kinds import Config, Ranker
from offline.models.list_ranker import ListRanker
from offline.models.training import THREADS, tensors_of

# Kind -> its network, which has the `fit`; a kind of another package names its own
RANKERS: Final[dict[object, type[Ranker]]] = {"deepfm": DeepFM, "list": ListRanker}


def ranker_class(kind: object) -> type[Ranker]:
    """The network's class. Raises ValueError when there is no such kind."""
    if kind in RANKERS:
        return RANKERS[kind]
    found = plugins.part(recipe_class(kind, RankerRecipe), "trained_by")
    if not (isinstance(found, type) and issubclass(found, Ranker)):
        raise ValueError(f"{kind!r} is no ranker")
    return found


class ScoringModel(nn.Module):
    """A ranking model as it is served: one user's n candidates -> (n, outputs) scores from 0 to 1.

    Inputs are those of `ModelInputs`: (n, columns) rows and, where the network reads a history, (1, events, 3). The
    score is the sigmoid of the network's output: of a ranker of pairs the probability of a click; of a ranker of lists
    no probability, as a softmax over a list fixes its order alone. A list ranker of a data set with types has an output
    for each target type, and `weights` for them; else there is one.
    """

    def __init__(self, ranker: nn.Module, weights: Sequence[float] = (1.0,)) -> None:
        super().__init__()
        self.ranker = ranker
        self.weights = weights

    def forward(self, rows: Tensor, history: Tensor | None = None) -> Tensor:
        if history is None:
            return torch.sigmoid(self.ranker(rows))
        of_one_list = self.ranker(rows[None], history)  # (1, n, outputs)
        return torch.sigmoid(of_one_list[0])


def score(model: ScoringModel, inputs: ModelInputs) -> Float32:
    """Score one list's candidates with a `ScoringModel`: (n,) scores."""
    if not len(inputs):
        return np.empty(0, np.float32)
    return weighted(outputs(model, inputs), model.weights)


def outputs(model: nn.Module, inputs: ModelInputs) -> Float32:
    """What a `ScoringModel` gives for one list's candidates: (n, outputs)."""
    with torch.inference_mode():
        found: Float32 = model(*tensors_of(inputs)).numpy()
    return found


def weights_to_bytes(model: nn.Module) -> bytes:
    """The state dict as `torch.save` writes it: the same weights give the same bytes."""
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    return buffer.getvalue()


def load_ranker(weights: bytes, config: Config) -> ScoringModel:
    """Load the served model, in evaluation mode, from `artifacts.RANK_WEIGHTS` and "model" of `artifacts.RANK_REPORT`.

    Sets PyTorch to one thread in this process. Raises ValueError or RuntimeError when the two do not belong together.
    """
    # a list's products are small: a second thread waits for more than it multiplies
    torch.set_num_threads(THREADS)
    network = ranker_class(config.get("kind")).build(config)
    network.load_state_dict(torch.load(io.BytesIO(weights), weights_only=True))
    of_outputs = [weight for _, weight in config.get("objectives", ())]
    return ScoringModel(network, of_outputs or (1.0,)).eval()
