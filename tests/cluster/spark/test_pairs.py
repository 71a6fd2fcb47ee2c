"""Counts of pairs of items on Spark: those of one machine."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.sparse as sp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from offline.engines.spark import pairs
from offline.engines.spark.counting import SparkPairs, counts_of
from offline.engines.spark.engine import SparkEngine

from data_exchange_center.files import parts_of
from data_exchange_center.settings import Settings
from offline.data.sequences import PairCount
from offline.readers import read_inputs
from tests.cluster.spark.both import stored
from tests.cluster.spark.worlds import SKEWED, WORLDS, written
from tests.unit.offline.synthetic import made_up_movielens

ASKED = [PairCount(), PairCount(share=0.7), PairCount(window=10), PairCount(share=0.7, window=3)]


def expect_equal(engine: SparkEngine, left: Settings, asked: PairCount, folder: Path) -> sp.csr_matrix:
    past = read_inputs(left).data
    pairs.count(engine.spark, left.exchange_dir, asked, 3, folder)
    found = counts_of(pa.concat_tables(map(pq.read_table, parts_of(folder))), past.n_items + 1)
    expected = asked.of(past)
    for mine, other in (
        (found.indptr, expected.indptr),
        (found.indices, expected.indices),
        (found.data, expected.data),
    ):
        np.testing.assert_array_equal(mine, other)
    assert found.dtype == expected.dtype
    return found


@pytest.mark.parametrize("asked", ASKED)
def test_pairs(engine: SparkEngine, tmp_path: Path, asked: PairCount, monkeypatch: pytest.MonkeyPatch) -> None:
    """In batches that end within users, and in matrices that are handed on in pieces."""
    monkeypatch.setattr(pairs, "BATCH", 37)
    monkeypatch.setattr(pairs, "PAIRS_IN_BATCH", 50)
    left = stored(made_up_movielens(tmp_path / "films"), tmp_path / "stored", users_in_a_part=25)
    assert expect_equal(engine, left, asked, tmp_path / "counts").nnz > 50


def test_a_step_that_spark_does_not_run_is_told_the_counts(tmp_path: Path) -> None:
    """By a process of its own, which leaves nothing behind."""
    left = stored(made_up_movielens(tmp_path / "films"), tmp_path / "stored", users_in_a_part=25)
    there = sorted(left.exchange_dir.rglob("*"))
    past = read_inputs(left).data
    found = replace(past, elsewhere=SparkPairs(left, past.n_items)).earlier(0.7).followers(3)
    assert found.nnz
    assert (found != past.earlier(0.7).followers(3)).nnz == 0
    assert sorted(left.exchange_dir.rglob("*")) == there


@settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(world=WORLDS, users_in_a_part=st.integers(1, 8), asked=st.sampled_from(ASKED))
def test_small_worlds(engine: SparkEngine, world: dict, users_in_a_part: int, asked: PairCount) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        left = stored(written(world, Path(scratch) / "data"), Path(scratch) / "stored", users_in_a_part)
        expect_equal(engine, left, asked, Path(scratch) / "counts")


def test_a_skewed_user(engine: SparkEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose rows are many batches."""
    monkeypatch.setattr(pairs, "BATCH", 5000)
    left = stored(written(SKEWED, tmp_path / "data"), tmp_path / "stored", users_in_a_part=100)
    assert expect_equal(engine, left, PairCount(window=10), tmp_path / "counts").sum() > 20_000
