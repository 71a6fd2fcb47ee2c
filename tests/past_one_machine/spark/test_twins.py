"""The twins leave what the steps leave, row for row."""

import shutil
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest

from data_exchange_center import artifacts, provenance
from data_exchange_center.artifacts import Artifact, Table
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from offline.preprocess import s1_data_split, s2_term_trans
from offline.recall import s1_term_recall
from past_one_machine.spark import s1_data_split as split_on_spark
from past_one_machine.spark import s1_term_recall as term_recall_on_spark
from past_one_machine.spark import s2_term_trans as terms_on_spark
from past_one_machine.spark import users
from past_one_machine.spark.environment import SparkSettings
from tests.past_one_machine.spark.worlds import NOW, World, settings_of, world

Twin = Callable[[ModuleType, Settings], None]
OF_TERMS = (
    artifacts.USER_TERMS,
    artifacts.ITEM_TERMS,
    artifacts.GENRES,
)
OF_TERM_RECALL = (
    artifacts.USER_PREFERENCES,
    artifacts.USER_SEEN,
    artifacts.USER_STATE,
    artifacts.POPULAR,
    artifacts.TERM_RECALL_REPORT,
)


@pytest.fixture
def run_twin(spark: Any, monkeypatch: pytest.MonkeyPatch) -> Twin:
    """Runs a twin in the tests' own session."""

    def run(twin: ModuleType, settings: Settings) -> None:
        monkeypatch.setattr(twin, "session", lambda _: nullcontext(spark))
        twin.main(settings)

    return run


def expect_same_files(here: Path, there: Path, files: Sequence[Artifact]) -> None:
    """Row for row, the types of the columns too; of a report all but the digests of what was read."""
    for file in files:
        expected, found = file.read(here), file.read(there)
        if isinstance(file, Table):
            pd.testing.assert_frame_equal(found, expected, obj=file.path)
        else:
            expected.pop(provenance.INPUTS, None), found.pop(provenance.INPUTS, None)
            np.testing.assert_equal(found, expected)  # NaN is equal to itself


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize(
    "made",
    [world(), world(seconds=2), world(users=9, most=3_000, seed=2)],
    ids=["many users", "ties in time", "one user with nearly all events"],
)
def test_terms_and_term_recall(run_twin: Twin, made: World, tmp_path: Path) -> None:
    here = made.split(tmp_path / "here")
    there = settings_of(Path(shutil.copytree(here.exchange_dir, tmp_path / "there")))
    for step in (s2_term_trans, s1_term_recall):
        step.main(here)
    for twin in (terms_on_spark, term_recall_on_spark):
        run_twin(twin, there)
    expect_same_files(
        here.exchange_dir, there.exchange_dir, (*OF_TERMS, *OF_TERM_RECALL)
    )
    assert (
        len(list(artifacts.USER_SEEN.at(there.exchange_dir).iterdir()))
        == SparkSettings.load().partitions
    )


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("made", [world(seconds=2), world(users=9, most=3_000, seed=2)])
def test_split(
    run_twin: Twin, made: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here, there = made.read(tmp_path / "here"), made.read(tmp_path / "there")
    s1_data_split.main(here)
    said = capsys.readouterr().out
    run_twin(split_on_spark, there)
    said_there = capsys.readouterr().out
    assert said_there.replace(str(there.artifacts_dir), str(here.artifacts_dir)) == said
    tables = (artifacts.RATINGS, artifacts.USERS, artifacts.ITEMS)
    expect_same_files(here.exchange_dir, there.exchange_dir, tables)
    assert (
        len(list(artifacts.RATINGS.at(there.exchange_dir).iterdir()))
        == SparkSettings.load().partitions
    )


def test_feedback_of_the_server_is_refused(run_twin: Twin, tmp_path: Path) -> None:
    there = world().read(tmp_path)
    event = {
        "eventid": "a",
        "userid": "u 10é",
        "itemid": "1",
        "type": "rating",
        "value": 5.0,
        "timestamp": NOW,
    }
    frame = pd.DataFrame([event]).reindex(columns=list(artifacts.EVENTS.columns))
    frame = frame.astype({"recommendation": object}).fillna(
        {"acknowledged_ms": 0, "sequence": 0}
    )
    artifacts.EVENTS.write(tmp_path, frame)
    with pytest.raises(StepError, match="RECSYS_ENGINE=pandas alone merges"):
        run_twin(split_on_spark, there)
    assert not artifacts.RATINGS.at(tmp_path).exists()


def test_ranges_of_users_are_read_alone_and_in_order(tmp_path: Path) -> None:
    """From tables in parts, too, in batches of every size."""
    folder = world().split(tmp_path).exchange_dir
    ratings, people = (
        table.read(folder) for table in (artifacts.RATINGS, artifacts.USERS)
    )
    with users.in_parts(artifacts.RATINGS, folder) as parts:
        for number, rows in enumerate((ratings[:200], ratings[200:205], ratings[205:])):
            rows.to_parquet(
                parts / f"part-{number}.parquet", index=False, row_group_size=50
            )
    for size in (1, 7, 1000):
        found = [
            some
            for part in users.ranges(folder, 5)
            for some in users.some_users(folder, part, list(ratings), batch=size)
        ]
        pd.testing.assert_frame_equal(
            pd.concat([rows for rows, _ in found if len(rows)], ignore_index=True),
            ratings,
        )
        pd.testing.assert_frame_equal(
            pd.concat([some for _, some in found], ignore_index=True), people
        )
        for rows, some in found:
            assert set(rows["userid"]) <= set(some["userid"])
