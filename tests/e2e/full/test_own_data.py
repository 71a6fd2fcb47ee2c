"""MovieLens-100K under other file and column names gives the very lists of MovieLens-100K itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_exchange_center.recipes import RECIPES
from data_exchange_center.settings import Settings
from offline.ingestion import movielens, sources
from offline.step_runner import run_steps
from research.fingerprint import differences, fingerprint
from tests.made_up_data import exported


@pytest.mark.parametrize("recipe", sorted(RECIPES))
def test_other_names_give_the_same_lists(tmp_path: Path, recipe: str) -> None:
    data = sources.ml_100k_from_wheel()
    original = tmp_path / "ml-100k"
    original.mkdir()
    for name, content in movielens.dump(data).items():
        (original / name).write_bytes(content)
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
