"""Training of the list ranker: softmax over each list, liked candidates against all others except the disliked."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data_exchange_center.progress import progress
from data_exchange_center.recipes import ListRankerRecipe
from offline.data.lists import Lists
from offline.data.stored_features import StoredFeatures
from offline.models.list_ranker import FrozenTables, ListRanker, ListRankerConfig
from offline.training.click_model import THREADS

EXCLUDED = -1e4


def train_ranker(
    lists: Lists, stored: StoredFeatures, frozen: FrozenTables, config: ListRankerConfig, recipe: ListRankerRecipe
) -> tuple[ListRanker, list[float]]:
    """A ranker fitted on the lists, which all hold something liked, and each epoch's loss."""
    torch.set_num_threads(THREADS)
    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng(recipe.seed)
    model = ListRanker(config)
    model.set_tables(frozen)
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    batches = -(-len(lists) // recipe.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate, total_steps=recipe.epochs * batches)
    losses = []
    with progress(total=recipe.epochs * batches, desc="ranker", unit="batch") as bar:
        for _ in range(recipe.epochs):
            model.train()
            total = 0.0
            for index in np.array_split(rng.permutation(len(lists)), batches):
                batch = lists.take(index)
                excluded = torch.from_numpy(batch.disliked | (batch.candidates == 0))
                scores = list_scores(model, batch, stored).masked_fill(excluded, EXCLUDED)
                liked = torch.from_numpy(batch.liked)
                loss = -scores.log_softmax(dim=1)[liked].mean()
                optimizer.zero_grad(set_to_none=True)
                torch.autograd.backward(loss)
                optimizer.step()
                schedule.step()
                total += loss.item()
                bar.update()
            losses.append(total / batches)
            bar.set_postfix(loss=f"{losses[-1]:.4f}", refresh=False)
    return model.eval(), losses


def list_scores(model: ListRanker, lists: Lists, stored: StoredFeatures) -> Tensor:
    """(m, c) scores."""
    return model.score_lists(torch.from_numpy(stored.rows(lists)))


def ranked(model: ListRanker, lists: Lists, stored: StoredFeatures, batch_size: int = 256) -> NDArray[np.int64]:
    """(m, c) candidates in the ranker's order, padding last; ties keep the fused order."""
    model.eval()
    out = []
    with torch.inference_mode():
        for start in range(0, len(lists), batch_size):
            part = lists.take(np.arange(start, min(start + batch_size, len(lists))))
            scores = np.where(part.candidates > 0, list_scores(model, part, stored).numpy(), -np.inf)
            out.append(np.take_along_axis(part.candidates, np.argsort(-scores, axis=1, kind="stable"), axis=1))
    return np.concatenate(out)
