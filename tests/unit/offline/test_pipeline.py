"""The seven steps in order, for every recipe, on a small MovieLens made up here."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from data_exchange_center import artifacts, provenance
from data_exchange_center.artifacts import (
    Artifact,
    ArtifactError,
    Binary,
    Document,
    Table,
)
from data_exchange_center.columns import Columns, Split
from data_exchange_center.features import FeatureSpec
from data_exchange_center.files import sha256
from data_exchange_center.recipes import RECIPES
from data_exchange_center.release_parts import release_of_artifacts
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from data_exchange_center.wire import vector_of
from tests.datasets import dumped, parsed
from tests.unit.offline.synthetic import made_up_movielens, run_steps, step

USERS, FEW, LAST = 60, 10, 10  # users 1..10 have no more ratings than are held out
COLD = {5 * (user + 1) for user in range(FEW)}


# (step, "read" or "write") -> artifacts' paths
Touched = dict[tuple[str, str], set[str]]


def run_watched(settings: Settings) -> Touched:
    """Run the steps, and say what each has read and written."""
    touched: Touched = {}

    def watching(
        step: str, verb: str, method: Callable[..., Any]
    ) -> Callable[..., Any]:
        def watched(artifact: Artifact, *args: Any, **named: Any) -> Any:
            touched.setdefault((step, verb), set()).add(artifact.path)
            return method(artifact, *args, **named)

        return watched

    for number, each in enumerate(provenance.STEPS):
        with pytest.MonkeyPatch.context() as patch:
            for kind, read in (
                (Table, "read_arrow"),
                (Document, "read"),
                (Binary, "read"),
            ):
                for verb, method in (("read", read), ("write", "write")):
                    patch.setattr(
                        kind, method, watching(each.path, verb, getattr(kind, method))
                    )
            step(settings, number)
    return touched


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory,
) -> Mapping[str, tuple[Settings, Touched]]:
    """Recipe -> where its steps have run, and what they touched."""
    folder = tmp_path_factory.mktemp("pipelines")
    data = made_up_movielens(folder / "ml")
    pipelines = [
        Settings(data=data, exchange_dir=folder / "exchange", recipe_name=name)
        for name in RECIPES
    ]
    return {
        settings.recipe_name: (settings, run_watched(settings))
        for settings in pipelines
    }


@pytest.fixture(scope="module")
def pipelines(
    finished: Mapping[str, tuple[Settings, Touched]],
) -> Mapping[str, Settings]:
    """Recipe -> where its steps have run."""
    return {name: settings for name, (settings, _) in finished.items()}


@pytest.fixture(params=sorted(RECIPES))
def settings(
    request: pytest.FixtureRequest, pipelines: Mapping[str, Settings]
) -> Settings:
    return pipelines[request.param]


def offline_rows(settings: Settings) -> pd.DataFrame:
    ratings = artifacts.RATINGS.read(settings.artifacts_dir)
    return ratings[ratings[Columns.SPLIT] != Split.HOLDOUT].reset_index(drop=True)


def test_every_artifact_is_there_and_makes_a_release(settings: Settings) -> None:
    manifest = release_of_artifacts(settings)
    assert manifest.dataset.name == "other"
    assert manifest.dataset.counts == {
        "ratings": 1830,
        "users": USERS,
        "items": 80,
        "genres": 3,
    }
    assert list(manifest.vector_dims) == [
        channel.name for channel in settings.recipe.recall.vector_channels
    ]
    assert manifest.model["model"]["kind"] == settings.recipe.ranker.kind
    losses = [
        epoch["loss"]
        for epoch in artifacts.RANK_REPORT.read(settings.artifacts_dir)["epochs"]
    ]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    "declared", provenance.STEPS, ids=lambda declared: declared.path
)
@pytest.mark.parametrize("name", sorted(RECIPES))
def test_a_step_reads_and_writes_what_is_declared(
    declared: provenance.Step,
    name: str,
    finished: Mapping[str, tuple[Settings, Touched]],
) -> None:
    settings, touched = finished[name]
    inputs = [file.path for file in declared.inputs(settings.recipe)]
    reported = {artifacts.DATASET.path} - set(inputs)  # names figures
    assert touched.get((declared.path, "read"), set()) - reported == set(inputs)
    assert touched[declared.path, "write"] == {
        file.path for file in declared.outputs(settings.recipe)
    }
    if inputs:
        report = declared.report.read(settings.artifacts_dir)
        assert list(report[provenance.INPUTS]) == inputs


def with_another_future(raw: pd.DataFrame) -> pd.DataFrame:
    """Everybody's last ten ratings are of other items, the other way round and at other times, still the last."""
    frame = raw.sort_values(
        [Columns.USER, Columns.TIMESTAMP], kind="stable", ignore_index=True
    )
    itemids = np.unique(frame[Columns.ITEM])
    parts = []
    for _, own in frame.groupby(Columns.USER):
        past, future = own[:-LAST], own[-LAST:]
        unseen = np.setdiff1d(itemids, past[Columns.ITEM])
        other = np.roll(unseen, 7)[: len(future)]
        times = frame[Columns.TIMESTAMP].max() + 10_000 * np.arange(1, len(future) + 1)
        turned = {
            Columns.ITEM: other,
            Columns.RATING: 6 - future[Columns.RATING],
            Columns.TIMESTAMP: times,
        }
        parts += [past, future.assign(**turned)]
    return pd.concat(parts, ignore_index=True)


