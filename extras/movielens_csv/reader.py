"""Read MovieLens 20M, 25M, 32M, latest and latest-small as they come: ratings.csv and movies.csv in a folder or zip.

The years are taken out of the titles, ``(no genres listed)`` out of the genres, and a declaration is written for them;
the rest is `extras.own_data`, which keeps events on disk, so that 32 million need no memory of their size here. Tags
and links are not read. Stars above three are liked, and the last ten ratings of every user are held out, as of the
older editions.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from data_exchange_center.dataset import Dataset
from data_exchange_center.steps import StepError
from offline.movielens import NO_GENRE, Files, malformed, release_year

RATINGS, MOVIES = "ratings.csv", "movies.csv"
HEADERS: Final = {
    RATINGS: "userId,movieId,rating,timestamp",
    MOVIES: "movieId,title,genres",
}
EXPECTED: Final = f"MovieLens 20M and later: {RATINGS}, {MOVIES}"
DECLARED: Final = Path(__file__).with_name("movielens.toml")
EDITIONS: Final = {
    20_000_263: "ml-20m",
    25_000_095: "ml-25m",
    32_000_204: "ml-32m",
}  # by number of ratings


def read(files: Files, where: Path, exchange_dir: Path) -> Dataset | None:
    """Read MovieLens and write step 0's tables; None where the files are not these. Raises StepError as `own_data`."""
    from extras.own_data import (
        reader as declared,
    )  # step 0 imports this module, with or without that extra
    from extras.own_data.declaration import DECLARATION

    if DECLARATION in files or not files.keys() >= HEADERS.keys():
        return None
    if any(_first_line(files[name]) != header for name, header in HEADERS.items()):
        return None
    with TemporaryDirectory(prefix="recsys-movielens-") as temporary:
        movies, declaration = Path(temporary) / MOVIES, Path(temporary) / DECLARATION
        with movies.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(_movies(files[MOVIES]))
        declaration.write_bytes(DECLARED.read_bytes())
        ours = {RATINGS: files[RATINGS], MOVIES: movies, DECLARATION: declaration}
        dataset = declared.read(ours, where, exchange_dir)
    assert dataset is not None  # noqa: S101 (there is a declaration)
    name = EDITIONS.get(dataset.counts["ratings"], dataset.name)
    return dataset.model_copy(update={"name": name})


def _movies(path: Path) -> Iterator[tuple[str, ...]]:
    """Header and rows: id, title, year, genres. Raises StepError for a row of another width."""
    yield "movieId", "title", "year", "genres"
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise StepError(f"{MOVIES} is not UTF-8 ({error}).") from error
    rows = csv.reader(io.StringIO(text, newline=""))
    next(rows)
    for row in rows:
        if len(row) != 3:
            raise malformed(MOVIES, rows.line_num, ",".join(row), HEADERS[MOVIES])
        own_id, title, genres = row
        year = release_year(title)
        named = "|".join(genre for genre in genres.split("|") if genre != NO_GENRE)
        yield own_id, title, "" if year != year else f"{year:.0f}", named


def _first_line(path: Path) -> str:
    with path.open("rb") as file:
        return file.readline(1 << 10).decode("utf-8-sig", errors="replace").strip()
