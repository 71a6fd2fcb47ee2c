"""Training of the list ranker: softmax over each list, liked candidates against all the others but the disliked."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from offline.data.knowledge import COUNT_SCALE
from offline.data.lists import Lists
from offline.torchfm.ranker import Knowledge, ListRanker, RankerShape
from offline.torchfm.train import THREADS

EXCLUDED = -1e4


@dataclass(frozen=True)
class RankerTraining:
    """Chosen on the ten before the last ten."""

    shape: RankerShape = field(default_factory=RankerShape)
    epochs: int = 3
    batch_size: int = 128  # lists
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    past: float = 0.7  # share of each user's events that the recall behind the training lists is fitted on
    stride: int = 8  # events between request points, all of them later than those
    horizon: int = 10  # events after a request that say what was liked
    seed: int = 0


@dataclass(frozen=True)
class SideFeatures:
    """What the ranker is told beside history, candidates and recall's own scores.

    Attributes:
        fields: (users, crossed fields) codes.
        items: (items + 1, item columns), scaled.
    """

    fields: NDArray[np.int64]
    items: NDArray[np.float32]


def train_ranker(
    lists: Lists, side: SideFeatures, knowledge: Knowledge, config: RankerTraining
) -> tuple[ListRanker, list[float]]:
    """A ranker fitted on the lists that hold something liked, and each epoch's loss."""
    torch.set_num_threads(THREADS)
    torch.manual_seed(config.seed)
    rng = np.random.default_rng(config.seed)
    lists = lists.take(np.flatnonzero(lists.liked.any(axis=1)))
    if len(lists) == 0:
        raise ValueError("no list holds a liked candidate: there is nothing to train the ranker on")
    model = ListRanker(knowledge, input_columns(lists, side), config.shape)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    batches = -(-len(lists) // config.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.learning_rate, total_steps=config.epochs * batches)
    losses = []
    with tqdm(total=config.epochs * batches, desc="ranker", unit="batch", mininterval=1) as bar:
        for _ in range(config.epochs):
            model.train()
            total = 0.0
            for index in np.array_split(rng.permutation(len(lists)), batches):
                batch = lists.take(index)
                excluded = torch.from_numpy(batch.disliked | (batch.candidates == 0))
                scores = list_scores(model, batch, side).masked_fill(excluded, EXCLUDED)
                liked = torch.from_numpy(batch.liked)
                loss = -scores.log_softmax(dim=1)[liked].mean()
                optimizer.zero_grad(set_to_none=True)
                torch.autograd.backward(loss)
                optimizer.step()
                schedule.step()
                total += loss.item()
                bar.update()
            losses.append(total / batches)
            bar.set_postfix(loss=f"{losses[-1]:.4f}")
    return model.eval(), losses


def input_columns(lists: Lists, side: SideFeatures) -> int:
    """Columns a candidate beside affinities, crosses and the history's summary."""
    return 1 + int(side.items.shape[1]) + int(lists.features.shape[2])


def list_scores(model: ListRanker, lists: Lists, side: SideFeatures) -> Tensor:
    """(m, c) scores."""
    lengths = np.log1p(lists.lengths.astype(np.float32)) / COUNT_SCALE  # at the request: point in time
    users = np.broadcast_to(lengths[:, None, None], (*lists.candidates.shape, 1))
    features = np.concatenate([users, side.items[lists.candidates], lists.features], axis=2, dtype=np.float32)
    scores: Tensor = model(
        torch.from_numpy(lists.events),
        torch.from_numpy(lists.ratings),
        torch.from_numpy(lists.ages.astype(np.float32)),
        torch.from_numpy(lists.candidates),
        torch.from_numpy(side.fields[lists.users]),
        torch.from_numpy(features),
    )
    return scores


def ranked(model: ListRanker, lists: Lists, side: SideFeatures, batch_size: int = 256) -> NDArray[np.int64]:
    """(m, c) candidates in the ranker's order, padding last; ties keep the fused order."""
    model.eval()
    out = []
    with torch.inference_mode():
        for start in range(0, len(lists), batch_size):
            part = lists.take(np.arange(start, min(start + batch_size, len(lists))))
            scores = np.where(part.candidates > 0, list_scores(model, part, side).numpy(), -np.inf)
            out.append(np.take_along_axis(part.candidates, np.argsort(-scores, axis=1, kind="stable"), axis=1))
    return np.concatenate(out)
