"""Point-in-time statistics on Spark: those of pandas, row for row."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from data_exchange_center import artifacts
from offline.data import terms
from offline.engines.in_memory import PandasEngine
from offline.engines.spark import whole_users
from offline.engines.spark.engine import SparkEngine
from tests.cluster.spark.both import through
from tests.made_up_data import half_stars, shop
from tests.unit.offline.synthetic import made_up_movielens

TABLES = (artifacts.IMPRESSION_TERMS, artifacts.USER_TERMS)


@pytest.mark.parametrize("make", [made_up_movielens, half_stars, shop])
def test_terms_of_every_kind_of_data(engine: SparkEngine, tmp_path: Path, make, monkeypatch) -> None:
    """From parts that Spark has written, in batches that end within users."""
    monkeypatch.setattr(whole_users, "BATCH", 37)
    data, found = make(tmp_path / "data"), []
    for name, each in (("a", PandasEngine()), ("b", engine)):
        exchange = tmp_path / name
        items = through(each, data, exchange)[5]
        genres = terms.genre_names(items)
        rows = each.terms(exchange, terms.genre_codes(items, genres), genres, 10)
        found.append((rows, *(table.read(exchange) for table in TABLES)))
    (rows, *of_pandas), (rows_of_spark, *of_spark) = found
    assert rows_of_spark == rows == len(of_pandas[0])
    for mine, other in zip(of_pandas, of_spark, strict=True):
        pd.testing.assert_frame_equal(other, mine)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_no_table_ends_within_a_user(size: int) -> None:
    users = np.repeat([3, 4, 9, 10, 11], [1, 5, 2, 9, 1])
    table = pa.table({"userid": users, "row": np.arange(len(users))})
    found = list(whole_users.whole_users(table.to_batches(max_chunksize=size)))
    assert pa.concat_tables(found).equals(table)
    ids = [set(part["userid"].to_pylist()) for part in found]
    assert all(not a & b for a, b in pairwise(ids))
    assert max(part.num_rows for part in found) <= 9 + size


def test_without_rows_there_is_nothing() -> None:
    assert list(whole_users.whole_users([])) == []
