"""Ranker `list`: rerank recall's list by each candidate's affinities to the last events, through a small MLP.

An affinity is a sum over the history of (weight of the event) x (item-item similarity of event and candidate). The
similarities are inner products of fixed item factors; the weights (by lag, rating and age) are learned: target
attention (Zhou et al. 2018, DIN) in closed form. Trained on the softmax over a list (Cao et al. 2007, ListNet).

Recipe: `ListRankerRecipe`. Reads the rows of m lists' candidates, (m, c, columns) float32: item code, profile codes,
statistics, recall's scores; and the histories of the lists' users, (m, events, 3): item codes, ratings, ages. Gives
(m, c, 1) scores. In training its tables of items are fitted on the same part of the past as the training channels;
afterwards they are replaced by tables fitted on all of it, and `returning` adds its columns to the scores of users who
come back. The weights are exported as they were trained.
"""

import itertools
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from data_exchange_center import columns, steps
from data_exchange_center.channels import (
    BREAK_S,
    LONG_AGO_S,
    Channel,
    Float32,
    HistorySum,
    unit_vectors,
)
from data_exchange_center.dataset import Dataset, ItemNumber
from data_exchange_center.event_types import targets
from data_exchange_center.features import FeatureSpec
from data_exchange_center.recipes import Frozen, ListRankerRecipe
from offline.data.lists import StoredFeatures, by_objective
from offline.data.sequences import Inputs, Ints, Sequences
from offline.models.ease import transition_factors
from offline.models.kinds import Config, FittedRanker, ListExamples, Ranker
from offline.models.training import curves, first_rating_weights, train_on_lists

Factors = tuple[Float32, Float32]
Tables = Mapping[str, Float32]

AGE_EDGES_S = (60.0, 600.0, 3600.0, 86400.0, 30 * 86400.0, float(LONG_AGO_S))
AGES = len(AGE_EDGES_S) + 1  # buckets
SUMMARIES = 5  # of a history: length, share liked, mean rating, age of the newest event, or that it is long ago


# --- Network


class ListRankerConfig(Frozen):
    """The sizes of a `ListRanker`, and the positions of the columns that it reads of a row."""

    kind: Literal["list"] = "list"
    items: int  # codes 1..items
    factors: tuple[int, ...]  # dimensions of each similarity
    crosses: tuple[int, ...]  # cardinality of each crossed user field
    history: int  # events looked at
    kernels: int
    hidden: tuple[int, ...]
    dropout: float
    levels: int  # of ratings: their codes are 1..levels
    positive_level: int  # codes above this are likes
    item_column: int
    crossed_columns: tuple[int, ...]
    # included, excluded: columns that are used unchanged
    feature_columns: tuple[int, int]
    # (column, weight) added in inference for users who return
    returning: tuple[tuple[int, float], ...] = ()
    # (type, weight in the score) of each output, of a data set with types; else there is one
    objectives: tuple[tuple[str, float], ...] = Field(
        default=(), exclude_if=lambda objectives: not objectives
    )
    # codes of types that are not read
    unread: tuple[int, ...] = Field(default=(), exclude_if=lambda codes: not codes)


