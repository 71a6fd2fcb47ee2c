"""Recall channel `tower`: a two-tower factorization machine over history and profile.

The sum of a user's field vectors times the sum of an item's: Rendle (2010), "Factorization Machines", without the pairs
inside one side, which cannot reorder items; trained as Covington et al. (2016) train candidate generation: softmax over
the items, on what the user liked next. Item popularity is one more dimension.

Recipe: `TowerRecipe`. Reads a user's newest events, (m, lags) item codes and ratings, newest first, the profile, (m,
fields) codes, and whether the session goes on, (m,). Gives (m, dim) user vectors; a user is profile + weighted sums of
item rows over the history, and a layer of hidden units that reads these. There is no user id.

Served: `HistorySum`, by which a user's vector is updated, or made for a new user, with numpy alone.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import embedding_bag, silu

from data_exchange_center import plugins, steps
from data_exchange_center.channels import BREAK_S, Float32, HistorySum
from data_exchange_center.recipes import DataRecipe, TowerRecipe
from offline.data import sequences
from offline.data.sequences import Bools, Inputs, Ints, Points, Sequences
from offline.models import training
from offline.models.ease import transition_factors
from offline.models.kinds import Fitted

Pairs = tuple[Tensor, Tensor]  # (n,) rows; (n,) an item in each

INITIAL_STD = 0.05
REGIMES = 2  # 0: the session goes on; 1: the user comes back after a break
START_SCALE = np.float32(0.3)  # of the factors that a tower begins with
EXCLUDED = -1e4  # logit of an item that is left out of the softmax


# --- Network


class Tower(nn.Module):
    """(history, profile) -> user vectors; item vectors, and their popularity."""

    read: Tensor  # (codes,) whether events of that code are read
    genres: Tensor  # (items + 1, genres) each item's genres, summing to 1

    def __init__(
        self, recipe: TowerRecipe, inputs: Inputs, history: int, popularity: Float32
    ) -> None:
        """``history``: events looked back at; ``popularity``: (items + 1,) clicks, row 0 padding."""
        super().__init__()
        self.recipe = recipe
        fields, dim = recipe.fields, recipe.dim
        rows, n_genres = inputs.genres.shape
        share = inputs.genres / np.maximum(inputs.genres.sum(axis=1, keepdims=True), 1)
        self.register_buffer("genres", torch.from_numpy(share.astype(np.float32)))

        # items, whose genres have vectors of their own
        self.item = nn.Embedding(rows, dim, padding_idx=0)
        self.item_genre = nn.Parameter(torch.randn(n_genres, dim) * INITIAL_STD)
        bias = np.log1p(popularity).astype(np.float32)
        self.bias = nn.Parameter(torch.from_numpy(bias))

        # users: each history field has item rows of its own; then the profile, and whether the session goes on
        self._history = [nn.Embedding(rows, dim, padding_idx=0) for _ in range(fields)]
        self.history = nn.ModuleList(self._history)
        genre_rows = torch.randn(fields, n_genres, dim) * INITIAL_STD
        self.history_genre = nn.Parameter(genre_rows)
        self._profile = [
            nn.Embedding(feature.cardinality, dim, padding_idx=0)
            for feature in inputs.profile
        ]
        self.profile = nn.ModuleList(self._profile)
        self.regime = nn.Embedding(REGIMES, dim)
        for table in (self.item, *self._history, *self._profile, self.regime):
            nn.init.normal_(table.weight, std=INITIAL_STD)
            if table.padding_idx is not None:
                nn.init.zeros_(table.weight[0])

        # an event's weight by its place and its rating; initially the first field decays fast, the last slowly
        lag = torch.arange(1, history + 1).float()
        powers = torch.linspace(-0.8, -0.2, fields)
        by_field = lag[None, :] ** powers[:, None]  # (fields, lags)
        self.lag = nn.Parameter(by_field[:, None].repeat(1, REGIMES, 1))
        first = training.first_weights(inputs.dataset, (0.4, 0.5, 0.7), (1.0, 1.1))
        self.register_buffer("read", first != 0)  # codes; padding is not
        self.rating_weight = nn.Parameter(first.repeat(fields, REGIMES, 1))
        self.dropout = nn.Dropout(recipe.dropout)

        if recipe.hidden:  # units of a layer that is added to the sums
            self.up = nn.Linear(fields * dim, recipe.hidden)
            self.down = nn.Linear(recipe.hidden, dim, bias=False)
            nn.init.zeros_(self.down.weight)  # it begins as the sum

    def start_from(self, events: Float32, candidates: Float32) -> None:
        """Initialise the rows of the first history field and of the items, (items + 1, <= dim) each.

        Zero rows, and columns that are not given, keep their random values.
        """
        for table, rows in ((self._history[0], events), (self.item, candidates)):
            there = torch.from_numpy(rows.any(axis=1))
            table.weight.data[there, : rows.shape[1]] = torch.from_numpy(rows)[there]

    def item_vectors(self, items: Tensor | slice = slice(None)) -> Tensor:
        """(items + 1, dim) without the popularity dimension; of (k,) ``items`` alone, (k, dim)."""
        return self.item.weight[items] + self.genres[items] @ self.item_genre

    def history_rows(self) -> Tensor:
        """(fields, items + 1, dim)."""
        rows = torch.stack([table.weight for table in self._history])
        return rows + self.genres @ self.history_genre

    def forward(
        self, items: Tensor, ratings: Tensor, profile: Tensor, regime: Tensor
    ) -> Tensor:
        """(m, lags) codes and ratings newest first, (m, profile fields), (m,) -> (m, dim) user vectors."""
        by_lag = self.lag[:, regime, : ratings.shape[1]]  # (fields, m, lags)
        by_rating = [weight[regime[:, None], ratings] for weight in self.rating_weight]
        weights = self.dropout(by_lag * torch.stack(by_rating) * self.read[ratings])
        sums = [  # (m, dim) of each history field
            embedding_bag(items, rows, mode="sum", per_sample_weights=weight)
            for rows, weight in zip(self.history_rows(), weights, strict=True)
        ]
        first: Tensor = self.regime(regime)
        for table, column in zip(self._profile, profile.T, strict=True):
            first = first + table(column)
        sums[0] = first + sums[0]
        user = torch.stack(sums).sum(dim=0)
        if self.recipe.hidden:
            user = user + self.down(silu(self.up(torch.cat(sums, dim=1))))
        return user

    @torch.no_grad()
    def channel(self, name: str, trained: Bools) -> HistorySum:
        """Export the trained tower as tables that give the same user vectors with numpy. ``trained``: (items + 1,)."""

        def table(weight: Tensor) -> Float32:
            copy: Float32 = weight.numpy().copy()
            return copy

        rating_weight = table(self.rating_weight)
        rating_weight[:, :, ~self.read.numpy()] = 0
        hidden: tuple[Float32, ...] = ()
        if self.recipe.hidden:
            up = self.up.weight.T.reshape(self.recipe.fields, self.recipe.dim, -1)
            down = self.down.weight.T
            hidden = table(up), table(self.up.bias), table(down)
        return HistorySum(
            name=name,
            rows=table(self.history_rows()),
            lag=table(self.lag),
            rating_weight=rating_weight,
            base=table(self.regime.weight),
            profile=tuple(table(each.weight) for each in self._profile),
            items=table(self.item_vectors()),
            bias=table(self.bias),
            trained=trained,
            hidden=hidden,
        )


# --- Fit


def fit(
    recipe: TowerRecipe, past: Sequences, inputs: Inputs, data: DataRecipe
) -> Fitted:
    """Fit the channel."""
    tower, losses = train_tower(recipe, past, inputs, data.history)
    channel = tower.channel(recipe.name, past.rated())
    return Fitted(channel, training.curves(losses))


def train_tower(
    recipe: TowerRecipe, past: Sequences, inputs: Inputs, history: int
) -> tuple[Tower, list[float]]:
    """Train a tower, which reads the newest ``history`` events, on ``past``. Returns it and each epoch's loss.

    Raises StepError when there is no request point, as no user has two events.
    """
    rng = training.seeded(recipe.seed)
    points = sequences.request_points(past, recipe.stride, rng)
    batches = -(-len(points) // recipe.batch_size)
    if not batches:
        raise steps.StepError(
            "no user has rated two items before the held-out ones: there is nothing to train the tower on."
        )

    # The network, started from what follows what; its loss over all items, or over a sample of many.
    times = past.target_weights[past.liked] if past.types else None
    likes = np.bincount(past.items[past.liked], times, past.n_items + 1)
    clicks = likes.astype(np.float32)  # (items + 1,)
    model = Tower(recipe, inputs, history, clicks)
    if recipe.start == "followers":
        followers = past.followers(recipe.horizon)
        factors = transition_factors(followers, recipe.dim, recipe.seed)
        model.start_from(*(START_SCALE * rows for rows in factors))
    kind = Softmax
    catalogues = plugins.find(plugins.ENGINES).get("catalogues")
    if catalogues and past.n_items > recipe.sampled_beyond:
        kind = catalogues.load().SampledSoftmax
    softmax = kind(model, torch.from_numpy(inputs.profiles), clicks)

    # AdamW, whose weight decay leaves out what must not shrink towards 0
    kept = {id(model.lag), id(model.rating_weight), id(model.bias)}
    groups: list[dict[str, Any]] = [
        {"params": [each for each in model.parameters() if id(each) not in kept]},
        {"params": [model.lag, model.rating_weight, model.bias], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(
        groups, lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
        optimizer, recipe.epochs * batches
    )
    rng = np.random.default_rng(recipe.seed)  # the first epoch's points are those

    def batches_of(epoch: int) -> Iterator[Any]:
        """Request points drawn for this epoch, in random order."""
        points = sequences.request_points(past, recipe.stride, rng)
        batch_of = softmax.batches(epoch)
        for index in np.array_split(rng.permutation(len(points)), batches):
            yield batch_of(past, points.take(index), history)

    def loss_of(batch: Any) -> tuple[Tensor, float]:
        return softmax(batch), batch.weight

    losses = training.train(
        "tower",
        model,
        loss_of,
        batches_of,
        optimizer,
        schedule,
        recipe.epochs,
        batches,
    )
    trained = list(losses)
    return model.eval(), trained


class Batch(NamedTuple):
    """m requests."""

    users: Tensor  # (m,)
    items: Tensor  # (m, lags)
    ratings: Tensor  # (m, lags)
    regime: Tensor  # (m,)
    # (row, item) of what the softmax leaves out: what the user has seen
    left_out: Pairs
    targets: Pairs  # (row, item) of what was liked next
    weights: Tensor  # (targets,)
    totals: Tensor  # (m,) sum of the weights of each request's targets

    @property
    def weight(self) -> float:
        """Sum of the targets' weights."""
        return float(self.weights.sum())


