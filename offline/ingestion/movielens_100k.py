"""MovieLens-100K, in GroupLens's own layout (u.data, u.user, u.item) and in RecBole's (.inter, .user, .item)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

import pandas as pd

from data_exchange_center.columns import Columns
from offline.ingestion.movielens import (
    MalformedLineError,
    MovieLens,
    items_table,
    lines,
    users_table,
)

GENRES = (  # the flags of u.item, in its order
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama"),
    *("Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"),
)

GROUPLENS_FILES = ("u.data", "u.user", "u.item")
RECBOLE_FILES = ("ml-100k.inter", "ml-100k.user", "ml-100k.item")

Row = TypeVar("Row")

_RATING_EXPECTED = "userid, itemid, rating of 1 to 5 and timestamp between tabs"
_HEADERS = {
    ".inter": "user_id:token\titem_id:token\trating:float\ttimestamp:float",
    ".user": "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token",
    ".item": "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq",
}


def parse_grouplens(ratings: bytes, users: bytes, items: bytes) -> MovieLens:
    """u.data (tabs), u.user and u.item (bars, 19 genre flags). Raises MalformedLineError and StepError."""
    files = GROUPLENS_FILES
    rated = _ratings(files[0], lines(ratings))
    user_rows = _rows(files[1], lines(users), _user("|"), "userid|age|gender|occupation|zip-code")
    item_rows = _rows(files[2], lines(items), _grouplens_item, "itemid|title|dates|address and 19 genre flags")
    return MovieLens(rated, users_table(user_rows), items_table(item_rows))


def parse_recbole(ratings: bytes, users: bytes, items: bytes) -> MovieLens:
    """ml-100k.inter, .user and .item: tabs, a typed header. Raises MalformedLineError and StepError."""
    files = RECBOLE_FILES
    bodies = [
        _body(file, content, header)
        for file, content, header in zip(files, (ratings, users, items), _HEADERS.values(), strict=True)
    ]
    rated = _ratings(files[0], bodies[0], first=2)
    user_rows = _rows(files[1], bodies[1], _user("\t"), _HEADERS[".user"], first=2)
    item_rows = _rows(files[2], bodies[2], _recbole_item, _HEADERS[".item"], first=2)
    return MovieLens(rated, users_table(user_rows), items_table(item_rows))


def _body(file: str, content: bytes, header: str) -> list[str]:
    first, *body = lines(content)
    if first != header:
        raise MalformedLineError(file, 1, first, f"the header {header!r}")
    return body


def _rows(file: str, content: list[str], read: Callable[[str], Row | None], expected: str, first: int = 1) -> list[Row]:
    rows = []
    for number, line in enumerate(content, start=first):
        row = read(line)
        if row is None:
            raise MalformedLineError(file, number, line, expected)
        rows.append(row)
    return rows


def _ratings(file: str, content: list[str], first: int = 1) -> pd.DataFrame:
    pattern = re.compile(r"(\d{1,9})\t(\d{1,9})\t([1-5])\t(\d{1,11})")

    def read(line: str) -> tuple[int, int, int, int] | None:
        match = pattern.fullmatch(line)
        return match and (int(match[1]), int(match[2]), int(match[3]), int(match[4]))

    frame = pd.DataFrame(
        _rows(file, content, read, _RATING_EXPECTED, first),
        columns=[Columns.USER, Columns.ITEM, Columns.RATING, Columns.TIMESTAMP],
    )
    return frame.astype({Columns.USER: "int32", Columns.ITEM: "int32", Columns.RATING: "int8"})


def _user(separator: str) -> Callable[[str], tuple[int, str, int, str] | None]:
    def read(line: str) -> tuple[int, str, int, str] | None:
        fields = line.split(separator)
        if len(fields) != 5 or not (fields[0].isdecimal() and fields[1].isdecimal() and fields[2] and fields[3]):
            return None
        return int(fields[0]), fields[2], int(fields[1]), fields[3]

    return read


def _grouplens_item(line: str) -> tuple[int, str, list[str]] | None:
    fields = line.split("|")
    flags = fields[5:]
    if len(flags) != len(GENRES) or not fields[0].isdecimal() or not set(flags) <= {"0", "1"}:
        return None
    return int(fields[0]), fields[1], [genre for genre, flag in zip(GENRES, flags, strict=True) if flag == "1"]


def _recbole_item(line: str) -> tuple[int, str, list[str]] | None:
    fields = line.split("\t")
    if len(fields) != 4 or not (fields[0].isdecimal() and fields[1]):
        return None
    itemid, title, year, genres = fields
    return int(itemid), f"{title} ({year})" if year.isdecimal() else title, genres.split()
