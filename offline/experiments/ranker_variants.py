"""The list ranker trained without some of its inputs, on the same lists."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.channels import Channel
from data_exchange_center.columns import Columns
from data_exchange_center.recipes import ListRankerRecipe, Recipe
from offline.data.lists import Lists as RecallLists
from offline.data.statistics import list_spec
from offline.data.stored_features import StoredFeatures
from offline.experiments.fitted import Asked
from offline.models.list_ranker import Knowledge, ListRanker, ListRankerConfig
from offline.training.list_ranker import ranked, train_ranker
from offline.training.ranking import earlier_part, knowledge, list_recipe, training_lists


@dataclass(frozen=True)
class Parts:
    """Which inputs a ranker is given; what it is not given is 0, in training and when it is asked."""

    recall: bool = True  # each candidate's scores and ranks
    history: bool = True  # affinities to the newest events, and their summary
    transitions: bool = True  # the affinity by what follows what
    statistics: bool = True  # of items
    crosses: bool = True  # how much likelier the user's group likes the item

    def of_lists(self, lists: RecallLists) -> RecallLists:
        features = lists.features if self.recall else np.zeros_like(lists.features)
        if self.history:
            return replace(lists, features=features)
        nothing = {name: np.zeros_like(getattr(lists, name)) for name in ("events", "ratings", "ages")}
        return replace(lists, features=features, **nothing)

    def of_stored(self, stored: StoredFeatures) -> StoredFeatures:
        if self.statistics:
            return stored
        names = [feature.name for feature in stored.spec.of("item")]
        ids = np.array([name == Columns.ITEM for name in names])
        return replace(stored, items=np.where(ids, stored.items, 0).astype(np.float32))

    def of_knowledge(self, known: Knowledge) -> Knowledge:
        if not self.transitions:
            *others, (events, candidates) = known.factors  # the last, as `stages.ranking.knowledge` makes them
            known = replace(known, factors=(*others, (np.zeros_like(events), np.zeros_like(candidates))))
        return known if self.crosses else replace(known, crosses=tuple(map(np.zeros_like, known.crosses)))


def without() -> dict[str, Parts]:
    """What is left out, one by one; last a ranker that only fuses."""
    return {
        "without recall's scores and ranks": Parts(recall=False),
        "without affinities to the history": Parts(history=False),
        "without what follows what": Parts(transitions=False),
        "without item statistics": Parts(statistics=False),
        "without crossed statistics": Parts(crosses=False),
        "recall's scores and ranks alone (learned fusion)": Parts(history=False, statistics=False, crosses=False),
    }


@dataclass(frozen=True, eq=False)
class Learnt:
    """A trained ranker and what it is told when it is asked."""

    parts: Parts
    model: ListRanker
    stored: StoredFeatures

    def ranked(self, lists: RecallLists) -> NDArray[np.int64]:
        return ranked(self.model, self.parts.of_lists(lists), self.stored)


@dataclass(frozen=True, eq=False)
class Lesson:
    """What all variants are trained on, and what is known when they are asked."""

    lists: RecallLists
    config: ListRankerConfig
    recipe: ListRankerRecipe
    then: tuple[StoredFeatures, Knowledge]
    now: tuple[StoredFeatures, Knowledge]

    @classmethod
    def of(cls, asked: Asked, channels: tuple[Channel, ...], recipe: Recipe) -> Lesson:
        """As `offline.training.ranking.fit_stages` does it."""
        past, inputs, ranker = asked.held.past, asked.inputs, list_recipe(recipe)
        teachers, lists = training_lists(past, inputs, recipe)
        spec, earlier = list_spec(inputs, recipe, ranker), earlier_part(past, ranker)
        then = StoredFeatures.of(earlier, inputs, spec, recipe), knowledge(earlier, teachers, inputs, spec, ranker)
        now = StoredFeatures.of(past, inputs, spec, recipe), knowledge(past, channels, inputs, spec, ranker)
        factors = [candidates.shape[1] for _, candidates in then[1].factors]
        config = ListRankerConfig.of(spec, ranker, factors, recipe.data.positive_above)
        return cls(lists, config, ranker, then, now)

    def learnt(self, parts: Parts = Parts()) -> Learnt:
        stored, known = parts.of_stored(self.then[0]), parts.of_knowledge(self.then[1])
        model, _ = train_ranker(parts.of_lists(self.lists), stored, known, self.config, self.recipe)
        model.renew(parts.of_knowledge(self.now[1]))
        return Learnt(parts, model, parts.of_stored(self.now[0]))
