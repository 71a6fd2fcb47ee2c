"""MovieLens files in, tables out; a malformed line is named by file and number.

Three tables cross this module: ratings (userid, itemid, rating, timestamp; in file order), users (userid, gender,
age, occupation) and items (itemid, title, genres). `parse` reads them from the layout of MovieLens-1M
(``::`` between fields; `movielens_100k` reads the other one), `dump` writes that layout. `tables` and `DECLARATION` are
what `ingest.ingest` takes, as of any other data set.

Bytes are UTF-8, or ISO-8859-1 where they are not valid UTF-8 (GroupLens's own movies.dat); `dump` writes UTF-8.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv

from data_exchange_center.columns import Columns
from data_exchange_center.dataset import HoldoutRule
from data_exchange_center.steps import StepError
from offline.ingestion.declaration import (
    INTERACTIONS,
    ITEMS,
    USERS,
    AttributeSpec,
    Declaration,
    InteractionsTable,
    ItemsTable,
    UsersTable,
)
from offline.ingestion.tables import MadeRows, Rows

RATINGS_DAT, USERS_DAT, MOVIES_DAT = "ratings.dat", "users.dat", "movies.dat"
YEAR = "year"  # of release, out of the title

# Stars above three are liked. The last ten of every user are held out.
DECLARATION = Declaration(
    name="movielens",
    interactions=InteractionsTable(
        user=Columns.USER,
        item=Columns.ITEM,
        time=Columns.TIMESTAMP,
        value=Columns.RATING,
        positive_above=3,
        levels=(1, 2, 3, 4, 5),
    ),
    users=UsersTable(
        id=Columns.USER,
        attributes={
            name: AttributeSpec(kind="categorical") for name in (Columns.GENDER, Columns.AGE, Columns.OCCUPATION)
        },
        crossed=(Columns.GENDER, Columns.AGE),
    ),
    items=ItemsTable(
        id=Columns.ITEM,
        title=Columns.TITLE,
        attributes={
            Columns.GENRES: AttributeSpec(kind="multi-valued"),
            YEAR: AttributeSpec(kind="numeric", shown=False, scale=100, centres=tuple(range(1920, 2001, 8)), width=6),
        },
    ),
    holdout=HoldoutRule(last=10),
)
NO_GENRE = "(no genres listed)"  # how GroupLens spells an empty list

_RATING_LINE = re.compile(rb"\d{1,9}::\d{1,9}::[1-5]::\d{1,11}")
_RATING_EXPECTED = "userid::itemid::rating::timestamp, four whole numbers with a rating of 1 to 5"
_USER_LINE = re.compile(r"(\d{1,9})::([^:]+)::(\d{1,3})::([^:]+)(?:::.*)?")
_USER_EXPECTED = "userid::gender::age::occupation::zip-code"
_MOVIE_LINE = re.compile(r"(\d{1,9})::(.+)::([^:]*)")
_MOVIE_EXPECTED = "itemid::title::genre|genre"


class MalformedLineError(StepError):
    """A line is not what it should be.

    Attributes:
        file: its name.
        line: its number, from 1.
    """

    def __init__(self, file: str, line: int, found: str, expected: str) -> None:
        self.file, self.line = file, line
        super().__init__(f"{file}, line {line}: {expected} expected, found {found[:120]!r}.")


@dataclass(frozen=True)
class MovieLens:
    """The three tables of a data set."""

    ratings: pd.DataFrame  # userid, itemid, rating, timestamp
    users: pd.DataFrame  # userid, gender, age, occupation
    items: pd.DataFrame  # itemid, title, genres: list of genre names


def parse(ratings: bytes, users: bytes, movies: bytes) -> MovieLens:
    """The three files of a MovieLens-1M layout, by content. Raises MalformedLineError and StepError."""
    return MovieLens(parse_ratings(ratings), parse_users(users), parse_movies(movies))


def tables(data: MovieLens, files: tuple[str, str, str]) -> dict[str, Rows]:
    """The tables that `DECLARATION` speaks of; ``files``: what they were read from, for messages."""
    items = data.items.assign(**{YEAR: data.items[Columns.TITLE].map(release_year).astype("float64")})
    frames = ((INTERACTIONS, data.ratings, "rating"), (USERS, data.users, "entry"), (ITEMS, items, "entry"))
    return {
        table: MadeRows(file, pa.Table.from_pandas(frame, preserve_index=False), rows)
        for (table, frame, rows), file in zip(frames, files, strict=True)
    }


def release_year(title: str) -> float:
    """``Toy Story (1995)`` -> 1995; NaN where the title names none."""
    found = re.search(r"\((\d{4})\)\s*$", title)
    return float(found.group(1)) if found else float("nan")


def dump(data: MovieLens) -> dict[str, bytes]:
    """File name -> bytes in the layout of MovieLens-1M; the zip-code, which nothing here uses, is left empty."""
    ratings = data.ratings.to_csv(sep=":", header=False, index=False, lineterminator="\n").replace(":", "::")
    users = "".join(f"{u}::{gender}::{age}::{job}::\n" for u, gender, age, job in data.users.itertuples(index=False))
    movies = "".join(f"{i}::{title}::{'|'.join(genres)}\n" for i, title, genres in data.items.itertuples(index=False))
    return {RATINGS_DAT: ratings.encode(), USERS_DAT: users.encode(), MOVIES_DAT: movies.encode()}


def parse_ratings(content: bytes) -> pd.DataFrame:
    """ratings.dat -> userid int32, itemid int32, rating int8, timestamp int64, in file order.

    Arrow reads the million lines at once; only when it stumbles are they walked one by one to name the first bad one.
    """
    if not content.strip():
        raise StepError(f"{RATINGS_DAT} is empty: {_RATING_EXPECTED} expected.")
    columns = {
        Columns.USER: pa.int32(),
        Columns.ITEM: pa.int32(),
        Columns.RATING: pa.int8(),
        Columns.TIMESTAMP: pa.int64(),
    }
    gaps = ("gap1", "gap2", "gap3")  # Arrow separates by one character: "::" is an empty column
    user, item, rating, timestamp = columns
    try:
        table = pacsv.read_csv(
            pa.BufferReader(content),
            pacsv.ReadOptions(column_names=[user, gaps[0], item, gaps[1], rating, gaps[2], timestamp]),
            pacsv.ParseOptions(delimiter=":", quote_char=False, ignore_empty_lines=False),
            pacsv.ConvertOptions(
                column_types={**columns, **dict.fromkeys(gaps, pa.null())}, null_values=[""], strings_can_be_null=True
            ),
        ).select(list(columns))
        if any(column.null_count for column in table.columns):
            raise pa.ArrowInvalid("a field is empty")
    except pa.ArrowInvalid as error:
        raise _first_bad_rating(content, str(error)) from error
    frame: pd.DataFrame = table.to_pandas()
    if not (
        frame[Columns.RATING].between(1, 5).all()
        and (frame[[Columns.USER, Columns.ITEM, Columns.TIMESTAMP]] >= 0).all(axis=None)
    ):
        raise _first_bad_rating(content, "a number is out of range")
    return frame


def _first_bad_rating(content: bytes, why: str) -> StepError:
    for number, line in enumerate(content.splitlines(), start=1):
        if not _RATING_LINE.fullmatch(line):
            return MalformedLineError(RATINGS_DAT, number, line.decode("latin-1"), _RATING_EXPECTED)
    return StepError(f"{RATINGS_DAT} cannot be read ({why}): {_RATING_EXPECTED} expected on every line.")


def parse_users(content: bytes) -> pd.DataFrame:
    """users.dat -> userid int32, gender, age int32, occupation (a code in 1M, a word in 100K: always a string)."""
    rows = [
        (int(match[1]), match[2], int(match[3]), match[4])
        for match in _matches(USERS_DAT, content, _USER_LINE, _USER_EXPECTED)
    ]
    return users_table(rows)


def parse_movies(content: bytes) -> pd.DataFrame:
    """movies.dat -> itemid int32, title, genres (list of names, as listed)."""
    rows = [
        (int(match[1]), match[2], [genre for genre in match[3].split("|") if genre and genre != NO_GENRE])
        for match in _matches(MOVIES_DAT, content, _MOVIE_LINE, _MOVIE_EXPECTED)
    ]
    return items_table(rows)


def users_table(rows: list[tuple[int, str, int, str]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=[Columns.USER, Columns.GENDER, Columns.AGE, Columns.OCCUPATION])
    return frame.astype({Columns.USER: "int32", Columns.AGE: "int32"})


def items_table(rows: list[tuple[int, str, list[str]]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=[Columns.ITEM, Columns.TITLE, Columns.GENRES]).astype({Columns.ITEM: "int32"})


def decode(content: bytes) -> str:
    """UTF-8, or ISO-8859-1 for what is not."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("iso-8859-1")


def lines(content: bytes) -> list[str]:
    """Lines without their ends; only ``\\n`` and ``\\r\\n`` end a line (a title may hold other separators)."""
    return [line.removesuffix("\r") for line in decode(content).removesuffix("\n").split("\n")]


def _matches(file: str, content: bytes, pattern: re.Pattern[str], expected: str) -> Iterator[re.Match[str]]:
    if not content.strip():
        raise StepError(f"{file} is empty: {expected} expected.")
    for number, line in enumerate(lines(content), start=1):
        match = pattern.fullmatch(line)
        if match is None:
            raise MalformedLineError(file, number, line, expected)
        yield match
