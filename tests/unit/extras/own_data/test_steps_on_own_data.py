from __future__ import annotations

import io
import json
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from data_exchange_center import artifacts, provenance
from data_exchange_center.columns import Columns, Split
from data_exchange_center.dataset import HoldoutRule
from data_exchange_center.recipes import RECIPES
from data_exchange_center.release_parts import read_dataset, release_of_artifacts
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from offline.data.split import counted, validate_data
from offline.evaluation.evaluate import evaluate, show
from tests.datasets import STARS, dumped, parsed
from tests.made_up_data import exported, half_stars, shop
from tests.unit.offline.synthetic import made_up_movielens, run_steps


@pytest.fixture(scope="module")
def shop_pipeline(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("shop")
    data = shop(folder / "data", users=80, items=50, views=1_200)
    return run_steps(Settings(data=data, exchange_dir=folder / "exchange"))


@pytest.fixture(scope="module", params=sorted(RECIPES))
def half_star_pipeline(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Settings:
    folder = tmp_path_factory.mktemp("half")
    data = half_stars(folder / "data", users=50, items=320)
    return run_steps(
        Settings(data=data, exchange_dir=folder / "exchange", recipe_name=request.param)
    )


def test_a_shop_becomes_a_release(shop_pipeline: Settings) -> None:
    manifest = release_of_artifacts(shop_pipeline)
    assert manifest.dataset == read_dataset(shop_pipeline.artifacts_dir)
    assert (manifest.dataset.name, manifest.dataset.user_ids) == ("shop", "string")
    assert manifest.feature_spec.genres == ()
    ratings = artifacts.RATINGS.read(shop_pipeline.artifacts_dir)
    assert ratings.duplicated([Columns.USER, Columns.ITEM]).sum() > 100
    assert (ratings[Columns.LABEL] == 1).all()


def test_a_shop_is_evaluated(shop_pipeline: Settings) -> None:
    found = evaluate(shop_pipeline, "a test")
    json.dumps(found, allow_nan=False)
    assert found["dataset"] == "shop"
    ratings = artifacts.RATINGS.read(shop_pipeline.artifacts_dir)
    with_past = ratings.loc[
        ratings[Columns.SPLIT] != Split.HOLDOUT, Columns.USER
    ].nunique()
    assert found["without a past"]["users"] == 80 - with_past > 0
    shown = Console(record=True, width=200, file=io.StringIO())
    show(found, shown)
    assert "without a past, who are in no mean above" in shown.export_text()
    assert (
        found["table"]["default: ranked"]["recall@50"]
        > found["table"]["popularity"]["recall@50"] / 2
    )


def test_half_stars_and_hundreds_of_categories_become_a_release(
    half_star_pipeline: Settings,
) -> None:
    manifest = release_of_artifacts(half_star_pipeline)
    assert len(manifest.feature_spec.genres) == 300
    assert len(set(manifest.feature_spec.columns)) == manifest.feature_spec.width
    assert manifest.dataset.crossed == ("land", "jahre")
    ratings = artifacts.RATINGS.read(half_star_pipeline.artifacts_dir)
    assert ratings[Columns.RATING].between(1, 10).all()
    assert ((ratings[Columns.RATING] > 7) == (ratings[Columns.LABEL] == 1)).all()
    found = evaluate(half_star_pipeline, "a test")
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize("recipe", sorted(RECIPES))
def test_no_users_table_is_no_obstacle(tmp_path: Path, recipe: str) -> None:
    """Events with values and items with categories, as most sets of ratings are: users are ids and no more."""
    data = half_stars(tmp_path / "data", users=30, items=200, kinds=20)
    text = (data / "dataset.toml").read_text(encoding="utf-8")
    without = text[: text.index("[users]")] + text[text.index("[items]") :]
    (data / "dataset.toml").write_text(without, encoding="utf-8")
    settings = run_steps(
        Settings(data=data, exchange_dir=tmp_path / "exchange", recipe_name=recipe)
    )
    assert release_of_artifacts(settings).dataset.profile == ()
    assert list(artifacts.USERS.read(settings.artifacts_dir)) == [
        Columns.USER,
        Columns.OWN_ID,
    ]


def test_a_recipe_that_cannot_use_the_data_says_what_it_lacks(tmp_path: Path) -> None:
    data = shop(tmp_path / "shop", users=20, items=9, views=200)
    settings = Settings(
        data=data, exchange_dir=tmp_path / "exchange", recipe_name="source"
    )
    with pytest.raises(
        StepError,
        match=r"'source' needs events that are not liked.* RECSYS_RECIPE=default",
    ):
        run_steps(settings)
    assert not artifacts.RATINGS.at(settings.artifacts_dir).exists()


@pytest.mark.parametrize("recipe", sorted(RECIPES))
def test_movielens_under_other_names_is_movielens(tmp_path: Path, recipe: str) -> None:
    """Every artifact is the same, byte for byte; only dataset.json, and what reports say of it, differs between the
    other."""
    folder = made_up_movielens(tmp_path / "made-up")
    data = parsed(folder)
    dumped(
        data._replace(
            users=data.users.assign(occupation="job " + data.users["occupation"])
        ),
        folder,
    )
    data = parsed(folder)
    places = [folder, exported(data, tmp_path / "exported")]
    pipelines = [
        run_steps(
            Settings(
                data=place,
                exchange_dir=tmp_path / f"of-{place.name}",
                recipe_name=recipe,
            )
        )
        for place in places
    ]
    compared = 0
    for file in (
        artifact
        for artifact in artifacts.ARTIFACTS
        if artifact.at(pipelines[0].artifacts_dir).is_file()
    ):
        if file == artifacts.DATASET:
            continue
        if file in provenance.REPORTS:
            one, other = (file.read(pipeline.artifacts_dir) for pipeline in pipelines)
            assert {**one, provenance.INPUTS: None} == {
                **other,
                provenance.INPUTS: None,
            }, file.path
        else:
            assert (
                file.at(pipelines[0].artifacts_dir).read_bytes()
                == file.at(pipelines[1].artifacts_dir).read_bytes()
            ), file.path
        compared += 1
    assert compared > len(artifacts.RELEASE_PARTS)
    one, other = (read_dataset(pipeline.artifacts_dir) for pipeline in pipelines)
    assert one == other.model_copy(
        update={"name": one.name, "origin": one.origin, "sha256": one.sha256}
    )


def rows(split: list[str], labels: list[int], users: list[int]) -> pd.DataFrame:
    """Each event in a second of its own."""
    columns = {
        Columns.SPLIT: split,
        Columns.LABEL: labels,
        Columns.USER: users,
        Columns.TIMESTAMP: range(len(split)),
    }
    return pd.DataFrame(columns)


@pytest.mark.parametrize(
    ("split", "labels", "users", "recipe", "message"),
    [
        (
            ["train", "holdout"],
            [1, 1],
            [1, 1],
            "default",
            r"50% of all events would be held out .*\[holdout\]",
        ),
        (
            ["train"] * 6 + ["holdout"] * 3,
            [1] * 9,
            [1] * 6 + [2, 3, 4],
            "default",
            "75% of 4 users .* at_least = 0",
        ),
        (
            ["train"] * 6 + ["holdout"] * 2,
            [1] * 8,
            [1] * 7 + [2],
            "default",
            r"not held out: 1 of 2; .*\[holdout\]",
        ),
        (
            ["train"] * 3,
            [1] * 3,
            [1, 2, 3],
            "default",
            "none of 3 users has two .*holdout",
        ),
        (
            ["train"] * 9,
            [0] * 9,
            [1] * 5 + [2] * 4,
            "default",
            "none of 9 events .* 1 to 5: lower positive_above",
        ),
        (
            ["train"] * 9,
            [1] * 9,
            [1] * 5 + [2] * 4,
            "source",
            "all 9 .* liked: .*RECSYS_RECIPE=default",
        ),
    ],
)
def test_nonsense_is_refused(
    split: list[str], labels: list[int], users: list[int], recipe: str, message: str
) -> None:
    with pytest.raises(StepError, match=message):
        validate_data(counted(rows(split, labels, users)), STARS, RECIPES[recipe])


def test_dates_that_leave_most_users_unknown_are_refused() -> None:
    """Each user's events are of one day, so that none is before the held-out one."""
    data = rows(
        ["train", "train", "train", "holdout"] * 3,
        [1] * 12,
        [1] * 4 + [2] * 4 + [3] * 4,
    )
    validate_data(counted(data), STARS, RECIPES["default"])
    with pytest.raises(
        StepError, match=r"67% of 3 users have no event before .* times of day"
    ):
        validate_data(
            counted(data.assign(**{Columns.TIMESTAMP: [1, 1, 1, 2] + [86400] * 8})),
            STARS,
            RECIPES["default"],
        )


def test_a_recipe_of_terms_needs_some() -> None:
    plain = STARS.model_copy(update={"terms": (), "holdout": HoldoutRule(share=0.1)})
    fine = rows(["train"] * 9, [0, 1, 1] * 3, [1] * 5 + [2] * 4)
    validate_data(counted(fine), plain, RECIPES["default"])
    with pytest.raises(
        StepError, match=r"'source' needs items with a categorical .* \[items\]"
    ):
        validate_data(counted(fine), plain, RECIPES["source"])
