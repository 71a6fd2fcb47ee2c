"""The seven steps in order, on a small MovieLens made up here."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data_exchange_center import artifacts
from data_exchange_center.columns import Columns, Split
from data_exchange_center.features import FeatureSpec
from data_exchange_center.release import release_of_artifacts
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from offline.data import sources, training
from offline.torchfm.models import load_ranker
from tests.unit.offline.synthetic import made_up_movielens

STEPS = (
    "offline.preprocess.s0_get_data",
    "offline.preprocess.s1_data_split",
    "offline.preprocess.s2_term_trans",
    "offline.recall.s1_term_recall",
    "offline.recall.s2_vector_recall",
    "offline.rank.s1_feature_engi",
    "offline.rank.s2_model_train",
)
USERS, FEW = 60, 10  # users 1..10 have no more ratings than are kept for online evaluation


def walk(settings: Settings) -> None:
    for step in STEPS:
        importlib.import_module(step).main(settings)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("road")
    settings = Settings(data=made_up_movielens(folder / "ml"), exchange_dir=folder / "exchange")
    walk(settings)
    return settings


def offline_rows(settings: Settings) -> pd.DataFrame:
    ratings = artifacts.RATINGS.read(settings.exchange_dir)
    return ratings[ratings[Columns.SPLIT] != Split.ONLINE].reset_index(drop=True)


def test_every_artifact_is_there_and_makes_a_release(settings: Settings) -> None:
    manifest = release_of_artifacts(settings)
    assert manifest.dataset["name"] == "other"
    assert manifest.dataset["counts"] == {"ratings": 1830, "users": USERS, "items": 80, "genres": 3}
    assert manifest.vector_dim == settings.recipe.fm.dim + 2
    assert manifest.feature_spec.width == 5 + 3 + 6
    assert set(manifest.model["auc"]) == {"train", "validation", "test"}


def test_nothing_the_server_gets_is_from_the_last_ten(settings: Settings) -> None:
    rows = offline_rows(settings)
    folder = settings.exchange_dir
    seen = artifacts.USER_SEEN.read(folder).set_index(Columns.USER)[Columns.SEEN]
    assert len(seen) == USERS
    for user, items in seen.items():
        assert list(items) == rows.loc[rows[Columns.USER] == user, Columns.ITEM].tolist()
    assert set(artifacts.POPULAR.read(folder)[Columns.ITEM]) == set(rows[Columns.ITEM])
    assert len(artifacts.SAMPLES.read(folder)) == len(rows)


def test_changing_the_last_ten_changes_nothing_but_themselves(settings: Settings, tmp_path: Path) -> None:
    """Turn every online label round: all that is trained or served stays the same, byte for byte."""
    ratings = artifacts.RATINGS.read(settings.exchange_dir)
    online = ratings[ratings[Columns.SPLIT] == Split.ONLINE].set_index([Columns.USER, Columns.ITEM])[Columns.RATING]
    raw = sources.load(settings.offline_dir / "raw").ratings
    keys = pd.MultiIndex.from_frame(raw[[Columns.USER, Columns.ITEM]])
    turned = raw[Columns.RATING].where(~keys.isin(online.index), 6 - raw[Columns.RATING])
    assert (turned != raw[Columns.RATING]).any()
    source = tmp_path / "turned"
    source.mkdir()
    for name in ("users.dat", "movies.dat"):
        (source / name).write_bytes((settings.offline_dir / "raw" / name).read_bytes())
    lines = raw.assign(rating=turned).itertuples(index=False, name=None)
    (source / "ratings.dat").write_text("".join("::".join(map(str, line)) + "\n" for line in lines))
    other = Settings(data=source, exchange_dir=tmp_path / "exchange")
    walk(other)
    for part in artifacts.RELEASE_PARTS:
        assert part.at(other.exchange_dir).read_bytes() == part.at(settings.exchange_dir).read_bytes(), part.path


def test_walking_the_road_again_gives_the_same_bytes(settings: Settings, tmp_path: Path) -> None:
    again = Settings(data=settings.data, exchange_dir=tmp_path / "exchange")
    walk(again)
    files = [path.relative_to(again.exchange_dir) for path in again.exchange_dir.rglob("*") if path.is_file()]
    assert len(files) == 27
    for file in files:
        assert (again.exchange_dir / file).read_bytes() == (settings.exchange_dir / file).read_bytes(), file


def test_a_user_without_training_rows_is_served_but_has_no_vector(settings: Settings) -> None:
    folder = settings.exchange_dir
    cold = {5 * (user + 1) for user in range(FEW)}
    with_vector = set(artifacts.USER_VECTORS.read(folder)[Columns.USER])
    assert with_vector == {5 * (user + 1) for user in range(USERS)} - cold
    preferences = artifacts.USER_PREFERENCES.read(folder).set_index(Columns.USER)[Columns.GENRES]
    assert all(len(preferences[user]) == 0 for user in cold)
    features = artifacts.USER_FEATURES.read(folder).set_index(Columns.USER)
    assert (features.loc[sorted(cold)].drop(columns=["gender", "age", "occupation"]) == 0).all(axis=None)


def test_the_vocabularies_and_vectors_are_those_of_the_training_rows(settings: Settings) -> None:
    rows = offline_rows(settings)
    trained = sorted(set(rows.loc[rows[Columns.SPLIT] == Split.TRAIN, Columns.ITEM]))
    spec = FeatureSpec.model_validate(artifacts.FEATURE_SPEC.read(settings.exchange_dir))
    assert list(spec.one_hot[1].vocabulary) == trained
    assert artifacts.ITEM_VECTORS.read(settings.exchange_dir)[Columns.ITEM].tolist() == trained


def test_samples_are_what_the_spec_makes_of_the_stored_values(settings: Settings) -> None:
    """A row of the samples, put together as the server does: profile, the row's own statistics, the item's flags."""
    folder = settings.exchange_dir
    spec = FeatureSpec.model_validate(artifacts.FEATURE_SPEC.read(folder))
    samples, rows = artifacts.SAMPLES.read(folder), offline_rows(settings)
    users = artifacts.USER_FEATURES.read(folder).set_index(Columns.USER, drop=False)
    items = artifacts.ITEM_FEATURES.read(folder).set_index(Columns.ITEM, drop=False)
    statistics = artifacts.IMPRESSION_TERMS.read(folder)
    for row in range(0, len(samples), 97):
        user = users.loc[rows[Columns.USER][row]].copy()
        user.update(statistics.iloc[row].drop(Columns.ITEM))
        item = items.loc[rows[Columns.ITEM][row]]
        made = spec.assemble(
            spec.encode_users({name: [value] for name, value in user.items()}),
            spec.encode_items({name: [value] for name, value in item.items()}),
        )
        assert samples.loc[row, list(spec.columns)].tolist() == made[0].tolist()
    assert samples[Columns.LABEL].equals(rows[Columns.LABEL])


def test_the_exported_vectors_rank_as_the_fm_does(settings: Settings) -> None:
    data = training.fm_data(settings)
    assert data.train.inputs.min() == 1  # every id of the training rows is known
    users, items = (
        np.stack(table.read(settings.exchange_dir)[Columns.VECTOR])
        for table in (artifacts.USER_VECTORS, artifacts.ITEM_VECTORS)
    )
    assert users.shape == (len(data.users), 18)
    np.testing.assert_allclose(np.linalg.norm(items, axis=1), np.linalg.norm(items[0]), rtol=1e-5)
    assert set(map(tuple, users[:, 16:])) == {(1.0, 0.0)}


def test_the_ranker_loads_and_gives_probabilities(settings: Settings) -> None:
    report = artifacts.RANK_REPORT.read(settings.exchange_dir)
    served = load_ranker(artifacts.RANK_WEIGHTS.read(settings.exchange_dir), report["model"])
    data, spec = training.ranker_data(settings)
    scores = served(data.test.inputs).detach().numpy()
    assert data.test.inputs.shape[1] == spec.width
    assert scores.shape == (len(data.test.labels), 1)
    assert ((scores > 0) & (scores < 1)).all()


def test_reports_are_plain_json(settings: Settings) -> None:
    for report in (artifacts.FM_REPORT, artifacts.RANK_REPORT, artifacts.TERM_RECALL_REPORT):
        json.loads(report.at(settings.exchange_dir).read_text(), parse_constant=lambda name: pytest.fail(name))


def test_a_step_without_the_one_before_it_says_which(tmp_path: Path) -> None:
    nowhere = Settings(exchange_dir=tmp_path)
    for step, before in zip(STEPS[1:], ("s0_get", "s0_get", "s2_term", "s1_data", "s2_term", "s1_feat"), strict=True):
        with pytest.raises(artifacts.ArtifactError, match=before):
            importlib.import_module(step).main(nowhere)


def test_a_raw_file_that_changed_is_noticed(movielens: Callable[..., Path], tmp_path: Path) -> None:
    settings = Settings(data=movielens(), exchange_dir=tmp_path)
    importlib.import_module(STEPS[0]).main(settings)
    with (tmp_path / "offline/raw/ratings.dat").open("a") as file:
        file.write("5::7::3::1\n")
    with pytest.raises(StepError, match=r"ratings\.dat is not the file"):
        importlib.import_module(STEPS[1]).main(settings)


def test_nothing_to_train_on_is_one_sentence(movielens: Callable[..., Path], tmp_path: Path) -> None:
    settings = Settings(data=movielens(users=8), exchange_dir=tmp_path)
    importlib.import_module(STEPS[0]).main(settings)
    with pytest.raises(StepError, match="nothing to train on"):
        importlib.import_module(STEPS[1]).main(settings)


def test_a_failed_read_leaves_what_was_there(settings: Settings, movielens: Callable[..., Path]) -> None:
    bad = movielens("bad")
    (bad / "ratings.dat").write_text("5::7::3\n")
    before = artifacts.sha256(settings.offline_dir / "raw" / "ratings.dat")
    with pytest.raises(StepError, match="line 1"):
        importlib.import_module(STEPS[0]).main(settings.model_copy(update={"data": bad}))
    assert artifacts.sha256(settings.offline_dir / "raw" / "ratings.dat") == before


def test_the_second_time_what_lies_there_is_taken(settings: Settings) -> None:
    before = artifacts.DATASET.at(settings.exchange_dir).read_bytes()
    importlib.import_module(STEPS[0]).main(settings.model_copy(update={"data": None}))
    assert artifacts.DATASET.at(settings.exchange_dir).read_bytes() == before
