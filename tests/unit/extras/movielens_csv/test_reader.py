"""MovieLens in the layout of its newer editions."""

from __future__ import annotations

from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest

from data_exchange_center import artifacts
from data_exchange_center.columns import Columns
from data_exchange_center.release_parts import read_dataset
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from tests.unit.extras.movielens_csv.written import EDITIONS, archive, write
from tests.unit.offline.synthetic import made_up_movielens, run_steps


@pytest.fixture
def files(tmp_path: Path) -> Path:
    source = made_up_movielens(tmp_path / "source")
    movies = source / "movies.dat"
    text = movies.read_text(encoding="latin-1").replace(
        "a film (1999)", 'a "film", so (1999)', 1
    )
    movies.write_text(text, encoding="latin-1")
    folder = tmp_path / "ml-csv"
    write(source, folder)
    return folder


def test_layout_is_the_published_one(files: Path) -> None:
    assert (
        (files / "ratings.csv")
        .read_text(encoding="utf-8")
        .startswith("userId,movieId,rating,timestamp\n")
    )
    movies = (files / "movies.csv").read_text(encoding="utf-8")
    assert movies.startswith("movieId,title,genres\n")
    assert '"Épisode' in movies
    assert "(no genres listed)" in movies


def test_all_steps_run_on_it(files: Path, tmp_path: Path) -> None:
    settings = run_steps(Settings(data=files, exchange_dir=tmp_path / "exchange"))
    dataset = read_dataset(settings.artifacts_dir)
    assert (
        dataset.name,
        dataset.has_values,
        dataset.levels[0],
        dataset.holdout.last,
    ) == ("ml-csv", True, 0.5, 10)
    assert dataset.profile == ()
    items = artifacts.ITEMS.read(settings.artifacts_dir)
    assert items["year"].eq(1999).all()
    assert any('a "film", so (1999)' in title for title in items[Columns.TITLE])
    without = [len(genres) for genres in items[Columns.GENRES]]
    assert min(without) == 0
    ratings = artifacts.RATINGS.read(settings.artifacts_dir)
    stars = np.array(dataset.levels)[ratings[Columns.RATING] - 1]
    assert np.array_equal(stars > 3, ratings[Columns.LABEL] == 1)


def test_a_row_of_another_width_is_refused_by_line(files: Path, tmp_path: Path) -> None:
    movies = files / "movies.csv"
    movies.write_text(
        movies.read_text(encoding="utf-8") + "7,No genres at all\n", encoding="utf-8"
    )
    with pytest.raises(
        StepError, match=r"movies.csv, line 82: movieId,title,genres expected"
    ):
        run_steps(Settings(data=files, exchange_dir=tmp_path / "exchange"), 1)


@pytest.mark.parametrize("edition", EDITIONS)
def test_archives_of_every_edition_are_read(edition: str, tmp_path: Path) -> None:
    packed, ratings = archive(
        made_up_movielens(tmp_path / "source"), tmp_path / "data", edition
    )
    settings = run_steps(Settings(data=packed, exchange_dir=tmp_path / "exchange"), 1)
    counts = read_dataset(settings.artifacts_dir).counts
    assert (counts["ratings"], counts["users"]) == (ratings, 60)
    with ZipFile(packed) as file:
        names = set(file.namelist())
        assert {
            f"{edition}/{name}.csv" for name in ("ratings", "movies", "tags", "links")
        } <= names
        rows = file.read(f"{edition}/ratings.csv").decode().splitlines()[1:]
    assert all(
        row.split(",")[2] in {f"{half / 2:.1f}" for half in range(1, 11)}
        for row in rows
    )
