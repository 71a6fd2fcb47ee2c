"""What Spark reads, labels and splits is what pandas does, row for row."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from offline.engines.spark.engine import SparkEngine

from offline.engines.in_memory import PandasEngine
from offline.ingestion import sources
from past_one_machine.synthesis.expansion import Factors, expand
from tests.cluster.spark.both import expect_equal, refusal, through
from tests.cluster.spark.worlds import SKEWED, WORLDS, written
from tests.made_up_data import half_stars, shop
from tests.unit.offline.synthetic import made_up_movielens


@pytest.mark.parametrize("make", [made_up_movielens, shop, half_stars])
def test_data_sets_of_every_kind(engine: SparkEngine, tmp_path: Path, make) -> None:
    """MovieLens with ties in time; a shop's own ids and no values; ids too large for a number, half stars in levels."""
    expect_equal(engine, make(tmp_path / "data"), tmp_path / "out")


def test_an_expansion_in_parts(engine: SparkEngine, tmp_path: Path) -> None:
    with sources.opened(made_up_movielens(tmp_path / "films")) as source:
        expand(source, Factors.of(4), tmp_path / "x4", "films-x4")
    ratings = expect_equal(engine, tmp_path / "x4", tmp_path / "out")
    assert ratings["userid"].nunique() == 4 * 60


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(world=WORLDS)
def test_small_worlds(engine: SparkEngine, world: dict) -> None:
    """Ties in time, within a file and across; users with one event; one user with nearly all events."""
    with tempfile.TemporaryDirectory() as scratch:
        expect_equal(engine, written(world, Path(scratch) / "data"), Path(scratch) / "out")


def test_a_skewed_user(engine: SparkEngine, tmp_path: Path) -> None:
    """One user has 20,000 of 20,300 events: they pass through one task in batches."""
    ratings = expect_equal(engine, written(SKEWED, tmp_path / "data"), tmp_path / "out")
    assert ratings["userid"].value_counts().max() > 20_000


BAD = {
    "no time": ("1,5,yesterday,3\n", "log-1.csv, line 4, column 't'"),
    "no id": (",5,1600000000,3\n", "log-1.csv, line 4, column 'u'"),
    "no number": ("1,5,1600000000,many\n", "log-1.csv, line 4, column 'v': a number expected, found 'many'"),
    "in the future": ("1,5,9999999999,3\n", "a time that is not in the future"),
    "a column too few": ("1,5\n", "log-1.csv"),
}


@pytest.mark.parametrize("name", sorted(BAD))
def test_what_is_wrong_is_said_as_pandas_says_it(engine: SparkEngine, tmp_path: Path, name: str) -> None:
    row, sentence = BAD[name]
    declared = ['name = "w"', "[interactions]", 'file = "log-*.csv"', 'user = "u"', 'item = "i"', 'time = "t"']
    (tmp_path / "dataset.toml").write_text("\n".join([*declared, 'value = "v"', "positive_above = 3"]))
    good = "u,i,t,v\n1,5,1600000000,3\n2,6,1600000000,3\n"
    (tmp_path / "log-0.csv").write_text(good)
    (tmp_path / "log-1.csv").write_text(good + row)
    of_pandas, of_spark = (
        refusal(lambda each=each: through(each, tmp_path, tmp_path / "out")) for each in (PandasEngine(), engine)
    )
    assert sentence in of_pandas
    assert of_spark == of_pandas


def test_an_id_that_is_not_listed_is_said(engine: SparkEngine, tmp_path: Path) -> None:
    half_stars(tmp_path)
    users = (tmp_path / "users.csv").read_text().replace("5000000007,", "5000000007 ,")
    (tmp_path / "users.csv").write_text(users)
    of_pandas, of_spark = (
        refusal(lambda each=each: through(each, tmp_path, tmp_path / "out")) for each in (PandasEngine(), engine)
    )
    assert "'5000000007 ' is listed, and blanks count" in of_pandas
    assert of_spark == of_pandas


def test_too_few_and_none_and_too_many(engine: SparkEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dataset.toml").write_text('name = "w"\n[interactions]\nuser = "u"\nitem = "i"\ntime = "t"\n')
    for rows in ("", "1,5,1600000000\n", "1,5,1600000000\n2,5,1600000000\n"):
        (tmp_path / "interactions.csv").write_text(f"u,i,t\n{rows}")
        of_pandas, of_spark = (
            refusal(lambda each=each: through(each, tmp_path, tmp_path / "out")) for each in (PandasEngine(), engine)
        )
        assert of_spark == of_pandas
    monkeypatch.setattr("offline.engines.spark.engine.MOST_OF_ONE_USER", 2)
    (tmp_path / "interactions.csv").write_text("u,i,t\n1,5,1600000000\n" + "2,6,1600000000\n" * 3)
    assert "u '2' has more than" in refusal(lambda: through(engine, tmp_path, tmp_path / "out"))


def test_a_declared_zip_is_refused(engine: SparkEngine, tmp_path: Path) -> None:
    import shutil

    archive = shutil.make_archive(str(tmp_path / "shop"), "zip", shop(tmp_path / "shop"))
    assert "unpack it" in refusal(lambda: through(engine, Path(archive), tmp_path / "out"))
