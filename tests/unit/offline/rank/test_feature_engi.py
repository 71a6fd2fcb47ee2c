from __future__ import annotations

import pytest

from data_exchange_center.features import DenseFeature, FeatureSpec
from data_exchange_center.steps import StepError
from offline.rank.s1_feature_engi import named_apart


def spec_of(*names: str) -> FeatureSpec:
    dense = tuple(DenseFeature(name=name, entity="item", scale=1) for name in names)
    return FeatureSpec(one_hot=(), multi_hot=(), dense=dense, genres=())


def test_an_attribute_with_the_name_of_a_statistic_is_one_sentence() -> None:
    assert named_apart(spec_of("item_ratings", "item_year")).width == 2
    with pytest.raises(StepError, match="2 columns of the ranker are called 'item_ratings'"):
        named_apart(spec_of("item_ratings", "item_year", "item_ratings"))
