"""Ranking of lists: a list ranker's training data and training; and both stages of a recipe at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from torch import nn

from data_exchange_center.channels.contract import Channel
from data_exchange_center.columns import Columns
from data_exchange_center.dataset import Dataset
from data_exchange_center.features import FeatureSpec
from data_exchange_center.rankers.contract import FittedRanker, ListsRecipe
from data_exchange_center.rankers.list_ranker import ListRankerRecipe
from data_exchange_center.recipes import Recipe
from data_exchange_center.steps import StepError
from offline.data.lists import Lists, ListsAsked, StoredFeatures
from offline.data.sequences import Inputs, Sequences
from offline.data.statistics import list_spec
from offline.models.list_ranker import FrozenTables, ListRanker, ListRankerConfig
from offline.training.channels import channels_of, fit_channels
from offline.training.examples import ListExamples
from offline.training.frozen_tables import crossed_log_odds, similarities
from offline.training.list_ranker import list_report, train_on_lists
from offline.training.transitions import transition_factors


@dataclass(frozen=True, eq=False)
class Stages:
    """Fitted channels and ranker, and the ranker's features of users and items.

    `training.list_ranker.ranked` orders the lists of `data.lists.recall_lists` by them.
    """

    channels: tuple[Channel, ...]
    ranker: nn.Module
    stored: StoredFeatures
    losses: Sequence[float]  # of the ranker, by epoch


def fit_stages(past: Sequences, inputs: Inputs, recipe: Recipe) -> Stages:
    """Everything fitted on ``past``, as the steps do it. The recipe's ranker is trained on lists."""
    ranker = ranker_of_lists(recipe)
    teachers, lists = training_lists(past, inputs, recipe)
    channels = channels_of(fit_channels(past, inputs, recipe))
    spec = list_spec(inputs, recipe, ranker)
    fitted = ranker.fit(ListExamples(past, inputs, recipe, spec, teachers, channels, lists))
    losses = [epoch["loss"] for epoch in fitted.report["epochs"]]
    return Stages(channels, fitted.network, StoredFeatures.of(past, inputs, spec, recipe), losses)


def ranker_of_lists(recipe: Recipe) -> ListsRecipe:
    """The recipe's ranker. Raises StepError when it is not trained on lists."""
    if not isinstance(recipe.ranker, ListsRecipe):
        raise StepError(f"recipe {recipe.name!r}: a ranker of kind {recipe.ranker.kind!r} is not trained on lists.")
    return recipe.ranker


def list_recipe(recipe: Recipe) -> ListRankerRecipe:
    """The recipe's ranker, where it is the `ListRanker`, whose parts are taken out one by one; else a StepError."""
    ranker = ranker_of_lists(recipe)
    if not isinstance(ranker, ListRankerRecipe):
        raise StepError(f"recipe {recipe.name!r}: a ranker of kind {ranker.kind!r} has other parts.")
    return ranker


def training_lists(past: Sequences, inputs: Inputs, recipe: Recipe) -> tuple[tuple[Channel, ...], Lists]:
    """Teachers, and lists that they recall at requests later than anything they know.

    Raises StepError when no list holds anything liked.
    """
    teachers = fit_teachers(past, inputs, recipe)
    return teachers, lists_of(teachers, past, inputs, recipe)


def fit_teachers(past: Sequences, inputs: Inputs, recipe: Recipe) -> tuple[Channel, ...]:
    """The recipe's channels fitted on the first part of each user's past, so none of the ranker's targets was in the
    data that its inputs were fitted on."""
    return channels_of(fit_channels(past.earlier(ranker_of_lists(recipe).past), inputs, recipe))


def lists_of(teachers: Sequence[Channel], past: Sequences, inputs: Inputs, recipe: Recipe) -> Lists:
    """What the teachers recall at the requests. Raises StepError when no list holds anything liked."""
    return lists_asked(recipe).recalled(past, inputs.profiles, teachers)


def lists_asked(recipe: Recipe) -> ListsAsked:
    """What the recipe's ranker is trained on."""
    return ListsAsked.of(recipe, ranker_of_lists(recipe))


@dataclass(frozen=True, eq=False)
class RankerInputs:
    """A list ranker's inputs besides the lists, as they are at the end of some past."""

    stored: StoredFeatures
    frozen: FrozenTables

    @classmethod
    def after(
        cls,
        past: Sequences,
        channels: Sequence[Channel],
        inputs: Inputs,
        spec: FeatureSpec,
        recipe: Recipe,
        ranker: ListRankerRecipe,
    ) -> RankerInputs:
        """``channels`` are fitted on ``past``; ``ranker``: the recipe's."""
        frozen = frozen_tables(past, channels, inputs, spec, ranker)
        return cls(StoredFeatures.of(past, inputs, spec, recipe), frozen)


def fit_list_ranker(ranker: ListRankerRecipe, examples: ListExamples) -> FittedRanker:
    """The ranker trained on the teachers' lists; its tables are those of the whole past."""
    past, inputs, spec, recipe = examples.past, examples.inputs, examples.spec, examples.recipe
    then = RankerInputs.after(past.earlier(ranker.past), examples.teachers, inputs, spec, recipe, ranker)
    now = partial(frozen_tables, past, examples.channels, inputs, spec, ranker)
    network, losses = train_then_renew(examples.lists, then, now, ranker, inputs.dataset)
    return FittedRanker(network, network.config.model_dump(mode="json"), list_report(losses, examples.lists))


def train_then_renew(
    lists: Lists, then: RankerInputs, now: Callable[[], FrozenTables], ranker: ListRankerRecipe, dataset: Dataset
) -> tuple[ListRanker, list[float]]:
    """Train with the inputs of ``then``, when the lists were recalled; then put the tables of ``now`` in place, which
    another thread makes meanwhile."""
    factors = [candidates.shape[1] for _, candidates in then.frozen.factors]
    config = ListRankerConfig.of(then.stored.spec, ranker, factors, dataset)

    def build() -> ListRanker:
        network = ListRanker(config)
        network.set_tables(then.frozen)
        return network

    with ThreadPoolExecutor(1) as pool:
        made = pool.submit(now)
        network, losses = train_on_lists(build, lists, then.stored, ranker)
        network.set_tables(made.result())
    return network, losses


def frozen_tables(
    past: Sequences, channels: Sequence[Channel], inputs: Inputs, spec: FeatureSpec, ranker: ListRankerRecipe
) -> FrozenTables:
    """Similarities of channels, genres, numbers and of what follows what; crossed log-odds."""
    crossed = _crossed(spec)
    followed = transition_factors(past.followers(ranker.horizon), ranker.transitions_dim, ranker.seed)
    fields = zip(inputs.codes(crossed).T, crossed, strict=True)
    sizes = {feature.name: feature.cardinality for feature in inputs.profile}
    return FrozenTables(
        (*similarities(channels, inputs), followed),
        tuple(crossed_log_odds(past, codes, sizes[name]) for codes, name in fields),
    )


def _crossed(spec: FeatureSpec) -> list[str]:
    return [feature.name for feature in spec.one_hot if feature.name != Columns.ITEM]
