"""Rankers are looked up by kind, and the server reads their recipes without what they are fitted with."""

from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import ValidationError

from data_exchange_center.recipes import KINDS, RECIPES, SOURCE, DeepFMRecipe, Recipe, kind_of
from offline.models.kinds import ranker_called


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_a_recipe_survives_json_with_all_settings_of_its_ranker(name: str) -> None:
    recipe = RECIPES[name]
    again = Recipe.model_validate_json(recipe.model_dump_json())
    assert again == recipe
    assert type(again.ranker) is type(recipe.ranker)


def test_each_kind_has_a_name_of_its_own() -> None:
    assert {ranker_called(kind_of(recipe)) for recipe in KINDS} == set(KINDS)
    assert ranker_called("deepfm") is DeepFMRecipe


def test_a_kind_that_nobody_registered_is_one_sentence() -> None:
    with pytest.raises(ValidationError, match="no kind of ranker is called 'forest'; there are: deepfm, list"):
        Recipe.model_validate({**SOURCE.model_dump(), "ranker": {"kind": "forest"}})


def test_a_recipe_needs_neither_torch_nor_offline() -> None:
    program = "import sys, data_exchange_center.recipes; print({'torch', 'offline'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
