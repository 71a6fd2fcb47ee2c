"""Data sets that tests make up, read as step 0 reads them."""

from __future__ import annotations

import csv
import tempfile
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from data_exchange_center import artifacts
from data_exchange_center.dataset import Dataset
from offline import movielens
from offline.preprocess import s0_get_data

# five stars, above three is liked; a year; a profile of three; one term
STARS = movielens.described(
    movielens.parse(
        movielens.LAYOUTS[0],
        b"1::10::5::978300760\n1::20::3::978300761\n2::10::1::978300762\n2::20::2::3\n2::20::4::4\n",
        b"1::F::1::10::\n2::M::56::16::\n",
        b"10::Star Wars (1977)::Action\n20::Misrables, Les (1995)::Drama\n",
    )
)


class Tables(NamedTuple):
    """A data set, and its tables as `artifacts.RAW` has them."""

    dataset: Dataset
    ratings: pd.DataFrame
    users: pd.DataFrame
    items: pd.DataFrame


def tables_of(data: Path) -> Tables:
    """The data set in a folder or a zip, read by the first reader that knows it."""
    with tempfile.TemporaryDirectory() as folder:
        with movielens.files_of(data) as files:
            dataset = s0_get_data.read(files, data, Path(folder))
        ratings, users, items = (table.read(Path(folder)) for table in artifacts.RAW)
    return Tables(dataset, ratings, users, items)


def dumped(data: movielens.MovieLens, folder: Path) -> Path:
    """Write MovieLens in the layout of MovieLens-1M. Returns ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    genres = data.items["genres"].str.join("|")
    tables = (data.ratings, data.users.assign(zip=""), data.items.assign(genres=genres))
    for name, table in zip(movielens.LAYOUTS[0].files, tables, strict=True):
        lines = table.to_csv(
            sep="\t", header=False, index=False, quoting=csv.QUOTE_NONE
        )
        (folder / name).write_text(lines.replace("\t", "::"), encoding="utf-8")
    return folder


def parsed(folder: Path) -> movielens.MovieLens:
    """MovieLens in a folder, in any of its layouts."""
    with movielens.files_of(folder) as files:
        layout = movielens.layout_of(files)
        return movielens.parse(
            layout, *(files[name].read_bytes() for name in layout.files)
        )