def batch_of(data: Sequences, points: Points, lags: int, recipe: TowerRecipe) -> Batch:
    """Requests as the tower reads them, and what was liked next."""
    items, ratings, ages = sequences.histories(data, points, lags)
    regime = (ages[:, 0] >= BREAK_S).astype(np.int64)  # ages are 0 without a history
    after, liked, codes = sequences.next_events(data, points, recipe.horizon)
    target_rows, _ = np.nonzero(liked)
    seen_rows, seen = sequences.seen_before(data, points)
    counts = liked.sum(axis=1)
    of_request = target_weights(data.lengths[points.users], counts, recipe)  # (m,)
    weights = of_request[target_rows]
    if data.types:
        by_code = np.array([0, *(each.weight for each in data.types)], np.float32)
        of_types = by_code[codes[liked]]
        weights = weights * of_types
        counts = np.bincount(target_rows, of_types, len(points))
    totals = counts.astype(np.float32) * of_request
    tensor = torch.from_numpy
    return Batch(
        users=tensor(points.users),
        items=tensor(items),
        ratings=tensor(ratings),
        regime=tensor(regime),
        left_out=(tensor(seen_rows), tensor(seen)),
        targets=(tensor(target_rows), tensor(after[liked])),
        weights=tensor(weights),
        totals=tensor(totals),
    )


