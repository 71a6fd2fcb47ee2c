"""Artifacts that do not belong together are one sentence, which names the step to run again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data_exchange_center import artifacts
from data_exchange_center.artifacts import ArtifactError
from data_exchange_center.columns import Columns
from data_exchange_center.recipes import DEFAULT, RECIPES, SOURCE
from data_exchange_center.release_parts import release_of_artifacts
from data_exchange_center.settings import Settings
from offline_to_online.parity import LIST, OfflineTruth, offline_truth, recount
from tests.synthetic_release import write_artifacts, write_inputs
from tests.unit.offline_to_online.online_side import USERS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The source's artifacts, for tests that change them."""
    write_artifacts(tmp_path, recipe="source")
    return tmp_path


def truth_of(folder: Path, recipe: str = "source") -> OfflineTruth:
    return offline_truth(folder, release_of_artifacts(Settings(exchange_dir=folder, recipe_name=recipe)))


def test_features_of_fewer_users_than_recall_knows_are_one_sentence(folder: Path) -> None:
    users = artifacts.USER_FEATURES.read(folder)
    artifacts.USER_FEATURES.write(folder, users[users[Columns.USER] != 7])
    with pytest.raises(ArtifactError, match=r"user_features\.parquet: user 7,.*s1_feature_engi\.py"):
        recount(folder, truth_of(folder), SOURCE.data, USERS)


@pytest.mark.parametrize(("recipe", "changed"), [("source", {"n_dense": 3}), ("default", {"kernels": 3})])
def test_weights_that_are_damaged_or_of_another_model_are_one_sentence(
    tmp_path: Path, recipe: str, changed: dict[str, int]
) -> None:
    write_artifacts(tmp_path, recipe=recipe)
    weights, report = artifacts.RANK_WEIGHTS.read(tmp_path), artifacts.RANK_REPORT.read(tmp_path)
    other = {**report, "model": {**report["model"], **changed}}
    for content, told in ((b"", report), (b"no weights", report), (b"PK\x03\x04", report), (weights, other)):
        artifacts.RANK_WEIGHTS.write(tmp_path, content)
        artifacts.RANK_REPORT.write(tmp_path, told)
        with pytest.raises(ArtifactError, match=r"ranker\.pt: cannot be loaded.*s2_model_train\.py"):
            truth_of(tmp_path, recipe)


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_model_that_was_trained_with_another_spec_is_refused(tmp_path: Path, recipe: str) -> None:
    write_artifacts(tmp_path, recipe=recipe)
    spec = artifacts.FEATURE_SPEC.read(tmp_path)
    artifacts.FEATURE_SPEC.write(tmp_path, {**spec, "dense": spec["dense"][:-1]})
    write_inputs(tmp_path, recipe)
    with pytest.raises(ArtifactError, match=r"trained with another feature spec.*s2_model_train\.py"):
        truth_of(tmp_path, recipe)


def test_a_model_of_another_recipe_is_refused(folder: Path) -> None:
    manifest = release_of_artifacts(Settings(exchange_dir=folder, recipe_name="source"))
    with pytest.raises(ArtifactError, match=r"trained with another feature spec or recipe"):
        offline_truth(folder, manifest.model_copy(update={"recipe": DEFAULT}))


def test_real_lists_are_the_same_every_time(truth: OfflineTruth) -> None:
    lists, again = ([inputs.joined() for inputs in truth.sampled_lists(5)] for _ in range(2))
    assert [each.shape for each in lists] == [(LIST, truth.spec.width)] * 5
    assert all(map(np.array_equal, lists, again))
