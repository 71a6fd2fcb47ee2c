"""The ways for large catalogues beside the full one, on a small one."""

from __future__ import annotations

import json

import numpy as np
import pytest

from data_exchange_center.channels.ease import EaseRecipe
from data_exchange_center.channels.tower import TowerRecipe
from data_exchange_center.recipes import SOURCE, RecallRecipe
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from offline.evaluation.report import plain
from research.experiments import catalogue_growth, large_catalogues
from research.experiments.catalogue_growth import FULL, Case, cases, cost, wider
from research.experiments.large_catalogues import ALONE, FUSED, TO_FULL, WAYS
from tests.unit.offline.training.test_ranking import ITEMS, RECIPE, USERS, inputs_of

FEW = {
    "tower": WAYS["tower"]._replace(sizes=(4,)),
    "ease": WAYS["ease"]._replace(sizes=(2, ITEMS)),
}


def test_each_way_stands_beside_the_full_one(made_up: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_catalogues, "COMPARED", ("recall@10",))  # lists of fifteen have no more
    found = large_catalogues.measure(made_up, RECIPE, FEW)
    assert json.loads(json.dumps(plain(found), allow_nan=False))["items"] == ITEMS
    rows = {(row["channel"], row["way"]): row for row in found["rows"]}
    assert list(rows) == [("tower", FULL), ("tower", "4"), ("ease", FULL), ("ease", "2"), ("ease", str(ITEMS))]
    lost = {
        (*key, where): row[where][TO_FULL]["recall@10"]["difference"]
        for key, row in rows.items()
        for where in (ALONE, FUSED)
    }
    assert {lost[channel, FULL, where] for channel in FEW for where in (ALONE, FUSED)} == {0}
    assert lost["ease", str(ITEMS), ALONE] == pytest.approx(0, abs=1e-3)  # all eigenvectors
    assert lost["ease", "2", ALONE] < 0


def test_the_full_way_is_full_however_many_items_there_are() -> None:
    for recipe in (TowerRecipe(sampled_beyond=0), EaseRecipe(low_rank_beyond=0)):
        ways = WAYS[recipe.kind]
        (full, first), *others = ways.of(recipe)
        assert (full, getattr(first, ways.beyond)) == (FULL, catalogue_growth.NEVER)
        assert [(getattr(each, ways.beyond), getattr(each, ways.size)) for _, each in others] == [
            (0, size) for size in ways.sizes
        ]


def test_a_recipe_with_one_way_only_has_nothing_to_compare(made_up: Settings) -> None:
    with pytest.raises(StepError, match="'source'"):
        large_catalogues.measure(made_up, SOURCE)
    source = SOURCE.recall.channels[0]
    mixed = RECIPE.model_copy(update={"recall": RecallRecipe(channels=(EaseRecipe(dim=4), source), candidates=15)})
    found = large_catalogues.measure(made_up, mixed, FEW)
    assert {row["channel"] for row in found["rows"]} == {"ease"}


def test_a_wider_catalogue_has_the_same_events_with_copies_of_the_items() -> None:
    inputs = inputs_of(np.random.default_rng(0).integers(0, ITEMS, USERS - 1))
    found = wider(inputs, 4)
    assert (found.data.n_items, len(found.genres)) == (4 * ITEMS, 4 * ITEMS + 1)
    assert np.array_equal((found.data.items - 1) % ITEMS + 1, inputs.data.items)
    assert (found.genres[found.data.items] == inputs.genres[inputs.data.items]).all()
    assert len(np.unique((found.data.items - 1) // ITEMS)) > 1
    assert np.array_equal(wider(inputs, 4).data.items, found.data.items)


@pytest.mark.parametrize("recipe", [TowerRecipe(dim=4, batch_size=8, sampled_beyond=0), EaseRecipe(dim=4, l2=1.0)])
def test_a_cost_is_of_the_wider_catalogue(
    recipe: TowerRecipe | EaseRecipe, made_up: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = inputs_of(np.random.default_rng(0).integers(0, ITEMS, USERS - 1))
    monkeypatch.setattr(catalogue_growth, "read_inputs", lambda _: inputs)
    row = cost(made_up, Case(recipe, "any", 2))
    assert (row["kind"], row["way"], row["items"]) == (recipe.kind, "any", 2 * ITEMS)
    assert row["cpu_seconds"] > 0
    assert row["peak_mb"] > 50


def test_both_ways_of_both_channels_are_measured() -> None:
    assert {(case.recipe.kind, case.way == FULL) for case in cases()} == {
        (kind, full) for kind in ("tower", "ease") for full in (True, False)
    }