def target_weights(events: Ints, targets: Ints, recipe: TowerRecipe) -> Float32:
    """(m,) numbers of events of the requests' users, (m,) of the requests' targets -> (m,) weight of a target."""
    of_user = events**-recipe.user_balance
    of_request = np.maximum(targets, 1) ** -recipe.request_balance
    weights: Float32 = (of_user * of_request).astype(np.float32)
    return weights


# --- Loss


class Softmax:
    """Weighted cross-entropy of a batch, summed over the targets: softmax over all items that a user has not seen."""

    def __init__(self, model: Tower, people: Tensor, clicks: Float32) -> None:
        """``people``: (users, fields) codes; ``clicks``: (items + 1,), which a loss over samples draws them by."""
        self.model = model
        self.people = people

    def batches(self, epoch: int) -> Callable[[Sequences, Points, int], Any]:
        """What makes this epoch's batches: of events, request points, and the length of a history."""
        return partial(batch_of, recipe=self.model.recipe)

    def __call__(self, batch: Any) -> Tensor:
        """``batch``: as `batches` makes it."""
        users, items, ratings, regime, left_out, targets, weights, totals = batch
        model = self.model
        vectors = model(items, ratings, self.people[users], regime)  # (m, dim)
        return next_item_loss(
            vectors,
            model.item_vectors(),
            model.bias,
            left_out,
            targets,
            weights,
            totals,
        )


