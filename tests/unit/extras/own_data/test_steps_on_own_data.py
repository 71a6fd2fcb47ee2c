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
from research.evaluation.one_table import evaluate, show
from tests.datasets import STARS, dumped, parsed
from tests.made_up_data import exported, half_stars, shop
from tests.unit.offline.synthetic import made_up_movielens, run_steps

every_recipe = pytest.mark.parametrize("recipe", sorted(RECIPES))


def pipeline(data: Path, recipe: str = "default") -> Settings:
    """Run all steps, in an exchange folder beside the data."""
    exchange = data.with_name(f"{data.name}-exchange")
    return run_steps(Settings(data=data, exchange_dir=exchange, recipe_name=recipe))


def test_a_shop_becomes_a_release_and_is_evaluated(tmp_path: Path) -> None:
    settings = pipeline(shop(tmp_path / "data", users=80, items=50, views=1_200))
    manifest = release_of_artifacts(settings)
    assert manifest.dataset == read_dataset(settings.artifacts_dir)
    assert (manifest.dataset.name, manifest.dataset.user_ids) == ("shop", "string")
    assert manifest.feature_spec.genres == ()
    ratings = artifacts.RATINGS.read(settings.artifacts_dir)
    assert ratings.duplicated([Columns.USER, Columns.ITEM]).sum() > 100
    assert (ratings[Columns.LABEL] == 1).all()

    found = evaluate(settings, "a test")
    json.dumps(found, allow_nan=False)
    past = ratings[ratings[Columns.SPLIT] != Split.HOLDOUT]
    users = past[Columns.USER].nunique()
    assert found["without a past"]["users"] == 80 - users > 0
    shown = Console(record=True, width=200, file=io.StringIO())
    show(found, shown)
    assert "without a past, who are in no mean above" in shown.export_text()
    recall = {name: each["recall@50"] for name, each in found["table"].items()}
    assert recall["default: ranked"] > recall["popularity"] / 2


@every_recipe
@pytest.mark.parametrize("has_users", [True, False])
def test_half_stars_and_hundreds_of_categories_become_a_release(
    tmp_path: Path, recipe: str, has_users: bool
) -> None:
    """Also where users are ids and no more, as in most sets of ratings."""
    data = half_stars(tmp_path / "data", users=50, items=320)
    if not has_users:
        text = (data / "dataset.toml").read_text(encoding="utf-8")
        before, _, after = text.partition("[users]")
        without = before + after[after.index("[items]") :]
        (data / "dataset.toml").write_text(without, encoding="utf-8")
    settings = pipeline(data, recipe)
    manifest = release_of_artifacts(settings)
    assert len(manifest.feature_spec.genres) == 300
    assert len(set(manifest.feature_spec.columns)) == manifest.feature_spec.width
    assert manifest.dataset.crossed == (("land", "jahre") if has_users else ())
    ratings = artifacts.RATINGS.read(settings.artifacts_dir)
    assert ratings[Columns.RATING].between(1, 10).all()
    assert ((ratings[Columns.RATING] > 7) == (ratings[Columns.LABEL] == 1)).all()
    json.dumps(evaluate(settings, "a test"), allow_nan=False)


@every_recipe
def test_movielens_under_other_names_is_movielens(tmp_path: Path, recipe: str) -> None:
    """Every artifact is the same, byte for byte; only dataset.json, and what reports say of it, differs between the
    other."""
    folder = made_up_movielens(tmp_path / "made-up")
    data = parsed(folder)
    users = data.users.assign(occupation="job " + data.users["occupation"])
    dumped(data._replace(users=users), folder)
    other = exported(parsed(folder), tmp_path / "exported")
    one, two = (pipeline(place, recipe).artifacts_dir for place in (folder, other))
    compared = 0
    for file in artifacts.ARTIFACTS:
        if file == artifacts.DATASET or not file.at(one).is_file():
            continue
        if file in provenance.REPORTS:
            inputs = {provenance.INPUTS: None}
            assert file.read(one) | inputs == file.read(two) | inputs, file.path
        else:
            assert file.at(one).read_bytes() == file.at(two).read_bytes(), file.path
        compared += 1
    assert compared > len(artifacts.RELEASE_PARTS)
    own, exports = read_dataset(one), read_dataset(two)
    differing = own.model_dump(include={"name", "origin", "sha256"})
    assert own == exports.model_copy(update=differing)


def rows(
    train: list[int], held: list[int] | None = None, label: int = 1
) -> pd.DataFrame:
    """The users' events of training and held-out ones, each in a second of its own."""
    users = train + (held or [])
    split = [Split.HOLDOUT] * len(users)
    split[: len(train)] = [Split.TRAIN] * len(train)
    columns = {
        Columns.SPLIT: split,
        Columns.LABEL: label,
        Columns.USER: users,
        Columns.TIMESTAMP: range(len(users)),
    }
    return pd.DataFrame(columns)


NINE = [1] * 5 + [2] * 4
DAYS = rows([1, 1, 1, 2, 2, 2, 3, 3, 3], [1, 2, 3])
# each user's events are of one day, so that none is before the held-out one
ONE_DAY = DAYS.assign(**{Columns.TIMESTAMP: [1, 1, 1, *[86400] * 6, 2, *[86400] * 2]})
PLAIN = STARS.model_copy(update={"terms": (), "holdout": HoldoutRule(share=0.1)})
MIXED = rows(NINE).assign(**{Columns.LABEL: [0, 1, 1] * 3})


@pytest.mark.parametrize(
    ("data", "recipe", "message"),
    [
        (
            rows([1], [1]),
            "default",
            r"50% of all events would be held out .*\[holdout\]",
        ),
        (rows([1] * 6, [2, 3, 4]), "default", "75% of 4 users .* at_least = 0"),
        (rows([1] * 6, [1, 2]), "default", r"not held out: 1 of 2; .*\[holdout\]"),
        (rows([1, 2, 3]), "default", "none of 3 users has two .*holdout"),
        (rows(NINE, label=0), "default", "none of 9 .* 1 to 5: lower positive_above"),
        (rows(NINE), "source", "all 9 .* liked: .*RECSYS_RECIPE=default"),
        (ONE_DAY, "default", "67% of 3 users have no event before .* times of day"),
        (MIXED, "source", r"'source' needs items with a categorical .* \[items\]"),
    ],
)
def test_nonsense_is_refused(data: pd.DataFrame, recipe: str, message: str) -> None:
    dataset = PLAIN if data is MIXED else STARS
    with pytest.raises(StepError, match=message):
        validate_data(counted(data), dataset, RECIPES[recipe])


@pytest.mark.parametrize("data", [DAYS, MIXED])
def test_what_is_fine_is_not_refused(data: pd.DataFrame) -> None:
    validate_data(counted(data), PLAIN, RECIPES["default"])
