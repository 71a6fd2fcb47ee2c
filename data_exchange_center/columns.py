"""Column names, spelled once."""

from __future__ import annotations

import re
from typing import Final


class Columns:
    """Names of the columns that cross a function or a file."""

    USER: Final = "userid"
    ITEM: Final = "itemid"
    OWN_ID: Final = "id"  # string: a user's or an item's id as the data set writes it; decimal for whole numbers
    RATING: Final = "rating"  # code of a level of `Dataset.levels`
    TIMESTAMP: Final = "timestamp"  # seconds since 1970-01-01 UTC
    LABEL: Final = "label"  # 1: rating above the data set's positive level, else 0
    SPLIT: Final = "split"  # one of Split
    GENDER: Final = "gender"
    AGE: Final = "age"
    OCCUPATION: Final = "occupation"
    TITLE: Final = "title"
    GENRES: Final = "genres"  # list of genre names, or of genre codes where a docstring says so
    SEEN: Final = "seen"  # list of itemids
    SCORE: Final = "score"
    PROFILE: Final = "profile"  # list of codes, one a profile field
    ITEMS: Final = "items"  # list of itemids, newest first
    RATINGS: Final = "ratings"  # list, beside ITEMS
    TIMES: Final = "times"  # list of seconds, beside ITEMS
    IMPRESSIONS: Final = "impressions"
    CLICKS: Final = "clicks"


class Split:
    """Values of ``Columns.SPLIT``."""

    TRAIN: Final = "train"
    TEST: Final = "test"
    HOLDOUT: Final = "holdout"  # the last events of every user: read by evaluation alone


def slug(name: str) -> str:
    """``Film-Noir`` -> ``film_noir``: letters, digits and underscores, as every store accepts."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower().replace("'", "")).strip("_")


def impressions(genre: str) -> str:
    """Column of a user's impressions of a genre within the window."""
    return f"imp_{slug(genre)}"


def clicks(genre: str) -> str:
    """Column of a user's clicks on a genre within the window."""
    return f"click_{slug(genre)}"


def vector_of(channel: str) -> str:
    """Name of a recall channel's vector: a column, a field of the item index, a field of a user's state."""
    return f"vector_{slug(channel)}"


def genre_flag(genre: str) -> str:
    """Column that says whether an item has a genre (1) or not (0)."""
    return f"genre_{slug(genre)}"
