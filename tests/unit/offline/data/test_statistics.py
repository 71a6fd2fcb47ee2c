"""Statistics are counted point in time, and each is one entry of the registry."""

import numpy as np
import pytest

from data_exchange_center.features import DenseFeature, FeatureSpec
from data_exchange_center.steps import StepError
from offline.data.statistics import STATISTICS, UserStatistic
from offline.rank.s1_feature_engi import require_unique_columns
from tests.unit.offline.data.ratings import events_of

DATA = events_of([[1, 2], [], [1, 3, 1]], [[5, 2], [], [4, 4, 1]])


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


def spec_of(*names: str) -> FeatureSpec:
    dense = tuple(DenseFeature(name=name, entity="item", scale=1) for name in names)
    return FeatureSpec(one_hot=(), multi_hot=(), dense=dense, genres=())


def test_an_attribute_named_like_a_statistic_is_refused() -> None:
    require_unique_columns(spec_of("item_ratings", "item_year"))
    with pytest.raises(
        StepError, match="2 columns of the ranker are called 'item_ratings'"
    ):
        require_unique_columns(spec_of("item_ratings", "item_year", "item_ratings"))
