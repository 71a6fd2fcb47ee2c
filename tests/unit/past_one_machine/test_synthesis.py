import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data_exchange_center import artifacts
from data_exchange_center.release_parts import read_dataset
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from offline.preprocess import s0_get_data, s1_data_split
from past_one_machine.synthesis import Factors, Source, expand
from tests.unit.offline.synthetic import made_up_movielens


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_up_movielens(tmp_path_factory.mktemp("films"))


def expanded(
    path: Path, folder: Path, factor: int, items: int | None = None, seed: int = 1
) -> Path:
    expand(Source.of(path), Factors.of(factor, items), folder, f"films-x{factor}", seed)
    return folder


read = Source.of


def test_a_copied_user_does_what_the_user_did(films: Path, tmp_path: Path) -> None:
    """In the same order, at the same times; with copies of the same films."""
    before, after = read(films), read(expanded(films, tmp_path / "x", 3, items=2))
    n_users, n_items = len(before.users), len(before.items)
    order, films_in_order = before.users["userid"], before.items["itemid"]
    rows = after.ratings.assign(
        userid=np.array(order)[(after.ratings["userid"] - 1) % n_users],
        itemid=np.array(films_in_order)[(after.ratings["itemid"] - 1) % n_items],
    )
    copy = (after.ratings["userid"] - 1) // n_users
    for number in range(3):
        one = (
            rows[copy == number]
            .sort_values("userid", kind="stable")
            .reset_index(drop=True)
        )
        pd.testing.assert_frame_equal(one, before.ratings, check_dtype=False)
    assert set((after.ratings["itemid"] - 1) // n_items) == {0, 1}


def test_the_seed_determines_the_bytes(films: Path, tmp_path: Path) -> None:
    folders = [
        expanded(films, tmp_path / str(n), 4, seed=seed)
        for n, seed in enumerate((7, 7, 8))
    ]
    contents = [
        {file.name: file.read_bytes() for file in folder.rglob("*.parquet")}
        for folder in folders
    ]
    assert contents[0] == contents[1]
    assert contents[0].keys() == contents[2].keys()
    assert contents[0]["interactions.parquet"] != contents[2]["interactions.parquet"]


def test_the_steps_read_an_expansion(films: Path, tmp_path: Path) -> None:
    settings = Settings(
        data=expanded(films, tmp_path / "x4", 4), exchange_dir=tmp_path / "exchange"
    )
    s0_get_data.main(settings)
    s1_data_split.main(settings)
    ratings = artifacts.RATINGS.read(settings.artifacts_dir)
    assert len(ratings) == 4 * len(read(films).ratings)
    assert read_dataset(settings.artifacts_dir).name == "films-x4"


def test_memory_does_not_grow_with_the_expansion(films: Path, tmp_path: Path) -> None:
    source = read(films)
    larger = replace(
        source,
        ratings=pd.concat([source.ratings] * 50).sort_values(["userid", "timestamp"]),
    )
    peaks = []
    for factor in (12, 48):  # more events than are written at once
        tracemalloc.start()
        expand(larger, Factors.of(factor, 2), tmp_path / str(factor), "made")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]


@pytest.mark.parametrize(
    ("factors", "sentence"),
    [
        ((1, None), "factor=1: .*at least 2"),
        ((2, 0), "items=0: .*at least 1"),
        ((2, 81), "items=81: the data set has 80 items"),
        ((40_000_000, 2), "factor=40000000: at most 35,791,394"),
    ],
)
def test_a_wrong_factor_is_said(
    films: Path, tmp_path: Path, factors: tuple[int, int | None], sentence: str
) -> None:
    with pytest.raises(StepError, match=sentence):
        expanded(films, tmp_path / "x", *factors)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_is_left_alone(films: Path, tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "mine").write_text("mine")
    with pytest.raises(StepError, match="is there already"):
        expanded(films, tmp_path / "x", 2)
    assert (tmp_path / "x" / "mine").read_text() == "mine"
