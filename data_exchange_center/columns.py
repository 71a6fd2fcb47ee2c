"""Column names, spelled once."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Sequence
from typing import Final

LONGEST_SLUG: Final = 48


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
    RATINGS: Final = "ratings"  # list, parallel to ITEMS
    TIMES: Final = "times"  # list of seconds, parallel to ITEMS
    EVENT_TIMESTAMP: Final = "event_timestamp"  # when a row of the feature store became true
    N_RATINGS: Final = "n_ratings"  # statistic of a user: how many events the history has

    # names that an attribute's column cannot have
    TAKEN: Final = frozenset(
        {*(USER, ITEM, OWN_ID, TITLE, GENRES, LABEL, SPLIT, EVENT_TIMESTAMP)}
        | {N_RATINGS, "ratings", "likes", "recent", "mean_rating_x100"}  # statistics; an item's without ``item_``
    )


class Split:
    """Values of ``Columns.SPLIT``."""

    TRAIN: Final = "train"
    TEST: Final = "test"
    RECORDED: Final = "recorded"  # feedback collected by servers: trained on, whenever it happened
    HOLDOUT: Final = "holdout"  # every user's last events of the data set itself: read by evaluation alone


def slug(name: str) -> str:
    """``Film-Noir`` -> ``film_noir``: letters, digits and underscores, as every store accepts."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower().replace("'", "")).strip("_")


def slugs(names: Sequence[str], taken: Collection[str] = ()) -> list[str]:
    """A slug for each of different names: never empty, at most `LONGEST_SLUG` long, none twice and none ``taken``.

    Where a plain `slug` is taken, eight digits of the name's hash follow: ``C++`` after ``C`` is ``c_`` and these.
    The first of several names with the same slug, in alphabetical order, has the plain one.
    """
    used, made = set(taken), {}
    for name in sorted(set(names)):
        plain = slug(name)[:LONGEST_SLUG]
        if not plain or plain in used:
            digest = hashlib.sha256(name.encode()).hexdigest()[:8]
            plain = f"{plain or 'x'}_{digest}"
        used.add(plain)
        made[name] = plain
    return [made[name] for name in names]


def impressions(genres: Sequence[str]) -> list[str]:
    """Columns of a user's impressions of each of all genres within the window."""
    return [f"imp_{each}" for each in slugs(genres)]


def clicks(genres: Sequence[str]) -> list[str]:
    """Columns of a user's clicks on each of all genres within the window."""
    return [f"click_{each}" for each in slugs(genres)]


def genre_flags(genres: Sequence[str]) -> list[str]:
    """Columns that say whether an item has each of all genres (1) or not (0)."""
    return [f"genre_{each}" for each in slugs(genres)]