class ListRanker(Ranker):
    """History, candidates and their features -> one score a candidate."""

    edges: Tensor

    def __init__(self, config: ListRankerConfig) -> None:
        """Initialise; the frozen tables are random until weights are loaded or `set_tables` is called."""
        super().__init__()
        self.config = config
        n, k = len(config.factors), config.kernels
        rows = config.items + 1  # row 0 is padding
        for number, dim in enumerate(config.factors):
            for side in ("events", "candidates"):
                table = torch.randn(rows, dim) * 0.1
                table[0] = 0
                self.register_buffer(f"{side}{number}", table)
        for number, codes in enumerate(config.crosses):
            self.register_buffer(f"cross{number}", torch.randn(codes, rows) * 0.1)
        self.register_buffer("edges", torch.tensor(AGE_EDGES_S), persistent=False)
        # an event's weight by its lag, its rating and its age; initially kernels differ by how fast they decay
        lag = torch.arange(1, config.history + 1).float()
        decays = torch.linspace(-2.0, 0.0, k)[:, None]
        self.lag = nn.Parameter((lag**decays).repeat(n, 1, 1))  # (n, kernels, lags)
        weights = first_rating_weights(
            config.levels, config.positive_level, (0.5, 0.5, 0.7), (1.0, 1.0)
        )
        self.rating_weight = nn.Parameter(weights.repeat(n, k, 1))
        self.age = nn.Parameter(torch.ones(n, k, AGES))
        # the network over affinities, summaries, columns of the row and crosses
        first, after = config.feature_columns
        width = n * k + SUMMARIES + after - first + len(config.crosses)
        self.norm = nn.BatchNorm1d(width, momentum=0.02)
        layers: list[nn.Module] = []
        for inputs, outputs in itertools.pairwise((width, *config.hidden)):
            layers += [
                nn.Linear(inputs, outputs),
                nn.SiLU(),
                nn.Dropout(config.dropout),
            ]
        outputs = len(config.objectives) or 1
        self.mlp = nn.Sequential(*layers, nn.Linear(config.hidden[-1], outputs))
        self.skip = nn.Linear(width, outputs, bias=False)
        nn.init.zeros_(self.skip.weight)

    def set_tables(self, tables: Tables) -> None:
        """Copy fitted tables in. Raises RuntimeError when their shapes are not the configuration's."""
        state = self.state_dict()
        for name, table in tables.items():
            state[name] = torch.from_numpy(np.array(table))
        self.load_state_dict(state)

    def forward(self, rows: Tensor, history: Tensor) -> Tensor:
        """(m, c, columns) rows and (m, lags, `HISTORY`) events, newest first -> (m, c, outputs)."""
        events, ratings, ages = history.unbind(dim=2)  # (m, lags) each
        events, ratings = events.long(), ratings.long()
        for code in self.config.unread:
            events = events * (ratings != code)
        candidates = rows[:, :, self.config.item_column].long()  # (m, c)

        # (m, c, similarities * kernels)
        affinities = self.affinities(events, ratings, ages, candidates)
        summary = self.summary(events, ratings, ages)[:, None]  # (m, 1, SUMMARIES)
        summaries = summary.expand(-1, candidates.shape[1], -1)  # (m, c, SUMMARIES)
        first, after = self.config.feature_columns
        features = rows[:, :, first:after]  # (m, c, features)
        crosses = self.crosses(rows, candidates)  # (m, c, 1) each

        hidden = torch.cat([affinities, summaries, features, *crosses], dim=2)
        hidden = self.norm(hidden.flatten(0, 1))  # (m * c, width)
        scores: Tensor = (self.mlp(hidden) + self.skip(hidden)).view(
            *candidates.shape, -1
        )
        if (
            self.config.returning and not self.training
        ):  # few examples are of those who come back
            scores = scores + self.added_for_returning(rows, ages)
        return scores

    def affinities(
        self, events: Tensor, ratings: Tensor, ages: Tensor, candidates: Tensor
    ) -> Tensor:
        """(m, lags) events, ratings, ages; (m, c) candidates -> (m, c, similarities * kernels)."""
        by_lag = self.lag.flatten(0, 1).T  # (lags, similarities * kernels)
        by_rating = nn.functional.embedding(ratings, self.rating_weight.flatten(0, 1).T)
        by_age = nn.functional.embedding(self.buckets(ages), self.age.flatten(0, 1).T)
        # (m, similarities * kernels, lags)
        weights = (by_lag * by_rating * by_age).transpose(1, 2)
        out = []
        for number, of_events in enumerate(
            torch.split(weights, self.config.kernels, dim=1)
        ):
            # (m, lags, d); padding is 0
            rows = nn.functional.embedding(events, self.get_buffer(f"events{number}"))
            user = torch.matmul(of_events, rows)  # (m, kernels, d)
            items = nn.functional.embedding(
                candidates, self.get_buffer(f"candidates{number}")
            )  # (m, c, d)
            out.append(torch.matmul(user, items.transpose(1, 2)))  # (m, kernels, c)
        return torch.cat(out, dim=1).transpose(1, 2)

    def buckets(self, ages: Tensor) -> Tensor:
        """Seconds, any shape -> number of `AGE_EDGES_S` below them."""
        return (ages.unsqueeze(-1) > self.edges).sum(dim=-1)

    def summary(self, events: Tensor, ratings: Tensor, ages: Tensor) -> Tensor:
        """(m, lags) x 3 -> (m, SUMMARIES)."""
        count = (events > 0).float().sum(dim=1)
        some = count.clamp(min=1)
        liked = (ratings > self.config.positive_level).float().sum(dim=1) / some
        mean = ratings.float().sum(dim=1) / some
        newest = ages[:, 0]
        long_ago = (self.buckets(newest) == AGES - 1).float()
        age = torch.log1p(newest.clamp(min=0)) / 10 * (1 - long_ago)
        return torch.stack([torch.log1p(count), liked, mean, age, long_ago], dim=1)

    def crosses(self, rows: Tensor, candidates: Tensor) -> list[Tensor]:
        """(m, c, 1) how much more often a candidate is liked by users with the row's value, for each crossed field."""
        found = []
        for number, column in enumerate(self.config.crossed_columns):
            codes = rows[:, :, column].long()  # (m, c)
            table = self.get_buffer(f"cross{number}")  # (codes, items + 1)
            found.append(table[codes, candidates].unsqueeze(-1))
        return found

    def added_for_returning(self, rows: Tensor, ages: Tensor) -> Tensor:
        """(m, c, 1) weighted columns of the rows where the user comes back after a break; else 0."""
        weighted = [
            weight * rows[:, :, column] for column, weight in self.config.returning
        ]
        added = torch.stack(weighted).sum(dim=0)  # (m, c)
        comes_back = ages[:, :1] >= BREAK_S  # (m, 1); ages are 0 without a history
        return (added * comes_back).unsqueeze(-1)

    # --- Fit and rebuild

    @classmethod
    def configure(
        cls,
        recipe: ListRankerRecipe,
        spec: FeatureSpec,
        dataset: Dataset,
        trained: Config,
    ) -> Config:
        """See `Ranker.configure`; of ``trained`` only "factors" is read. Raises ValueError without a history."""
        if spec.history is None:
            raise ValueError("a list ranker needs a FeatureSpec with a history")
        crossed = tuple(
            n for n, feature in enumerate(spec.one_hot) if feature.entity == "user"
        )
        item = spec.columns.index(columns.Columns.ITEM)
        returning = [
            (spec.columns.index(name), weight)
            for name, weight in recipe.returning
            if name in spec.columns
        ]
        return ListRankerConfig(
            items=spec.one_hot[item].cardinality - 1,
            factors=tuple(trained["factors"]),
            crosses=tuple(spec.one_hot[n].cardinality for n in crossed),
            history=spec.history.length,
            kernels=recipe.kernels,
            hidden=recipe.hidden,
            dropout=recipe.dropout,
            levels=len(dataset.levels),
            positive_level=dataset.positive_level,
            item_column=item,
            crossed_columns=crossed,
            feature_columns=(len(spec.one_hot), spec.width),
            returning=tuple(returning),
            objectives=objectives(recipe, dataset),
            unread=tuple(
                code for code, each in enumerate(dataset.types, 1) if not each.history
            ),
        ).model_dump(mode="json")

    @classmethod
    def build(cls, config: Config) -> Self:
        return cls(ListRankerConfig.model_validate(config))

    @classmethod
    def fit(cls, recipe: ListRankerRecipe, examples: ListExamples) -> FittedRanker:
        """Train with tables fitted on the first `past` share of events; then replace them by those of all events."""
        past, inputs, spec = examples.past, examples.inputs, examples.spec
        unknown = [name for name, _ in recipe.returning if name not in spec.columns]
        if (
            unknown and "returning" in recipe.model_fields_set
        ):  # those of the default depend on the recipe's channels
            raise steps.StepError(
                f"`returning` in the ranker's recipe names unknown columns: {', '.join(unknown)}. There are: "
                f"{', '.join(spec.columns)}."
            )
        known = past.earlier(recipe.past)
        tables = fitted_tables(known, examples.training_channels, inputs, spec, recipe)
        factors = [
            table.shape[1]
            for name, table in tables.items()
            if name.startswith("candidates")
        ]
        config = cls.configure(recipe, spec, inputs.dataset, {"factors": factors})

        def build() -> ListRanker:
            network = cls.build(config)
            network.set_tables(tables)
            return network

        stored = StoredFeatures.of(known, inputs, spec, recipe)
        lists, weights = examples.lists, [1.0]
        if inputs.dataset.types:
            lists = by_objective(lists, past, recipe.horizon)
            weights = [each.weight for each in targets(inputs.dataset.types)]
        with ThreadPoolExecutor(
            1
        ) as pool:  # another thread makes the newer tables meanwhile
            newer = pool.submit(
                fitted_tables, past, examples.channels, inputs, spec, recipe
            )
            network, losses = train_on_lists(build, lists, stored, recipe, weights)
            network.set_tables(newer.result())
        return FittedRanker(network, config, curves(losses, lists=len(examples.lists)))


