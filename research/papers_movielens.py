"""MovieLens as papers on sequential recommendation take it: every rating is a target, the last of each user held out.

Ties in time are taken in file order, as papers take them. A request sees only what comes before its second, so times
are made distinct: the gap between two ratings of a user stays what it was, but is a second for two of the same second
and two seconds for those that are one second apart.

Reads:  MovieLens in one of the layouts of `offline.movielens`
Writes: <folder>/{dataset.toml,interactions.csv,users.csv,items.csv}
Run:    python -m research.papers_movielens ml-1m.zip build/papers && make demo RECSYS_DATA=build/papers
Expect: MovieLens-1M: 1,000,209 ratings, all liked, one of each user held out
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_exchange_center.columns import Columns
from data_exchange_center.files import written_in_place
from data_exchange_center.steps import StepError
from offline import movielens

DECLARED: Final = Path(__file__).with_suffix(".toml")
PREPARED: Final = "ml-papers"  # name of the data set
AT_ONCE_S: Final = 1  # between two ratings of one second, once times are distinct


def distinct_times(
    times: NDArray[np.int64], users: NDArray[np.int64]
) -> NDArray[np.int64]:
    """(n,) times and users of ratings that are sorted by both, ties in file order -> (n,) times, distinct by user.

    Where no user has two ratings in one second, times stay as they are.
    """
    begins = np.ones(len(users), np.bool_)
    begins[1:] = users[1:] != users[:-1]
    gaps = np.diff(times, prepend=times[:1])
    if (gaps[~begins] > 0).all():
        return times
    gaps = np.where(gaps == 0, AT_ONCE_S, np.maximum(gaps, AT_ONCE_S + 1))
    sums = np.cumsum(np.where(begins, 0, gaps))
    starts = np.flatnonzero(begins)
    shift = times[starts] - sums[starts]
    moved: NDArray[np.int64] = sums + np.repeat(
        shift, np.diff(np.append(starts, len(users)))
    )
    return moved


def prepare(source: Path, folder: Path) -> Path:
    """Write MovieLens, from a folder or zip, as papers take it. Returns ``folder``. Raises StepError without it."""
    with movielens.files_of(source) as files:
        layout = movielens.layout_of(files)
        if layout is None:
            raise StepError(
                f"{source} holds no MovieLens. Expected anywhere inside: {movielens.EXPECTED}."
            )
        data = movielens.parse(
            layout, *(files[name].read_bytes() for name in layout.files)
        )
    ratings = data.ratings.iloc[
        np.lexsort((data.ratings[Columns.TIMESTAMP], data.ratings[Columns.USER]))
    ]
    times, users = (
        ratings[name].to_numpy(np.int64) for name in (Columns.TIMESTAMP, Columns.USER)
    )
    tables = {
        "interactions": ratings.assign(
            **{Columns.TIMESTAMP: distinct_times(times, users)}
        ),
        "users": data.users,
        "items": pd.DataFrame(
            {
                Columns.ITEM: data.items[Columns.ITEM],
                Columns.TITLE: data.items[Columns.TITLE],
                Columns.GENRES: data.items[Columns.GENRES].map("|".join),
                movielens.YEAR: data.items[Columns.TITLE]
                .map(movielens.release_year)
                .astype("Int64"),
            }
        ),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        with written_in_place(folder / f"{name}.csv") as temporary:
            table.to_csv(temporary, index=False)
    (folder / "dataset.toml").write_bytes(DECLARED.read_bytes())
    return folder


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, help="MovieLens: a folder or a zip")
    parser.add_argument("folder", type=Path, help="where the data set is written")
    given = parser.parse_args()
    try:
        sys.stdout.write(f"written: {prepare(given.source, given.folder)}\n")
    except StepError as error:
        parser.error(str(error))
