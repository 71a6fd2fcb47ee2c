"""Kinds of channels: looked up by name, and light enough for the server."""

from __future__ import annotations

import subprocess
import sys
from typing import ClassVar

import pytest
from pydantic import ValidationError

from data_exchange_center.channels import HistorySum
from data_exchange_center.recipes import KINDS, RECIPES, ChannelRecipe, EaseRecipe, RecallRecipe, Recipe, kind_of


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_survives_its_json(name: str) -> None:
    recipe = RECIPES[name]
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe


def test_kinds_and_forms_are_apart() -> None:
    assert len({kind_of(recipe) for recipe in KINDS}) == len(KINDS)
    forms = {recipe.served for recipe in KINDS}
    assert len({form.form for form in forms}) == len(forms)


def test_an_unknown_kind_is_told_with_those_there_are() -> None:
    with pytest.raises(ValidationError, match=f"'oracle'; there are: {', '.join(map(kind_of, KINDS))}"):
        RecallRecipe.model_validate({"channels": [{"kind": "oracle", "name": "delphi"}]})


@pytest.mark.parametrize("names", [("a", "a"), ("fused", "a"), ("popular", "a"), ("A b", "a"), ("", "a")])
def test_names_that_would_be_taken_for_others_are_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError, match=r"channel name '.*': each has its own"):
        RecallRecipe(channels=tuple(EaseRecipe(name=name) for name in names))


def test_vectors_are_served_by_what_is_searched_and_by_nothing_else() -> None:
    with pytest.raises(TypeError, match="Unsearched: a VectorRecipe serves a VectorChannel"):

        class Unsearched(ChannelRecipe):
            served: ClassVar[type[HistorySum]] = HistorySum


def loaded(imports: str) -> set[str]:
    """Top-level modules of a fresh process after an import."""
    code = f"import sys; {imports}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    return set(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split())


def test_the_server_knows_all_kinds_and_loads_nothing_that_fits_them() -> None:
    modules = loaded("import online.main.s1_server, data_exchange_center.channels.registry")
    assert not modules & {"offline", "offline_to_online", "torch", "scipy", "pandas"}


def test_settings_do_without_numpy_as_the_services_own_images_must() -> None:
    assert not loaded("import data_exchange_center.settings, online.stack.service") & {"numpy", "offline"}
