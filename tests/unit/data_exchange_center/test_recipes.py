"""Recipes: read back from JSON by their kinds, and light enough for the server."""

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from data_exchange_center.recipes import (
    DEFAULT,
    RECIPES,
    SOURCE,
    EaseRecipe,
    RecallRecipe,
    Recipe,
    recipe_called,
    recipe_class,
)
from data_exchange_center.settings import Settings
from stack.service import environment_of


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_survives_its_json(name: str) -> None:
    recipe = RECIPES[name]
    again = Recipe.model_validate_json(recipe.model_dump_json())
    assert again == recipe
    assert [type(each) for each in again.recall.channels] == [
        type(each) for each in recipe.recall.channels
    ]
    assert type(again.ranker) is type(recipe.ranker)


def test_an_unknown_kind_is_refused_with_those_there_are() -> None:
    with pytest.raises(
        ValidationError,
        match=r"kind 'oracle'; there are: .*deepfm, ease, fm, .*list, .*tower",
    ):
        RecallRecipe.model_validate(
            {"channels": [{"kind": "oracle", "name": "delphi"}]}
        )
    with pytest.raises(ValidationError, match="'ease' is no ranker"):
        Recipe.model_validate({**SOURCE.model_dump(), "ranker": {"kind": "ease"}})


@pytest.mark.parametrize(
    "names", [("a", "a"), ("fused", "a"), ("popular", "a"), ("A b", "a"), ("", "a")]
)
def test_names_that_would_be_taken_for_others_are_refused(
    names: tuple[str, ...],
) -> None:
    with pytest.raises(ValidationError, match=r"channel name '.*': each has its own"):
        RecallRecipe(channels=tuple(EaseRecipe(name=name) for name in names))


@pytest.mark.parametrize(
    "name", ["../../x", "a/b", "", ".", "..", "two words", "line\n", "x" * 101]
)
def test_a_name_that_is_no_folder_is_refused(name: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Recipe.model_validate({**DEFAULT.model_dump(), "name": name})
    assert [error["loc"] for error in refused.value.errors()] == [("name",)]


def test_a_recipe_may_be_in_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = DEFAULT.model_copy(update={"name": "mine"})
    (tmp_path / "mine.json").write_text(mine.model_dump_json())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RECSYS_RECIPE", "mine.json")
    settings = Settings()
    monkeypatch.chdir("/")
    assert settings.recipe == mine
    assert environment_of(settings)["RECSYS_RECIPE"] == str(tmp_path / "mine.json")


def test_a_file_that_holds_no_recipe_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    with pytest.raises(ValueError, match="cannot be read"):
        recipe_called(str(path))
    path.write_text(DEFAULT.model_dump_json().replace('"dim":64', '"dim":"wide"'))
    with pytest.raises(
        ValueError, match=r"mine\.json is no recipe \(recall\.channels\.0.*dim.*integer"
    ):
        recipe_called(str(path))


def test_a_ranker_whose_package_is_not_here_is_known_by_its_kind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As in the server's image, where neither torch nor offline is."""
    monkeypatch.setattr("data_exchange_center.recipes.recipe_class", absent)
    recipe = Recipe.model_validate(
        DEFAULT.model_dump()
        | {"recall": DEFAULT.recall, "ranker": {"kind": "mlp", "x": 1}}
    )
    assert recipe.ranker.model_dump() == {"kind": "mlp", "x": 1}


def absent(kind: object, part: type) -> type:
    if kind == "mlp":
        raise ModuleNotFoundError("No module named 'torch'")
    return recipe_class(kind, part)


def loaded(imports: str) -> set[str]:
    """Top-level modules of a fresh process after an import."""
    code = f"import sys; {imports}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    return set(
        subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, text=True
        ).stdout.split()
    )


def test_server_reads_recipes_without_training_code() -> None:
    read = "recipes.Recipe.model_validate_json(recipes.DEFAULT.model_dump_json())"
    served = "f.unpack_channels(f.pack_channels(f.ChannelSet(f.np.arange(2), ())))"
    imports = "from data_exchange_center import channel_file as f, recipes"
    modules = loaded(f"import online.main.s1_server; {imports}; {read}; {served}")
    assert not modules & {"offline", "offline_to_online", "torch", "scipy", "pandas"}


def test_settings_import_without_numpy() -> None:
    assert not loaded(
        "import data_exchange_center.settings, data_exchange_center.recipes"
    ) & {"numpy", "offline"}
