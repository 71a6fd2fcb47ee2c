"""The ranker of a small recipe and its training channels, fitted on users who take the items in turn."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import pytest
import torch

from data_exchange_center.channels import Channel
from data_exchange_center.features import one_hot
from data_exchange_center.recipes import (
    SOURCE,
    EaseRecipe,
    ListRankerRecipe,
    ListsRecipe,
    RecallRecipe,
    Recipe,
    TowerRecipe,
)
from data_exchange_center.steps import StepError
from offline.data.lists import Lists, StoredFeatures, ranker_of_lists, training_lists
from offline.data.sequences import Inputs, Sequences
from offline.data.statistics import list_spec
from offline.models import list_ranker
from offline.models.kinds import ListExamples
from offline.models.list_ranker import ListRanker
from offline.models.rankers import ranker_class
from offline.models.training import train_on_lists
from offline.recall.s2_vector_recall import fit_channels
from tests.datasets import STARS

USERS, ITEMS, EVENTS = (
    40,
    30,
    22,
)  # the last user has rated nothing, the last item nobody
RANKER = ListRankerRecipe(
    history=5, kernels=2, hidden=(8,), epochs=2, batch_size=32, stride=2
)
RECIPE = Recipe(
    name="small",
    recall=RecallRecipe(
        channels=(
            TowerRecipe(dim=4, epochs=1, batch_size=64, fusion_weight=2.0),
            EaseRecipe(dim=4, l2=1.0),
        ),
        candidates=15,
    ),
    ranker=RANKER,
)


def inputs_of(offsets: np.ndarray) -> Inputs:
    """Each user takes the first ITEMS - 1 items in turn, from an item of their own."""
    items = ((offsets[:, None] + np.arange(EVENTS)) % (ITEMS - 1) + 1).ravel()
    ratings = np.tile(np.arange(EVENTS) % 3 + 3, USERS - 1)
    starts = np.append(np.arange(USERS) * EVENTS, (USERS - 1) * EVENTS)
    times = np.tile(np.arange(EVENTS) * 600, USERS - 1)
    data = Sequences(
        np.arange(USERS) + 5,
        np.arange(ITEMS) * 2,
        starts,
        items,
        ratings,
        ratings > 3,
        times,
    )
    profile = (
        one_hot("gender", "user", "FM"),
        one_hot("age", "user", [1, 18]),
        one_hot("occupation", "user", "ab"),
    )
    profiles = np.stack([np.arange(USERS) // n % 2 + 1 for n in (1, 2, 4)], axis=1)
    genres = np.vstack([np.zeros(2), np.eye(2)[np.arange(ITEMS) % 2]]).astype(
        np.float32
    )
    raw = {
        feature.name: np.array(feature.vocabulary)[codes - 1]
        for feature, codes in zip(profile, profiles.T, strict=True)
    }
    users = pd.DataFrame({"userid": data.user_numbers, **raw})
    years = np.append(np.nan, np.arange(1, ITEMS + 1) + 1950)[:, None]
    return Inputs(
        STARS, data, ("Action", "Drama"), genres, years, users, profile, profiles
    )


@pytest.fixture(scope="module")
def inputs() -> Inputs:
    return inputs_of(np.random.default_rng(0).integers(0, ITEMS, USERS - 1))


def recalled(
    past: Sequences, inputs: Inputs, recipe: Recipe
) -> tuple[tuple[Channel, ...], Lists]:
    known = past.earlier(ranker_of_lists(recipe).past)
    fitted = fit_channels(known, inputs, recipe)
    training_channels = tuple(each.channel for each in fitted)
    return training_channels, training_lists(
        past, inputs.profiles, training_channels, recipe
    )


def part_ways(past: Sequences) -> Sequences:
    """Other items and ratings after the part that the training channels know."""
    later = past.positions >= np.repeat(past.earlier(RANKER.past).lengths, past.lengths)
    other = np.where(later, (past.items + 10) % (ITEMS - 1) + 1, past.items)
    ratings = np.where(later, (past.ratings - 2) % 3 + 3, past.ratings)
    return Sequences(
        past.user_numbers,
        past.item_numbers,
        past.starts,
        other,
        ratings,
        ratings > 3,
        past.times,
    )


def test_training_channels_know_nothing_of_the_targets(inputs: Inputs) -> None:
    """People who part ways after what the training channels know have the same channels, and other lists."""
    past, turned = inputs.data, part_ways(inputs.data)
    cut = past.earlier(RANKER.past).lengths
    training_channels, lists = recalled(past, inputs, RECIPE)
    again, others = recalled(turned, inputs, RECIPE)
    for one, two in zip(training_channels, again, strict=True):
        assert np.array_equal(one.items, two.items)
        assert np.array_equal(one.rows, two.rows)
    assert lists.liked.any(axis=1).all()
    assert (lists.lengths >= cut[lists.users]).all()
    assert len(lists) != len(others) or not np.array_equal(
        lists.candidates, others.candidates
    )


def test_the_ranker_learns_with_what_was_known_then(
    inputs: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever came later, it learns with the same statistics, crosses and transitions; then they are of everything."""
    known: list[tuple[StoredFeatures, ListRanker]] = []

    def train(
        build: Callable[[], ListRanker],
        lists: Lists,
        stored: StoredFeatures,
        recipe: ListsRecipe,
        weights: Sequence[float],
    ) -> tuple[ListRanker, list[float]]:
        known.append((stored, build()))
        return train_on_lists(build, lists, stored, recipe, weights)

    monkeypatch.setattr(list_ranker, "train_on_lists", train)
    training_channels, lists = recalled(inputs.data, inputs, RECIPE)
    spec = list_spec(inputs, RECIPE, RANKER)
    one, two = (
        ranker_class(RANKER.kind)
        .fit(
            RANKER,
            ListExamples(
                past, inputs, spec, training_channels, training_channels, lists
            ),
        )
        .network
        for past in (inputs.data, part_ways(inputs.data))
    )
    (stored, then), (stored_then, same) = known
    assert np.array_equal(stored.items.values, stored_then.items.values)
    crosses = [name for name, _ in then.named_buffers() if name.startswith("cross")]
    assert all(
        torch.equal(then.get_buffer(name), same.get_buffer(name)) for name in crosses
    )
    # What follows what, as products: where singular values are equal, the factors may be turned between two runs.
    last = len(then.config.factors) - 1
    transitions, again = (
        (
            each.get_buffer(f"events{last}") @ each.get_buffer(f"candidates{last}").T
        ).numpy()
        for each in (then, same)
    )
    assert transitions == pytest.approx(again, abs=1e-5)
    assert np.abs(transitions).max() > 1
    assert not torch.equal(one.get_buffer("cross0"), two.get_buffer("cross0"))
    assert not torch.equal(one.get_buffer("cross0"), then.get_buffer("cross0"))


def test_an_unknown_column_in_returning_is_refused(inputs: Inputs) -> None:
    training_channels, lists = recalled(inputs.data, inputs, RECIPE)
    spec = list_spec(inputs, RECIPE, RANKER)
    examples = ListExamples(
        inputs.data, inputs, spec, training_channels, training_channels, lists
    )
    ranker = RANKER.model_copy(update={"returning": (("item_liked", 1.0),)})
    with pytest.raises(
        StepError, match=r"unknown columns: item_liked\. There are: itemid"
    ):
        ranker_class(RANKER.kind).fit(ranker, examples)


def test_another_model_than_a_list_ranker_is_refused() -> None:
    with pytest.raises(StepError, match="'deepfm' is not trained on lists"):
        ranker_of_lists(SOURCE)
