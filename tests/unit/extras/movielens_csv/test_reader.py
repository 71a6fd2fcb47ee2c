"""MovieLens in the layout of its newer editions."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from data_exchange_center import artifacts
from data_exchange_center.columns import Columns
from data_exchange_center.release_parts import read_dataset
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from tests.unit.offline.synthetic import made_up_movielens, run_steps


def rows_of(path: Path) -> list[list[str]]:
    lines = path.read_text(encoding="latin-1").splitlines()
    return [line.split("::") for line in lines]


def write_csv(path: Path, head: str, rows: list[list[str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([head.split(","), *rows])


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Every fourth rating has half a star less, every 50th film no genre."""
    source = made_up_movielens(tmp_path / "source")
    movies = source / "movies.dat"
    text = movies.read_text(encoding="latin-1")
    quoted = text.replace("a film (1999)", 'a "film", so (1999)', 1)
    movies.write_text(quoted, encoding="latin-1")
    ratings = rows_of(source / "ratings.dat")
    for n, row in enumerate(ratings):
        row[2] = f"{int(row[2]) - (n % 4 == 0) / 2:.1f}"
    films = rows_of(movies)
    for row in films[49::50]:
        row[2] = "(no genres listed)"
    folder = tmp_path / "ml-csv"
    folder.mkdir()
    write_csv(folder / "ratings.csv", "userId,movieId,rating,timestamp", ratings)
    write_csv(folder / "movies.csv", "movieId,title,genres", films)
    return folder


def test_all_steps_run_on_it(files: Path, tmp_path: Path) -> None:
    settings = run_steps(Settings(data=files, exchange_dir=tmp_path / "exchange"))
    dataset = read_dataset(settings.artifacts_dir)
    assert (dataset.name, dataset.profile) == ("ml-csv", ())
    assert (dataset.levels[0], dataset.holdout.last) == (0.5, 10)
    items = artifacts.ITEMS.read(settings.artifacts_dir)
    assert items["year"].eq(1999).all()
    assert any('a "film", so (1999)' in title for title in items[Columns.TITLE])
    assert items[Columns.GENRES].str.len().min() == 0
    ratings = artifacts.RATINGS.read(settings.artifacts_dir)
    stars = np.array(dataset.levels)[ratings[Columns.RATING] - 1]
    assert np.array_equal(stars > 3, ratings[Columns.LABEL] == 1)


def test_a_row_of_another_width_is_refused_by_line(files: Path, tmp_path: Path) -> None:
    movies = files / "movies.csv"
    with movies.open("a", encoding="utf-8") as file:
        file.write("7,No genres at all\n")
    expected = r"movies.csv, line 82: movieId,title,genres expected"
    with pytest.raises(StepError, match=expected):
        run_steps(Settings(data=files, exchange_dir=tmp_path / "exchange"), 1)
