"""The twins leave what the steps leave, row for row; a task that fails is tried again and writes nothing twice."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final
from uuid import uuid4

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from data_exchange_center import artifacts, provenance
from data_exchange_center.artifacts import Artifact, Table
from data_exchange_center.channels import BREAK_S
from data_exchange_center.columns import Columns
from data_exchange_center.dataset import Dataset, HoldoutRule, ItemNumber
from data_exchange_center.files import sha256
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from offline.data.split import label_and_split
from offline.feedback import SCHEMA
from offline.preprocess import s1_data_split, s2_term_trans
from offline.recall import s1_term_recall
from past_one_machine.spark import s1_data_split as split_on_spark
from past_one_machine.spark import s1_term_recall as term_recall_on_spark
from past_one_machine.spark import s2_term_trans as terms_on_spark
from past_one_machine.spark import users
from past_one_machine.spark.environment import ATTEMPTS, SparkSettings

# Small data sets that are hard to split among tasks: ties in time, users without ratings, one with nearly all.

NOW: Final = 1_600_000_000
GENRES: Final = ("Drama", "Action", "Sci-Fi")
HOLDOUT: Final = HoldoutRule(last=3)


@dataclass(frozen=True)
class World:
    """A data set in standard form.

    Attributes:
        raw: userid, itemid, rating, timestamp, sorted by user and time.
        users, items: as `artifacts.USERS` and `artifacts.ITEMS`.
    """

    dataset: Dataset
    raw: pd.DataFrame
    users: pd.DataFrame
    items: pd.DataFrame

    def read(self, exchange_dir: Path) -> Settings:
        """Write what step 0 leaves. Settings of the folder."""
        tables = zip(artifacts.RAW, (self.raw, self.users, self.items), strict=True)
        digests = {
            Path(table.path).name: sha256(table.write(exchange_dir, rows))
            for table, rows in tables
        }
        dataset = self.dataset.model_copy(update={"sha256": digests})
        artifacts.DATASET.write(exchange_dir, dataset.model_dump(mode="json"))
        artifacts.EVENTS.write(exchange_dir, SCHEMA.empty_table().to_pandas())
        return settings_of(exchange_dir)

    def split(self, exchange_dir: Path) -> Settings:
        """Write what steps 0 and 1 leave. Settings of the folder."""
        artifacts.DATASET.write(exchange_dir, self.dataset.model_dump(mode="json"))
        artifacts.RATINGS.write(
            exchange_dir, label_and_split(self.raw, self.dataset, 0.8)
        )
        artifacts.USERS.write(exchange_dir, self.users)
        artifacts.ITEMS.write(exchange_dir, self.items)
        return settings_of(exchange_dir)


def settings_of(exchange_dir: Path) -> Settings:
    return Settings(exchange_dir=exchange_dir, engine="spark")


def world(
    users: int = 40, items: int = 30, most: int = 0, seconds: int = 4_000, seed: int = 1
) -> World:
    """User k has about k events, some have none.

    Args:
        most: events of the fifth user besides.
        seconds: in which all events are, but for a break in their middle; few of them: most have the second of others.
    """
    random = np.random.default_rng(seed)
    lengths = np.arange(users)
    lengths[[0, 7, users - 1]] = 0
    lengths[4] += most
    userids = np.repeat(np.arange(10, 10 + 3 * users, 3), lengths)
    items_rated, ratings = (
        random.integers(0, items, len(userids)),
        random.integers(1, 6, len(userids)),
    )
    times = random.integers(0, seconds, len(userids))
    raw = pd.DataFrame(
        {
            Columns.USER: userids.astype(np.int32),
            Columns.ITEM: (items_rated * 2 + 1).astype(np.int32),
            Columns.RATING: ratings.astype(np.int8),
            Columns.TIMESTAMP: NOW
            + times
            + np.where(2 * times > seconds, 2 * BREAK_S, 0),
        }
    ).sort_values([Columns.USER, Columns.TIMESTAMP], kind="stable", ignore_index=True)
    everybody = np.arange(10, 10 + 3 * users, 3, dtype=np.int32)
    people = pd.DataFrame(
        {
            Columns.USER: everybody,
            Columns.OWN_ID: [f"u {user}é" for user in everybody],
            Columns.GENDER: random.choice(["F", "M"], users),
            Columns.AGE: random.choice([18, 25, 56], users).astype(np.int32),
        }
    )
    itemids = np.arange(1, 2 * items + 1, 2, dtype=np.int32)
    catalogue = pd.DataFrame(
        {
            Columns.ITEM: itemids,
            Columns.OWN_ID: itemids.astype(str),
            Columns.TITLE: [f"Épisode {item}" for item in itemids],
            Columns.GENRES: [
                list(random.choice(GENRES, random.integers(0, 4), replace=False))
                for _ in itemids
            ],
            "year": np.where(itemids % 5 == 0, np.nan, 1950.0 + itemids),
        }
    )
    dataset = Dataset(
        name="world",
        origin="made up",
        counts={
            "ratings": len(raw),
            "users": users,
            "items": items,
            "genres": len(GENRES),
        },
        sha256={},
        levels=(1, 2, 3, 4, 5),
        positive_level=3,
        profile=(Columns.GENDER, Columns.AGE),
        terms=("genre",),
        numbers=(ItemNumber(name="year", column="year"),),
        holdout=HOLDOUT,
    )
    return World(dataset, raw, people, catalogue)


# The twins leave what the steps leave, row for row.

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


# A task that fails is tried again, and what it had written is not there twice.

SCORES = {"itemid": pa.int32(), "score": pa.float32()}


def written(spark: Any, folder: Path, times: int) -> list[int]:
    """Items that two tasks write, which fail after their first rows as often as is said."""
    marks = folder / "marks"
    marks.mkdir(exist_ok=True)

    def made(part: users.Users) -> Iterator[pd.DataFrame]:
        yield pd.DataFrame({"itemid": [part.first], "score": [0.5]})
        failed = len(list(marks.iterdir()))
        if failed < times:
            (marks / f"{failed}").touch()
            raise RuntimeError("as the test wants it")
        yield pd.DataFrame({"itemid": [part.last], "score": [0.25]})

    parts = [users.Users(1, 2, 0, 2), users.Users(3, 4, 2, 2)]
    users.write(artifacts.POPULAR, folder, users.run(spark, parts, made, SCORES))
    return artifacts.POPULAR.read(folder)["itemid"].tolist()


def test_a_retried_task_writes_its_rows_once(spark: Any, tmp_path: Path) -> None:
    assert written(spark, tmp_path, times=2) == [1, 2, 3, 4]
    assert len(list((tmp_path / "marks").iterdir())) == 2


def test_a_final_failure_leaves_earlier_output(spark: Any, tmp_path: Path) -> None:
    before = pd.DataFrame({"itemid": [9], "score": [1.0]})
    artifacts.POPULAR.write(tmp_path, before)
    with pytest.raises(Exception, match="as the test wants it"):
        written(spark, tmp_path, times=10**6)
    assert artifacts.POPULAR.read(tmp_path)["itemid"].tolist() == [9]
    assert [path.name for path in artifacts.POPULAR.at(tmp_path).parent.iterdir()] == [
        "popular.parquet"
    ]


def test_a_task_that_outlives_its_job_writes_nothing_later(
    spark: Any, tmp_path: Path
) -> None:
    """When the job has failed, the second task goes on until the folder is gone, or for a second."""
    folder, marks = artifacts.POPULAR.at(tmp_path).parent, tmp_path / "marks"
    marks.mkdir()

    def until(condition: Callable[[], bool], seconds: float) -> None:
        again = retry_if_result(lambda there: not there)
        Retrying(
            stop=stop_after_delay(seconds),
            wait=wait_fixed(0.01),
            retry=again,
            retry_error_callback=lambda _: None,
        )(condition)

    def made(part: users.Users) -> Iterator[pd.DataFrame]:
        if part.first == 1:
            (marks / uuid4().hex).touch()
            raise RuntimeError("as the test wants it")
        until(lambda: len(list(marks.iterdir())) == ATTEMPTS, 60)
        until(lambda: not list(folder.glob(".popular.parquet*")), 1)
        yield pd.DataFrame({"itemid": [part.last], "score": [0.25]})

    parts = [users.Users(1, 2, 0, 2), users.Users(3, 4, 2, 2)]
    with pytest.raises(Exception, match="as the test wants it"):
        users.write(artifacts.POPULAR, tmp_path, users.run(spark, parts, made, SCORES))
    until(lambda: bool(list(folder.iterdir())), 1)
    assert not list(folder.iterdir())
