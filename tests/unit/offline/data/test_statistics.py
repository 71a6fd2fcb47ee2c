from __future__ import annotations

import numpy as np
import pandas as pd

from data_exchange_center.features import one_hot
from data_exchange_center.recipes import DEFAULT, ListRankerRecipe
from offline.data.inputs import Inputs
from offline.data.sequences import Sequences
from offline.data.statistics import item_statistics, list_spec, user_statistics
from tests.datasets import STARS

ITEMS, RATINGS = np.array([1, 2, 1, 3, 1]), np.array([5, 2, 4, 4, 1])
DATA = Sequences(
    np.array([7, 8, 9]), np.array([10, 20, 30]), np.array([0, 2, 2, 5]), ITEMS, RATINGS, RATINGS > 3, np.arange(5) * 100
)
YEARS = np.array([np.nan, 1990, 1991, np.nan])[:, None]
PEOPLE = pd.DataFrame({"userid": [7, 8, 9], "gender": ["F", "M", "F"], "age": [1, 18, 25], "occupation": ["a"] * 3})


PROFILE = (one_hot("gender", "user", "FM"), one_hot("age", "user", [1, 18]), one_hot("occupation", "user", "ab"))
CODES = np.ones((3, 3), np.int64)
INPUTS = Inputs(STARS, DATA, ("Drama",), np.zeros((4, 1), np.float32), YEARS, PEOPLE, PROFILE, CODES)


def test_items_are_counted() -> None:
    found = item_statistics(DATA, INPUTS).set_index("itemid")
    assert found.index.tolist() == [10, 20, 30]
    assert (found.dtypes == "int64").all()
    assert found["item_ratings"].tolist() == [3, 1, 1]
    assert found["item_likes"].tolist() == [2, 0, 1]
    assert found["item_recent"].tolist() == [1, 0, 0]  # the newest fifth
    assert found["item_year"].tolist() == [1990, 1991, 0]
    mean = RATINGS.mean()
    assert found["item_mean_rating_x100"].tolist() == [
        round(100 * (total + 10 * mean) / (n + 10)) for total, n in ((10, 3), (2, 1), (4, 1))
    ]


def test_a_user_without_ratings_has_rated_nothing() -> None:
    assert user_statistics(DATA, PEOPLE)["n_ratings"].tolist() == [2, 0, 3]


def test_the_spec_has_the_codes_of_the_sequences() -> None:
    spec = list_spec(INPUTS, DEFAULT, ListRankerRecipe(history=4))
    assert [feature.name for feature in spec.one_hot] == ["itemid", "gender", "age"]
    assert spec.one_hot[0].encode([10, 30, 40]).tolist() == [1, 3, 0]
    assert spec.width == 3 + 6 + 7 + 3 * 4
    assert INPUTS.codes(["age", "gender"]).shape == (3, 2)
