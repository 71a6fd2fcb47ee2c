"""Training of the list ranker: softmax over each list, liked candidates against all the others but the disliked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from data_exchange_center.features import DenseFeature
from data_exchange_center.recipes import ListRankerRecipe
from offline.data.lists import Lists
from offline.models.list_ranker import Knowledge, ListRanker, ListRankerConfig
from offline.training.click_model import THREADS

EXCLUDED = -1e4


@dataclass(frozen=True)
class SideFeatures:
    """What the ranker is told beside history, candidates and recall's own scores.

    Attributes:
        fields: (users, crossed fields) codes.
        count: how the number of a user's ratings is encoded.
        items: (items + 1, item columns), encoded.
    """

    fields: NDArray[np.int64]
    count: DenseFeature
    items: NDArray[np.float32]


def train_ranker(
    lists: Lists, side: SideFeatures, knowledge: Knowledge, config: ListRankerConfig, recipe: ListRankerRecipe
) -> tuple[ListRanker, list[float]]:
    """A ranker fitted on the lists, which all hold something liked, and each epoch's loss."""
    torch.set_num_threads(THREADS)
    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng(recipe.seed)
    model = ListRanker(config)
    model.renew(knowledge)
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    batches = -(-len(lists) // recipe.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate, total_steps=recipe.epochs * batches)
    losses = []
    with tqdm(total=recipe.epochs * batches, desc="ranker", unit="batch", mininterval=1) as bar:
        for _ in range(recipe.epochs):
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


def list_scores(model: ListRanker, lists: Lists, side: SideFeatures) -> Tensor:
    """(m, c) scores."""
    lengths = side.count.encode(lists.lengths)  # at the request: point in time
    users = np.broadcast_to(lengths[:, None, None], (*lists.candidates.shape, 1))
    features = np.concatenate([users, side.items[lists.candidates], lists.features], axis=2, dtype=np.float32)
    scores: Tensor = model(
        torch.from_numpy(lists.events).long(),
        torch.from_numpy(lists.ratings).long(),
        torch.from_numpy(lists.ages).float(),
        torch.from_numpy(lists.candidates).long(),
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