def test_no_training_input_holds_the_last_ten(
    settings: Settings, tmp_path: Path
) -> None:
    """Other last tens, and all that is trained on, trained or served stays the same, byte for byte."""
    data = parsed(settings.data)
    other = Settings(
        data=tmp_path / "turned",
        exchange_dir=tmp_path / "exchange",
        recipe_name=settings.recipe_name,
    )
    dumped(data._replace(ratings=with_another_future(data.ratings)), other.data)
    run_steps(other)
    before, after = (
        artifacts.RATINGS.read(pipeline.artifacts_dir) for pipeline in (settings, other)
    )
    held_out = before[Columns.SPLIT] == Split.HOLDOUT
    assert (before[~held_out] == after[~held_out]).all(axis=None)
    assert (before[held_out] != after[held_out])[
        [Columns.ITEM, Columns.TIMESTAMP]
    ].mean().min() > 0.9

    reports = {report.path for report in provenance.REPORTS}
    reported = {
        artifacts.DATASET.path,
        artifacts.RATINGS.path,
    }  # what the other ratings are
    compared = set()
    for file in files_of(settings) - reported - {artifacts.RAW_INTERACTIONS.path}:
        one, two = (
            (pipeline.artifacts_dir / file).read_bytes()
            for pipeline in (settings, other)
        )
        if file in reports:
            one, two = (without_inputs(content) for content in (one, two))
        assert one == two, file
        compared.add(file)
    assert {part.path for part in artifacts.RELEASE_PARTS} <= compared
    trained_on = {
        "pairs": {artifacts.SAMPLES.path},
        "lists": {artifacts.LISTS.path, artifacts.TRAINING_CHANNELS.path},
    }
    assert trained_on[settings.recipe.ranker.examples] <= compared


def files_of(settings: Settings) -> set[str]:
    folder = settings.artifacts_dir
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file()
    }


def without_inputs(report: bytes) -> bytes:
    content: dict[str, Any] = json.loads(report)
    assert content.pop(provenance.INPUTS)
    return json.dumps(content).encode()


def test_running_the_steps_again_gives_the_same_bytes(
    settings: Settings, tmp_path: Path
) -> None:
    again = settings.model_copy(update={"exchange_dir": tmp_path / "exchange"})
    run_steps(again)
    assert files_of(again) == files_of(settings)
    for file in files_of(again):
        assert (again.artifacts_dir / file).read_bytes() == (
            settings.artifacts_dir / file
        ).read_bytes(), file


def test_a_user_without_past_is_served_but_has_no_vector(settings: Settings) -> None:
    folder = settings.artifacts_dir
    vectors = artifacts.USER_VECTORS.read(folder).set_index(Columns.USER)
    state = artifacts.USER_STATE.read(folder).set_index(Columns.USER)
    assert len(vectors) == len(state) == USERS
    for name in vectors:
        assert set(vectors.index[vectors[name].isna()]) == COLD
    assert set(state.index[state[Columns.ITEMS].str.len() == 0]) == COLD
    preferences = artifacts.USER_PREFERENCES.read(folder).set_index(Columns.USER)[
        Columns.GENRES
    ]
    assert all(len(preferences[user]) == 0 for user in COLD)


