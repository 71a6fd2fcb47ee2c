"""The list ranker trained without some of its inputs, or on other samples, of the same lists."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.channels import Channel
from data_exchange_center.columns import Columns
from data_exchange_center.dataset import Dataset
from data_exchange_center.features import Encoded
from data_exchange_center.recipes import ListRankerRecipe, Recipe
from offline.data.lists import Lists as RecallLists
from offline.data.lists import StoredFeatures
from offline.data.statistics import list_spec
from offline.models.list_ranker import FrozenTables, ListRanker, RankerInputs, train_then_renew
from offline.models.stages import list_recipe, training_lists
from offline.models.training import ranked
from research.experiments.fitted import EvalRequests


@dataclass(frozen=True)
class Parts:
    """The inputs of a ranker; those that are left out are 0, in training and in ranking."""

    recall: bool = True  # each candidate's scores and ranks
    history: bool = True  # affinities to the newest events, and their summary
    transitions: bool = True  # the affinities by what follows what
    statistics: bool = True  # of items
    crosses: bool = True  # how much likelier the user's group likes the item

    def of_lists(self, lists: RecallLists) -> RecallLists:
        features = lists.features if self.recall else np.zeros_like(lists.features)
        if self.history:
            return replace(lists, features=features)
        nothing = {name: np.zeros_like(getattr(lists, name)) for name in ("events", "ratings", "ages")}
        return replace(lists, features=features, **nothing)

    def of_inputs(self, inputs: RankerInputs) -> RankerInputs:
        return RankerInputs(self._of_stored(inputs.stored), self._of_tables(inputs.frozen))

    def _of_stored(self, stored: StoredFeatures) -> StoredFeatures:
        if self.statistics:
            return stored
        features = stored.spec.of("item")
        ids = np.array([feature.name == Columns.ITEM for feature in features])
        nothing = Encoded.none(features, len(stored.items))
        values = np.where(ids, stored.items.values, nothing.values)
        return replace(stored, items=replace(nothing, values=values))

    def _of_tables(self, frozen: FrozenTables) -> FrozenTables:
        if not self.transitions:
            *others, (events, candidates) = frozen.factors  # the last, as `training.ranking.frozen_tables` orders them
            factors = (*others, (np.zeros_like(events), np.zeros_like(candidates)))
            frozen = replace(frozen, factors=factors)
        return frozen if self.crosses else replace(frozen, crosses=tuple(map(np.zeros_like, frozen.crosses)))


def without() -> dict[str, Parts]:
    """Each group of inputs left out in turn; last a ranker that only fuses."""
    return {
        "without recall's scores and ranks": Parts(recall=False),
        "without affinities to the history": Parts(history=False),
        "without what follows what": Parts(transitions=False),
        "without item statistics": Parts(statistics=False),
        "without crossed statistics": Parts(crosses=False),
        "recall's scores and ranks alone (learned fusion)": Parts(history=False, statistics=False, crosses=False),
    }


def samples(ranker: ListRankerRecipe, candidates: int) -> dict[str, ListRankerRecipe]:
    """The same ranker trained on more and on less of each list; ``candidates``: of a whole one."""
    return {
        "trained on whole lists": ranker.model_copy(update={"sampled": candidates}),
        "trained on half the sample of each list": ranker.model_copy(update={"sampled": ranker.sampled // 2}),
    }


@dataclass(frozen=True, eq=False)
class TrainedVariant:
    """A trained ranker, and its inputs when it ranks."""

    parts: Parts
    model: ListRanker
    stored: StoredFeatures

    def ranked(self, lists: RecallLists) -> NDArray[np.int64]:
        return ranked(self.model, self.parts.of_lists(lists), self.stored)


@dataclass(frozen=True, eq=False)
class AblationSetup:
    """What all variants are trained on, and their inputs when they rank."""

    lists: RecallLists
    then: RankerInputs
    now: RankerInputs
    recipe: Recipe
    dataset: Dataset

    @classmethod
    def of(cls, requests: EvalRequests, channels: tuple[Channel, ...], recipe: Recipe) -> AblationSetup:
        """``channels`` are fitted on the past of the requests."""
        past, inputs, ranker = requests.holdout.past, requests.inputs, list_recipe(recipe)
        teachers, lists = training_lists(past, inputs, recipe)
        spec = list_spec(inputs, recipe, ranker)
        then = RankerInputs.after(past.earlier(ranker.past), teachers, inputs, spec, recipe, ranker)
        now = RankerInputs.after(past, channels, inputs, spec, recipe, ranker)
        return cls(lists, then, now, recipe, inputs.dataset)

    def train(self, parts: Parts = Parts(), recipe: ListRankerRecipe | None = None) -> TrainedVariant:
        """``recipe``: another than the recipe's ranker, for lists of the same form."""
        then, now, ranker = parts.of_inputs(self.then), parts.of_inputs(self.now), recipe or list_recipe(self.recipe)
        model, _ = train_then_renew(parts.of_lists(self.lists), then, lambda: now.frozen, ranker, self.dataset)
        return TrainedVariant(parts, model, now.stored)
