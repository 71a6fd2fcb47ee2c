"""Recall channel `tower`: a two-tower factorization machine over history and profile.

The sum of a user's field vectors times the sum of an item's: Rendle (2010), "Factorization Machines", without the pairs
inside one side, which cannot reorder items; trained as Covington et al. (2016) train candidate generation: softmax over
the items, on what the user liked next. Item popularity is one more dimension.

Recipe: `TowerRecipe`. Reads a user's newest events, (m, lags) item codes and ratings, newest first, the profile, (m,
fields) codes, and whether the session goes on, (m,). Gives (m, dim) user vectors; a user is profile + weighted sums of
item rows over the history, and a layer of hidden units that reads these. There is no user id.

Served: `HistorySum`, by which a user's vector is updated, or made for a new user, with numpy alone.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from data_exchange_center import channels, plugins, steps
from data_exchange_center.recipes import DataRecipe, TowerRecipe
from offline.data.sequences import (
    Inputs,
    Ints,
    Points,
    Sequences,
    histories,
    next_events,
    request_points,
    seen_before,
)
from offline.models import ease, kinds
from offline.models.training import THREADS, Run, curves, first_rating_weights, train

Float32 = NDArray[np.float32]
Pairs = tuple[Tensor, Tensor]  # (n,) rows; (n,) an item in each

REGIMES = 2  # 0: the session goes on; 1: the user comes back after a break
START_SCALE = np.float32(0.3)  # of the factors that a tower begins with
EXCLUDED = -1e4  # logit of an item that is left out of the softmax


# --- Network


class Tower(nn.Module):
    """(history, profile) -> user vectors; item vectors, and their popularity."""

    genres: Tensor  # (items + 1, genres) each item's genres, summing to 1

    def __init__(
        self, recipe: TowerRecipe, inputs: Inputs, history: int, popularity: Float32
    ) -> None:
        """``history``: events looked back at; ``popularity``: (items + 1,) clicks, row 0 padding."""
        super().__init__()
        self.recipe = recipe
        genres, dataset, d, fields = (
            inputs.genres,
            inputs.dataset,
            recipe.dim,
            recipe.fields,
        )
        share = genres / np.maximum(genres.sum(axis=1, keepdims=True), 1)
        self.register_buffer("genres", torch.from_numpy(share.astype(np.float32)))
        rows, n_genres = genres.shape
        self.item = nn.Embedding(rows, d, padding_idx=0)
        self.item_genre = nn.Parameter(torch.randn(n_genres, d) * 0.05)
        self.bias = nn.Parameter(
            torch.from_numpy(np.log1p(popularity).astype(np.float32))
        )
        # each history field has item rows of its own; initially the first decays fast, the last slowly
        self._history = [nn.Embedding(rows, d, padding_idx=0) for _ in range(fields)]
        self.history = nn.ModuleList(self._history)
        self.history_genre = nn.Parameter(torch.randn(fields, n_genres, d) * 0.05)
        self._profile = [
            nn.Embedding(each.cardinality, d, padding_idx=0) for each in inputs.profile
        ]  # code 0: unknown
        self.profile = nn.ModuleList(self._profile)
        self.regime = nn.Embedding(REGIMES, d)
        for table in (self.item, *self._history, *self._profile, self.regime):
            nn.init.normal_(table.weight, std=0.05)
            if table.padding_idx is not None:
                with torch.no_grad():
                    table.weight[0] = 0
        lag = torch.arange(1, history + 1).float()
        powers = torch.linspace(-0.8, -0.2, fields)
        self.lag = nn.Parameter(
            (lag[None, :] ** powers[:, None])[:, None].repeat(1, REGIMES, 1)
        )
        first = first_rating_weights(
            len(dataset.levels), dataset.positive_level, (0.4, 0.5, 0.7), (1.0, 1.1)
        )
        self.rating_weight = nn.Parameter(first.repeat(fields, REGIMES, 1))
        self.dropout = nn.Dropout(recipe.dropout)
        if recipe.hidden:  # units of a layer that is added to the sums
            self.up = nn.Linear(fields * d, recipe.hidden)
            self.down = nn.Linear(recipe.hidden, d, bias=False)
            nn.init.zeros_(self.down.weight)  # it begins as the sum

    def start_from(self, events: Float32, candidates: Float32) -> None:
        """Initialise the rows of the first history field and of the items, (items + 1, <= dim) each.

        Zero rows, and columns that are not given, keep their random values.
        """
        with torch.no_grad():
            for table, rows in ((self._history[0], events), (self.item, candidates)):
                there = torch.from_numpy(rows.any(axis=1))
                table.weight[there, : rows.shape[1]] = torch.from_numpy(rows)[there]

    def item_vectors(self, items: Tensor | None = None) -> Tensor:
        """(items + 1, dim) without the popularity dimension; of (k,) ``items`` alone, (k, dim)."""
        if items is None:
            return self.item.weight + self.genres @ self.item_genre
        rows: Tensor = self.item(items)
        return rows + self.genres[items] @ self.item_genre

    def history_rows(self) -> Tensor:
        """(fields, items + 1, dim)."""
        tables = zip(self._history, self.history_genre, strict=True)
        return torch.stack(
            [table.weight + self.genres @ genre for table, genre in tables]
        )

    def weights(self, ratings: Tensor, regime: Tensor) -> Tensor:
        """(m, lags) ratings, 0 where padded; (m,) regimes -> (fields, m, lags) weight of each event."""
        lag = self.lag[:, regime, : ratings.shape[1]]  # (fields, m, lags)
        rating_weight = torch.stack(
            [o[regime[:, None], ratings] for o in self.rating_weight]
        )
        return lag * rating_weight * (ratings > 0)

    def forward(
        self, items: Tensor, ratings: Tensor, profile: Tensor, regime: Tensor
    ) -> Tensor:
        """(m, lags) codes and ratings newest first, (m, profile fields), (m,) -> (m, dim) user vectors."""
        rows = self.history_rows()
        weights = self.weights(ratings, regime)
        sums = [
            nn.functional.embedding_bag(
                items, field, mode="sum", per_sample_weights=weight
            )
            for field, weight in zip(rows, self.dropout(weights), strict=True)
        ]
        first: Tensor = self.regime(regime)
        for table, column in zip(self._profile, profile.T, strict=True):
            first = first + table(column)
        sums[0] = first + sums[0]
        user = torch.stack(sums).sum(dim=0)
        if self.recipe.hidden:
            user = user + self.down(nn.functional.silu(self.up(torch.cat(sums, dim=1))))
        return user

    def channel(self, name: str, trained: NDArray[np.bool_]) -> channels.HistorySum:
        """Export the trained tower as tables that give the same user vectors with numpy. ``trained``: (items + 1,)."""
        with torch.no_grad():
            rating_weight = self.rating_weight.numpy().copy()
            rating_weight[:, :, 0] = 0
            hidden: tuple[Float32, ...] = ()
            if self.recipe.hidden:
                up = self.up.weight.numpy().T.reshape(
                    self.recipe.fields, self.recipe.dim, self.recipe.hidden
                )
                hidden = (
                    up.copy(),
                    self.up.bias.numpy().copy(),
                    self.down.weight.numpy().T.copy(),
                )
            return channels.HistorySum(
                name=name,
                rows=self.history_rows().numpy(),
                lag=self.lag.numpy().copy(),
                rating_weight=rating_weight,
                base=self.regime.weight.numpy().copy(),
                profile=tuple(table.weight.numpy().copy() for table in self._profile),
                items=self.item_vectors().numpy(),
                bias=self.bias.numpy().copy(),
                trained=trained,
                hidden=hidden,
            )


# --- Fit


def fit(
    recipe: TowerRecipe, past: Sequences, inputs: Inputs, data: DataRecipe
) -> kinds.Fitted:
    """Fit the channel."""
    tower, losses = train_tower(recipe, past, inputs, data.history)
    return kinds.Fitted(tower.channel(recipe.name, past.rated()), curves(losses))


def train_tower(
    recipe: TowerRecipe, past: Sequences, inputs: Inputs, history: int
) -> tuple[Tower, list[float]]:
    """Train a tower, which reads the newest ``history`` events, on ``past``. Returns it and each epoch's loss.

    Raises StepError when there is no request point, as no user has two events.
    """
    torch.set_num_threads(THREADS)
    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng(recipe.seed)
    clicks = np.bincount(past.items[past.liked], minlength=past.n_items + 1).astype(
        np.float32
    )  # (items + 1,)

    # The network, started from what follows what; its loss over all items, or over a sample of many.
    model = Tower(recipe, inputs, history, clicks)
    if recipe.start == "followers":
        factors = ease.transition_factors(
            past.followers(recipe.horizon), recipe.dim, recipe.seed
        )
        model.start_from(*(START_SCALE * each for each in factors))
    catalogues = plugins.find(plugins.ENGINES).get("catalogues")
    is_sampled = catalogues is not None and past.n_items > recipe.sampled_beyond
    kind = catalogues.load().SampledSoftmax if catalogues and is_sampled else Softmax
    loss_of: Softmax = kind(model, torch.from_numpy(inputs.profiles), clicks)
    free = [model.lag, model.rating_weight, model.bias]  # must not shrink towards 0
    decayed = [
        parameter
        for parameter in model.parameters()
        if all(parameter is not each for each in free)
    ]
    groups: list[dict[str, Any]] = [
        {"params": decayed},
        {"params": free, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(
        groups, lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
    )
    points = request_points(past, recipe.stride, np.random.default_rng(recipe.seed))
    batches = -(-len(points) // recipe.batch_size)
    if not batches:
        raise steps.StepError(
            "no user has rated two items before the held-out ones: there is nothing to train the tower on."
        )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
        optimizer, recipe.epochs * batches
    )

    def examples(epoch: int) -> tuple[int, Callable[[Ints, np.random.Generator], Any]]:
        """Request points drawn for this epoch."""
        points = request_points(past, recipe.stride, rng)
        batch_of = loss_of.batches(epoch)
        return len(points), lambda index, _: batch_of(past, points.take(index), history)

    run = Run(
        "tower",
        recipe,
        model,
        loss_of,
        optimizer,
        schedule,
        rng,
        batches,
        by_target=True,
    )
    losses = train(run, examples)
    return model.eval(), losses


class Batch(NamedTuple):
    """m requests."""

    users: Tensor  # (m,)
    items: Tensor  # (m, lags)
    ratings: Tensor  # (m, lags)
    regime: Tensor  # (m,)
    left_out: (
        Pairs  # (row, item) of what the softmax leaves out: what the user has seen
    )
    targets: Pairs  # (row, item) of what was liked next
    weights: Tensor  # (m,) of each target of a request

    @property
    def weight(self) -> float:
        """Sum of the targets' weights."""
        return float(self.weights[self.targets[0]].sum())