def test_an_item_without_a_rating_has_no_vector(settings: Settings) -> None:
    rows = offline_rows(settings)
    trained, rated = (
        set(rows.loc[rows[Columns.SPLIT] == Split.TRAIN, Columns.ITEM]),
        set(rows[Columns.ITEM]),
    )
    vectors = artifacts.ITEM_VECTORS.read(settings.artifacts_dir).set_index(
        Columns.ITEM
    )
    for channel in settings.recipe.recall.vector_channels:
        there = vectors[vector_of(channel.name)].dropna()
        assert trained <= set(there.index) <= rated
        lengths = np.linalg.norm(np.stack(there.to_list()), axis=1)
        np.testing.assert_allclose(lengths, lengths[0], rtol=1e-5)


def test_samples_are_what_the_spec_makes_of_the_stored_values(
    pipelines: Mapping[str, Settings],
) -> None:
    """A row of the samples, put together as the server does: profile, the row's own statistics, the item's flags."""
    source = pipelines["source"]
    folder = source.artifacts_dir
    spec = FeatureSpec.model_validate(artifacts.FEATURE_SPEC.read(folder))
    samples, rows = artifacts.SAMPLES.read(folder), offline_rows(source)
    assert len(samples) == len(rows)
    users = artifacts.USER_FEATURES.read(folder).set_index(Columns.USER, drop=False)
    items = artifacts.ITEM_FEATURES.read(folder).set_index(Columns.ITEM, drop=False)
    statistics = artifacts.IMPRESSION_TERMS.read(folder)
    for row in range(0, len(samples), 97):
        user = users.loc[rows[Columns.USER][row]].copy()
        user.update(statistics.iloc[row].drop(Columns.ITEM))
        item = items.loc[rows[Columns.ITEM][row]]
        made = spec.assemble(
            spec.encode("user", {name: [value] for name, value in user.items()}),
            spec.encode("item", {name: [value] for name, value in item.items()}),
            int(rows[Columns.TIMESTAMP][row]),
        )
        assert samples.loc[row, list(spec.columns)].tolist() == made[0].tolist()
    assert samples[Columns.LABEL].equals(rows[Columns.LABEL])


@pytest.mark.parametrize("recipe", ["source", "default"])
def test_a_step_without_the_one_before_it_says_which(
    recipe: str, tmp_path: Path
) -> None:
    nowhere = Settings(exchange_dir=tmp_path, recipe_name=recipe)
    before = ("s0_get", "s1_data", "s2_term", "s0_get", "s0_get", "s1_feat")
    for number, name in enumerate(before, start=1):
        with pytest.raises(ArtifactError, match=name):
            step(nowhere, number)


def test_a_raw_file_that_changed_is_noticed(tmp_path: Path) -> None:
    settings = Settings(data=made_up_movielens(tmp_path / "ml"), exchange_dir=tmp_path)
    step(settings, 0)
    folder = settings.artifacts_dir
    artifacts.RAW_USERS.write(folder, artifacts.RAW_USERS.read(folder)[1:])
    with pytest.raises(
        StepError, match=r"users\.parquet is not the one that dataset.json describes"
    ):
        step(settings, 1)


def test_data_larger_than_memory_is_refused_before_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(data=made_up_movielens(tmp_path / "ml"), exchange_dir=tmp_path)
    step(settings, 0)
    monkeypatch.setenv("RECSYS_PANDAS__MEMORY_GB", "0.00001")
    with pytest.raises(
        StepError,
        match=r"1,830 events need .*RECSYS_PANDAS__MEMORY_GB=1 .*RECSYS_ENGINE=spark",
    ):
        step(settings, 1)
    assert not artifacts.RATINGS.at(settings.artifacts_dir).exists()


@pytest.mark.parametrize(
    ("users", "message"), [(11, "two items"), (16, "train the ranker on")]
)
def test_too_little_to_train_the_default_on_is_one_sentence(
    tmp_path: Path, users: int, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "offline.preprocess.s1_data_split.validate_data", lambda *_: None
    )
    data = made_up_movielens(tmp_path / "ml", users=users)
    settings = Settings(data=data, exchange_dir=tmp_path, recipe_name="default")
    with pytest.raises(StepError, match=message):
        run_steps(settings)


def test_a_failed_read_leaves_what_was_there(
    pipelines: Mapping[str, Settings], tmp_path: Path
) -> None:
    source = pipelines["source"]
    bad = made_up_movielens(tmp_path)
    (bad / "ratings.dat").write_text("5::7::3\n")
    before = sha256(artifacts.RAW_INTERACTIONS.at(source.artifacts_dir))
    with pytest.raises(StepError, match="line 1"):
        step(source.model_copy(update={"data": bad}), 0)
    assert sha256(artifacts.RAW_INTERACTIONS.at(source.artifacts_dir)) == before


# A step's docstring names the files that the step is declared to read and to write
