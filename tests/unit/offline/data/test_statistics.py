"""Statistics are counted point in time, and each is one entry of the registry."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from data_exchange_center.features import DenseFeature, FeatureSpec, one_hot
from data_exchange_center.recipes import DEFAULT, ListRankerRecipe
from data_exchange_center.steps import StepError
from offline.data.sequences import Inputs
from offline.data.statistics import STATISTICS, UserStatistic, list_spec
from offline.rank.s1_feature_engi import require_unique_columns
from tests.datasets import STARS
from tests.unit.offline.data.ratings import events_of

DATA = events_of([[1, 2], [], [1, 3, 1]], [[5, 2], [], [4, 4, 1]])
YEARS = np.array([np.nan, 1990, 1991, np.nan])[:, None]
PEOPLE = pd.DataFrame(
    {
        "userid": [1, 2, 3],
        "gender": ["F", "M", "F"],
        "age": [1, 18, 25],
        "occupation": ["a"] * 3,
    }
)
PROFILE = (
    one_hot("gender", "user", "FM"),
    one_hot("age", "user", [1, 18]),
    one_hot("occupation", "user", "ab"),
)
CODES = np.ones((3, 3), np.int64)
INPUTS = Inputs(
    STARS, DATA, ("Drama",), np.zeros((4, 1), np.float32), YEARS, PEOPLE, PROFILE, CODES
)


@pytest.mark.parametrize(
    "statistic", [each for each in STATISTICS if isinstance(each, UserStatistic)]
)
def test_a_users_statistic_is_what_it_was_at_the_time(statistic: UserStatistic) -> None:
    """After so many events of each user it is the same whether later ones have happened or not."""
    users = np.repeat(np.arange(DATA.n_users), DATA.lengths + 1)
    counts = np.concatenate([np.arange(n + 1) for n in DATA.lengths])
    found = statistic.after(DATA, users, counts)
    for user, count, value in zip(users, counts, found, strict=True):
        begun = DATA.select((DATA.users != user) | (DATA.positions < count))
        assert statistic.after(begun, np.array([user]), np.array([count])).tolist() == [
            value
        ]


def test_the_spec_follows_from_the_registry() -> None:
    spec = list_spec(INPUTS, DEFAULT, ListRankerRecipe(history=4))
    assert [feature.name for feature in spec.one_hot] == ["itemid", "gender", "age"]
    assert spec.one_hot[0].encode([1, 3, 4]).tolist() == [1, 3, 0]
    columns = tuple(each.column for each in STATISTICS)
    assert spec.dense[: len(columns)] == columns
    assert [number.name for number in spec.dense[len(columns) :]] == ["item_year"]


def spec_of(*names: str) -> FeatureSpec:
    dense = tuple(DenseFeature(name=name, entity="item", scale=1) for name in names)
    return FeatureSpec(one_hot=(), multi_hot=(), dense=dense, genres=())


def test_an_attribute_named_like_a_statistic_is_refused() -> None:
    require_unique_columns(spec_of("item_ratings", "item_year"))
    with pytest.raises(
        StepError, match="2 columns of the ranker are called 'item_ratings'"
    ):
        require_unique_columns(spec_of("item_ratings", "item_year", "item_ratings"))