def next_item_loss(
    users: Tensor,
    items: Tensor,
    bias: Tensor,
    seen: Pairs,
    targets: Pairs,
    weights: Tensor,
    totals: Tensor,
) -> Tensor:
    """Weighted cross-entropy of the targets, summed: (m, d) users, (n, d) items and their (n,) biases -> ().

    Args:
        seen: (row, item) of what is left out of the denominators; item 0, padding, is always left out.
        targets: (row, item) of what was liked next; a row may have several, or none.
        weights: (targets,).
        totals: (m,) sum of the weights of each row's targets.
    """
    loss: Tensor = _NextItemLoss.apply(
        users, items, bias, seen, targets, weights, totals
    )
    return loss


class _NextItemLoss(torch.autograd.Function):
    """sum over rows r of total_r * logsumexp(logits_r), less the weighted sum of the targets' logits.

    The gradient is in closed form: the logits, one array that is worked on in place, become it. Autograd takes over
    one and a half times as long.
    """

    @staticmethod
    def forward(
        ctx: Any,
        users: Tensor,
        items: Tensor,
        bias: Tensor,
        seen: Pairs,
        targets: Pairs,
        weights: Tensor,
        totals: Tensor,
    ) -> Tensor:
        logits = torch.addmm(bias, users, items.T).float()  # (m, n)
        logits[seen] = EXCLUDED
        logits[:, 0] = EXCLUDED
        chosen = (weights * logits[targets]).sum()
        top = logits.amax(dim=1)
        total = logits.sub_(top[:, None]).exp_().sum(dim=1)
        loss = (totals * (top + total.log())).sum() - chosen
        # of the loss by the logits, at first without the targets' own part
        gradient = logits.mul_((totals / total)[:, None])
        gradient.index_put_(targets, -weights, accumulate=True)
        ctx.save_for_backward(users, items, gradient)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor | None, ...]:
        users, items, gradient = ctx.saved_tensors
        by_users = outer * (gradient @ items)
        by_items = outer * (gradient.T @ users)
        by_bias = outer * gradient.sum(dim=0)
        return by_users, by_items, by_bias, None, None, None, None
