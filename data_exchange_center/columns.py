"""Column names, spelled once; and the three ids of a user or an item.

``own_id``: as in the user's data, an int or a str; ``userid`` and ``itemid`` in the API and in a user's files mean it.
``number``: the whole number inside, in stores and tables. ``code``: 1..n in a vocabulary, 0 for what is not in it.
Artifacts, Elasticsearch and Feast have had numbers under the names ``userid``, ``itemid`` and ``itemids`` from the
first release on, and own ids under ``id``: these names stay, as other ones would make other releases.
"""

from typing import Final, Literal

Entity = Literal["user", "item"]  # owner of a stored feature


class Columns:
    """Names of the columns that cross a function or a file."""

    USER: Final = "userid"  # the user's number
    ITEM: Final = "itemid"  # the item's number
    OWN_ID: Final = "id"  # string: a user's or an item's own id, as the data set writes it; decimal for whole numbers
    RATING: Final = "rating"  # code of a level of `Dataset.levels`
    TIMESTAMP: Final = "timestamp"  # seconds since 1970-01-01 UTC
    LABEL: Final = "label"  # 1: rating above the data set's positive level, else 0
    SPLIT: Final = "split"  # one of Split
    GENDER: Final = "gender"
    AGE: Final = "age"
    OCCUPATION: Final = "occupation"
    TITLE: Final = "title"
    # list of genre names, or of genre codes where a docstring says so
    GENRES: Final = "genres"
    SEEN: Final = "seen"  # list of item numbers
    SCORE: Final = "score"
    PROFILE: Final = "profile"  # list of codes, one a profile field
    ITEMS: Final = "items"  # list of item numbers, newest first
    RATINGS: Final = "ratings"  # list, parallel to ITEMS
    TIMES: Final = "times"  # list of seconds, parallel to ITEMS
    # when a row of the feature store became true
    EVENT_TIMESTAMP: Final = "event_timestamp"
    # statistic of a user: how many events the history has
    N_RATINGS: Final = "n_ratings"

    # names that an attribute's column cannot have
    TAKEN: Final = frozenset(
        {
            USER,
            ITEM,
            OWN_ID,
            TITLE,
            GENRES,
            LABEL,
            SPLIT,
            EVENT_TIMESTAMP,
            # statistics; an item's without ``item_``
            N_RATINGS,
            "ratings",
            "likes",
            "recent",
            "mean_rating_x100",
        }
    )


class Split:
    """Values of ``Columns.SPLIT``."""

    TRAIN: Final = "train"
    TEST: Final = "test"
    # feedback collected by servers: trained on, whenever it happened
    RECORDED: Final = "recorded"
    HOLDOUT: Final = "holdout"  # every user's last events of the data set itself: read by evaluation alone
