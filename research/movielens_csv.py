"""Write a MovieLens data set in the layout of its newer editions, whose archives closed machines cannot download.

ratings.csv with half stars, movies.csv with years in the titles, quotes where a title has a comma, and some movies
without genres; tags.csv and links.csv. The ratings are those of the source, but a quarter of them, drawn at random,
lose half a star. `archive` makes a zip of one edition, with the files around these that it has.

Reads:  a folder or zip that step 0 reads: MovieLens, or an expansion of it (`make synthesise`)
Writes: <folder>/{ratings,movies,tags,links}.csv
Run:    python -m research.movielens_csv ml-1m.zip build/ml-csv
Expect: 1,000,209 ratings (MovieLens-1M)
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from data_exchange_center import artifacts
from data_exchange_center.columns import Columns
from offline import movielens
from offline.preprocess import s0_get_data

WITHOUT_GENRES: Final = 50  # every so many movies have none
SEED: Final = 0
GENOME: Final = {
    "genome-tags.csv": "tagId,tag\n1,007\n",
    "genome-scores.csv": "movieId,tagId,relevance\n1,1,0.02875\n",
}
README: Final = {"README.txt": "Made by research/movielens_csv.py\n"}
# Name of the archive and of the folder in it -> the files besides ratings, movies, tags and links
EDITIONS: Final = {
    "ml-latest-small": README,
    "ml-20m": {**GENOME, **README},
    "ml-25m": {**GENOME, **README},
    "ml-32m": {**README, "checksums.txt": ""},
}


def archive(source: Path, folder: Path, edition: str, users: int | None = None) -> tuple[Path, int]:
    """Write ``<folder>/<edition>.zip`` as GroupLens packs it. Returns the path and the number of ratings.

    Args:
        users: of the source's so many, those with the lowest numbers.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{edition}.zip"
    with TemporaryDirectory(dir=folder) as temporary:
        files = Path(temporary)
        rows = write(source, files, users)
        for name, text in EDITIONS[edition].items():
            (files / name).write_text(text, encoding="utf-8")
        with ZipFile(target, "w", ZIP_DEFLATED, compresslevel=1) as packed:
            for path in sorted(files.iterdir()):
                packed.write(path, f"{edition}/{path.name}")
    return target, rows


def write(source: Path, folder: Path, users: int | None = None) -> int:
    """Write the files. Returns the number of ratings. Raises StepError where ``source`` is no data set."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(SEED)
    with TemporaryDirectory() as temporary, movielens.files_of(source) as files:
        s0_get_data.read(files, source, Path(temporary))
        rows = _ratings(artifacts.RAW_INTERACTIONS.at(Path(temporary)), folder / "ratings.csv", rng, users)
        _movies(artifacts.RAW_ITEMS.read(Path(temporary)), folder / "movies.csv")
    (folder / "tags.csv").write_text("userId,movieId,tag,timestamp\n", encoding="utf-8")
    (folder / "links.csv").write_text("movieId,imdbId,tmdbId\n", encoding="utf-8")
    return rows


def _ratings(source: Path, target: Path, rng: np.random.Generator, users: int | None) -> int:
    """Write the ratings, row group by row group: an expansion need not fit into memory."""
    schema = pa.schema(
        [("userId", pa.int32()), ("movieId", pa.int32()), ("rating", pa.string()), ("timestamp", pa.int64())]
    )
    rows = 0
    plain = pacsv.WriteOptions(include_header=False, quoting_style="none")  # Arrow would quote header and stars
    as_written = np.array([f"{half / 2:.1f}" for half in range(11)])  # whole stars, too, have a decimal
    with target.open("wb") as file:
        file.write((",".join(schema.names) + "\n").encode())
        writer = pacsv.CSVWriter(file, schema, write_options=plain)
        for batch in pq.ParquetFile(source).iter_batches(1 << 20):
            table = batch.to_pandas()
            if users is not None:
                table = table[table[Columns.USER] <= users]
            half = rng.random(len(table)) < 0.25
            stars = as_written[2 * table[Columns.RATING].to_numpy(np.int64) - half]
            columns = [table[Columns.USER], table[Columns.ITEM], stars, table[Columns.TIMESTAMP]]
            writer.write_batch(pa.record_batch([pa.array(np.asarray(each)) for each in columns], schema=schema))
            rows += len(table)
        writer.close()
    return rows


def _movies(items: pd.DataFrame, target: Path) -> None:
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("movieId", "title", "genres"))
        for row, (item, title, genres) in enumerate(
            zip(items[Columns.ITEM], items[Columns.TITLE], items[Columns.GENRES], strict=True), start=1
        ):
            named = "|".join(genres) if row % WITHOUT_GENRES and len(genres) else movielens.NO_GENRE
            writer.writerow((item, title, named))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("folder", type=Path)
    given = parser.parse_args()
    print(f"{write(given.source, given.folder):,} ratings written")  # noqa: T201
