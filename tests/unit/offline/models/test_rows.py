from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from data_exchange_center.columns import Columns, Split
from data_exchange_center.recipes import RECIPES
from offline.data.sequences import sequences
from offline.models.fm import codes_of, fm_data


def test_an_id_outside_the_vocabulary_is_unknown() -> None:
    codes = codes_of(pd.Series([9, 1, 4, 5]), np.array([1, 4, 9], dtype=np.int32))
    assert codes.tolist() == [3, 1, 2, 0]


@pytest.mark.parametrize("told", [0, 1, 3])
def test_what_servers_were_told_trains_and_the_rest_is_split_as_without_it(told: int) -> None:
    """Wherever it happened: of user 2, in the middle."""
    own = pd.DataFrame({Columns.USER: np.repeat([1, 2], 10), Columns.ITEM: [*range(1, 11), *range(11, 21)]})
    own[Columns.TIMESTAMP] = 100 * own[Columns.ITEM]
    rows = own.assign(**{Columns.RATING: 5, Columns.SPLIT: Split.TRAIN})
    more = pd.DataFrame({Columns.USER: [1] * told + [2] * told, Columns.ITEM: range(21, 21 + 2 * told)})
    more[Columns.TIMESTAMP] = np.where(more[Columns.USER] == 1, 9_999, 1_450)
    both = pd.concat([rows, more.assign(**{Columns.RATING: 5, Columns.SPLIT: Split.RECORDED})])
    both = both.sort_values([Columns.USER, Columns.TIMESTAMP], kind="stable")
    data = RECIPES["source"].data
    plain, joined = (fm_data(sequences(each, range(1, 31), 3), data) for each in (rows, both))
    tested = [made.test.inputs.shape[0] for made in (plain, joined)]
    assert tested == [4, 4]
    assert set(joined.items) == set(plain.items) | set(more[Columns.ITEM])
    assert len(joined.train.labels) == len(plain.train.labels) + 2 * told