def objectives(
    recipe: ListRankerRecipe, dataset: Dataset
) -> tuple[tuple[str, float], ...]:
    """(type, weight in the score) of each target type: the recipe's, else the data set's. Raises StepError."""
    names = [each.name for each in targets(dataset.types)]
    unknown = sorted(recipe.objectives.keys() - set(names))
    if unknown:
        raise steps.StepError(
            f"`objectives` in the ranker's recipe names {', '.join(unknown)}. Types with target = true in [types] of "
            f"dataset.toml: {', '.join(names) or 'none'}."
        )
    given = recipe.objectives or {
        each.name: each.weight for each in targets(dataset.types)
    }
    return tuple((name, given.get(name, 0.0)) for name in names)


# --- Tables that are not trained: fitted on a past, and replaced by those of a newer past without training again


def fitted_tables(
    past: Sequences,
    channels: Sequence[Channel],
    inputs: Inputs,
    spec: FeatureSpec,
    recipe: ListRankerRecipe,
) -> Tables:
    """Buffers of a `ListRanker` by name: ``events{n}`` and ``candidates{n}``, (items + 1, d) whose row 0 is zero, of
    each similarity (channels, genres and numbers, transitions), and `crossed_log_odds` of each user field."""
    tables: dict[str, Float32] = {}
    codes = {
        feature.name: column
        for feature, column in zip(inputs.profile, inputs.profiles.T, strict=True)
    }
    crossed = [
        feature for feature in spec.one_hot if feature.name != columns.Columns.ITEM
    ]
    for n, feature in enumerate(crossed):
        tables[f"cross{n}"] = crossed_log_odds(
            past, codes[feature.name], feature.cardinality
        )
    followed = transition_factors(
        past.followers(recipe.horizon), recipe.transitions_dim, recipe.seed
    )
    for n, (events, candidates) in enumerate(
        (*similarities(channels, inputs), followed)
    ):
        tables[f"events{n}"] = events
        tables[f"candidates{n}"] = candidates
    return tables


