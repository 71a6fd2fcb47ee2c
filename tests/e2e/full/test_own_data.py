"""MovieLens-100K under other file and column names gives the very lists of MovieLens-100K itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_exchange_center.recipes import RECIPES
from data_exchange_center.settings import Settings
from offline import movielens
from offline.step_runner import run_steps
from research.fingerprint import differences, fingerprint
from tests.datasets import dumped, parsed
from tests.made_up_data import exported


@pytest.mark.parametrize("recipe", sorted(RECIPES))
def test_other_names_give_the_same_lists(tmp_path: Path, recipe: str) -> None:
    data = parsed(movielens.download_ml_100k(tmp_path))
    original = dumped(data, tmp_path / "ml-100k")
    found = []
    for folder in (original, exported(data, tmp_path / "exported")):
        exchange = tmp_path / f"of-{folder.name}"
        settings = Settings(data=folder, exchange_dir=exchange, recipe_name=recipe)
        assert len(list(run_steps(settings, exchange))) == 7
        found.append(fingerprint(settings))
    one, other = found
    assert (one["dataset"], other["dataset"]) == ("ml-100k", "exported")
    assert one["parts"] == other["parts"]  # every file of the release, byte for byte
    assert not list(differences(one, {**other, "dataset": one["dataset"]}))