def batch_of(data: Sequences, points: Points, lags: int, recipe: TowerRecipe) -> Batch:
    """Requests as the tower reads them, and what was liked next."""
    items, ratings, _, regime = histories(data, points, lags)
    after, liked = next_events(data, points, recipe.horizon)
    seen_rows, seen = seen_before(data, points)
    weights = target_weights(data.lengths[points.users], liked.sum(axis=1), recipe)
    return Batch(
        users=torch.from_numpy(points.users),
        items=torch.from_numpy(items),
        ratings=torch.from_numpy(ratings),
        regime=torch.from_numpy(regime),
        left_out=(torch.from_numpy(seen_rows), torch.from_numpy(seen)),
        targets=(
            torch.from_numpy(np.nonzero(liked)[0]),
            torch.from_numpy(after[liked]),
        ),
        weights=torch.from_numpy(weights),
    )


def target_weights(events: Ints, targets: Ints, recipe: TowerRecipe) -> Float32:
    """(m,) numbers of events of the requests' users, (m,) of the requests' targets -> (m,) weight of a target."""
    of_user = events**-recipe.user_balance
    return (of_user * np.maximum(targets, 1) ** -recipe.request_balance).astype(
        np.float32
    )


class Softmax(nn.Module):
    """Weighted cross-entropy of a batch, summed over the targets: softmax over all items that a user has not seen."""

    people: Tensor

    def __init__(self, model: Tower, people: Tensor, clicks: Float32) -> None:
        """``people``: (users, fields) codes; ``clicks``: (items + 1,), which a loss over samples draws them by."""
        super().__init__()
        self.model = model
        self.register_buffer("people", people, persistent=False)

    def batches(self, epoch: int) -> Callable[[Sequences, Points, int], Any]:
        """What makes this epoch's batches: of events, request points, and the length of a history."""
        return partial(batch_of, recipe=self.model.recipe)

    def forward(self, batch: Any) -> Tensor:
        """``batch``: as `batches` makes it."""
        users, items, ratings, regime, left_out, targets, weights = batch
        vectors = self.model(items, ratings, self.people[users], regime)  # (m, dim)
        return next_item_loss(
            vectors,
            self.model.item_vectors(),
            self.model.bias,
            left_out,
            targets,
            weights,
        )