def crossed_log_odds(
    data: Sequences, codes: Ints, cardinality: int, prior: float = 5.0
) -> Float32:
    """(users,) codes of a user field -> (cardinality, items + 1): log of how much more often a group likes an item.

    Relative to all users; ``prior`` likes, at the average of all, are added to each item.
    """
    likes = np.zeros((cardinality, data.n_items + 1))
    np.add.at(likes, (codes[data.users], data.items), data.liked)
    share = np.maximum(likes.sum(axis=1, keepdims=True) / max(likes.sum(), 1), 1e-9)
    expected = (likes.sum(axis=0) + prior) * share
    odds: Float32 = np.log((likes + prior * share) / expected).astype(np.float32)
    return odds


def similarities(channels: Sequence[Channel], inputs: Inputs) -> tuple[Factors, ...]:
    """Factor pairs: history fields of the channels that have some, common genres (cosine), nearness of each number."""
    found: list[Factors] = []
    for channel in channels:
        if isinstance(channel, HistorySum):
            found += [(field, channel.items) for field in channel.rows]
    if inputs.genre_names:
        genres = unit_vectors(inputs.genres)
        found.append((genres, genres))
    for values, number in zip(inputs.numbers.T, inputs.dataset.numbers, strict=True):
        near = nearness(values, number)
        found.append((near, near))
    return tuple(found)


def nearness(values: NDArray[np.float64], number: ItemNumber) -> Float32:
    """Radial basis functions: (items + 1,) values, NaN unknown -> (items + 1, centres) rows whose inner product is 1
    for the same value and falls with the distance; 0 for an unknown one."""
    known = ~np.isnan(values)[:, None]
    there = np.where(known, values[:, None], 0)
    distance = (there - np.array(number.centres)) / number.width
    return unit_vectors(np.exp(-(distance**2)) * known)
