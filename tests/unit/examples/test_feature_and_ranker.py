"""examples/first_event_feature.py and examples/mlp_ranker.py: trained, exported, stored and served."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest

from data_exchange_center import artifacts
from data_exchange_center.columns import Columns, Split
from data_exchange_center.features import DAY_S, NEVER, ElapsedFeature
from data_exchange_center.recipes import RECIPES, EaseRecipe, ListRankerRecipe, RecallRecipe, Recipe
from data_exchange_center.release_parts import read_feature_spec
from data_exchange_center.settings import Settings
from data_exchange_center.steps import CheckError, StepError
from examples.mlp_ranker import MLPRecipe
from offline.data import statistics
from offline.data.sequences import Ints, Sequences
from offline.data.statistics import ItemStatistic, Overall
from offline.rank import s2_model_train
from offline.readers import read_inputs, read_lists
from offline_to_online.onnx_export import check_onnx, export_onnx
from offline_to_online.parity import RECOUNTS, Served
from offline_to_online.rows import feature_frames
from tests.unit.examples.conftest import walked_with
from tests.unit.offline_to_online.online_side import OnlineSide

SMALL = {"history": 5, "hidden": (8,), "epochs": 2, "batch_size": 32, "stride": 2}
RECALL = RecallRecipe(channels=(EaseRecipe(dim=8, l2=10.0),), candidates=30, num_candidates=30)
MINE = Recipe(name="my mlp", recall=RECALL, ranker=MLPRecipe(**SMALL))
KNOWN = Recipe(name="my list ranker", recall=RECALL, ranker=ListRankerRecipe(kernels=2, **SMALL))


def last_rated(past: Sequences, overall: Overall) -> Ints:
    """The second of each item's last event: an item's statistic may wait for the request's time as well."""
    last = np.full(past.n_items + 1, NEVER)
    np.maximum.at(last, past.items, past.times)
    return last


def last_rated_again(served: Served) -> pd.Series:
    return served.ratings.groupby(Columns.ITEM)[Columns.TIMESTAMP].max().reindex(served.ids, fill_value=NEVER)


LAST_RATED = ItemStatistic(ElapsedFeature(name="item_last_rated", entity="item", scale=5.0), last_rated, joined="max")


@pytest.fixture(scope="module", autouse=True)
def registered() -> Iterator[None]:
    """A statistic of items, with the example's of users; and recipes to walk with."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "STATISTICS", (*statistics.STATISTICS, LAST_RATED))
        patch.setitem(RECOUNTS, "item_last_rated", last_rated_again)
        for recipe in (MINE, KNOWN):
            patch.setitem(RECIPES, recipe.name, recipe)
        yield


@pytest.fixture(scope="module", params=[MINE, KNOWN], ids=lambda recipe: recipe.ranker.kind)
def walked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return walked_with(request.param, tmp_path_factory.mktemp("walked"))


@pytest.fixture
def side(walked: Settings) -> OnlineSide:
    """The server's functions over fakes, against the offline truth: users without a past, and with much of one."""
    users = artifacts.USERS.read(walked.exchange_dir)[Columns.USER].tolist()
    return OnlineSide(walked.exchange_dir, walked.recipe_name, [*users[10:14], *users[-4:]])


def test_what_is_stored_is_the_first_event(walked: Settings) -> None:
    folder = walked.exchange_dir
    ratings = artifacts.RATINGS.read(folder)
    past = ratings[ratings[Columns.SPLIT] != Split.HOLDOUT]
    stored = feature_frames(folder, read_feature_spec(folder))["user"].set_index(Columns.USER)["first_event"]
    first = past.groupby(Columns.USER)[Columns.TIMESTAMP].min()
    assert stored.to_dict() == first.reindex(stored.index, fill_value=NEVER).to_dict()
    assert NEVER in set(stored)
    assert stored.max() > 10_100 * DAY_S


def test_it_is_learned_from_point_in_time(walked: Settings) -> None:
    data = read_inputs(walked).data
    lists = read_lists(walked, data)
    told = lists.statistics[:, statistics.user_columns().index("first_event")]
    assert told.tolist() == data.times[data.starts[lists.users]].tolist()
    assert (lists.times > told).all()


def test_lists_of_other_statistics_are_not_trained_on(walked: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is registered, or taken away, between the two ranking steps."""
    others = tuple(each for each in statistics.STATISTICS if each is not LAST_RATED)
    monkeypatch.setattr(statistics, "STATISTICS", others)
    with pytest.raises(StepError, match=r"feature_spec\.json.*statistics\.py.*s1_feature_engi\.py again"):
        s2_model_train.main(walked)


def test_offline_and_online_agree(side: OnlineSide) -> None:
    assert max(side.check().values()) <= 1e-6
    column = side.spec.columns.index("first_event")
    user = side.userids[-1]
    raw = {name: side.truth.users.loc[[user], name].to_numpy() for name in side.truth.users}
    soon, late = (side.spec.encode_users(raw).at(at) for at in (10_300 * DAY_S, 10_301 * DAY_S))
    assert (late != soon).sum() == 1
    assert side.spec.of("user")[int((late != soon).argmax())].name == side.spec.columns[column]


@pytest.mark.parametrize(("entity", "name"), [("user", "first_event"), ("item", "item_last_rated")])
def test_a_moment_that_is_a_day_off_is_caught(side: OnlineSide, entity: str, name: str) -> None:
    frame = side.features.frames[entity]
    frame[name] = frame[name] + DAY_S
    with pytest.raises(CheckError, match=rf"column '{name}', user \d+, item \d+"):
        side.check()


def test_the_ranker_is_exported_and_scores_alike(side: OnlineSide) -> None:
    lists = side.truth.sampled_lists(4)
    content = export_onnx(side.truth.model, side.spec.widths, side.manifest.release)
    assert check_onnx(content, side.truth.model, lists) < 1e-6
    assert len(np.unique(np.concatenate([side.truth.scores(inputs) for inputs in lists]))) > 20