# The loss is in closed form: the logits, one array that is worked on in place, become the gradient.


def next_item_loss(
    users: Tensor,
    items: Tensor,
    bias: Tensor,
    seen: Pairs,
    targets: Pairs,
    weights: Tensor,
) -> Tensor:
    """Weighted cross-entropy of the targets, summed: (m, d) users, (n, d) items and their (n,) biases -> ().

    Args:
        seen: (row, item) of what is left out of the denominators; item 0, padding, is always left out.
        targets: (row, item) of what was liked next; a row may have several, or none.
        weights: (m,) of each target of a row.
    """
    loss: Tensor = _NextItemLoss.apply(users, items, bias, *seen, *targets, weights)
    return loss


class _NextItemLoss(torch.autograd.Function):
    """sum over rows r of weight_r * (count_r * logsumexp(logits_r) - its targets' logits); count_r: of its targets."""

    @staticmethod
    def forward(
        ctx: Any,
        users: Tensor,
        items: Tensor,
        bias: Tensor,
        seen_rows: Tensor,
        seen_items: Tensor,
        target_rows: Tensor,
        target_items: Tensor,
        weights: Tensor,
    ) -> Tensor:
        logits = torch.addmm(bias, users, items.T).float()  # (m, n)
        flat, width = logits.view(-1), logits.shape[1]
        flat[seen_rows * width + seen_items] = EXCLUDED
        logits[:, 0] = EXCLUDED
        at = target_rows * width + target_items
        of_target = weights[target_rows]
        chosen = (
            of_target * flat[at]
        ).sum()  # not `of_target @ flat[at]`: in bfloat16 under autocast
        counts = torch.bincount(target_rows, minlength=len(users)) * weights
        top = logits.amax(dim=1)
        total = logits.sub_(top[:, None]).exp_().sum(dim=1)
        loss = (counts * (top + total.log())).sum() - chosen
        gradient = logits.mul_(
            (counts / total)[:, None]
        )  # of the loss by the logits, but for the targets' own part
        gradient.view(-1).index_add_(0, at, -of_target)
        ctx.save_for_backward(users, items, gradient)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor | None, ...]:
        users, items, gradient = ctx.saved_tensors
        by_users, by_items, by_bias = (
            gradient @ items,
            gradient.T @ users,
            gradient.sum(dim=0),
        )
        return (
            outer * by_users,
            outer * by_items,
            outer * by_bias,
            None,
            None,
            None,
            None,
            None,
        )
