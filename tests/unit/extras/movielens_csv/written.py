"""Write MovieLens's older files in the layout of its newer editions."""

from __future__ import annotations

import csv
from pathlib import Path
from zipfile import ZipFile

GENOME = {
    "genome-tags.csv": "tagId,tag\n1,007\n",
    "genome-scores.csv": "movieId,tagId,relevance\n1,1,0.02875\n",
}
# Name of the archive and of the folder in it -> the files besides ratings, movies, tags and links
EDITIONS = {
    "ml-latest-small": {},
    "ml-20m": GENOME,
    "ml-25m": GENOME,
    "ml-32m": {"checksums.txt": ""},
}


def write(source: Path, folder: Path) -> int:
    """Write the four files, every fourth rating with half a star less. Returns the number of ratings."""
    folder.mkdir(parents=True, exist_ok=True)
    ratings = []
    for number, (user, item, stars, time) in enumerate(rows_of(source / "ratings.dat")):
        ratings.append((user, item, int(stars) - 0.5 * (number % 4 == 0), time))
    movies = []
    for number, (item, title, genres) in enumerate(
        rows_of(source / "movies.dat"), start=1
    ):
        movies.append((item, title, genres if number % 50 else "(no genres listed)"))
    write_csv(folder / "ratings.csv", "userId,movieId,rating,timestamp", ratings)
    write_csv(folder / "movies.csv", "movieId,title,genres", movies)
    write_csv(folder / "tags.csv", "userId,movieId,tag,timestamp", [])
    write_csv(folder / "links.csv", "movieId,imdbId,tmdbId", [])
    return len(ratings)


def archive(source: Path, folder: Path, edition: str) -> tuple[Path, int]:
    """Write ``<folder>/<edition>.zip`` as GroupLens packs it. Returns the path and the number of ratings."""
    rows = write(source, folder / edition)
    for name, text in {**EDITIONS[edition], "README.txt": "made up\n"}.items():
        (folder / edition / name).write_text(text, encoding="utf-8")
    with ZipFile(folder / f"{edition}.zip", "w") as packed:
        for path in sorted((folder / edition).iterdir()):
            packed.write(path, f"{edition}/{path.name}")
    return folder / f"{edition}.zip", rows


def rows_of(path: Path) -> list[list[str]]:
    return [
        line.split("::") for line in path.read_text(encoding="latin-1").splitlines()
    ]


def write_csv(path: Path, head: str, rows: list[tuple[object, ...]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(f"{head}\n")
        csv.writer(file, lineterminator="\n").writerows(rows)
