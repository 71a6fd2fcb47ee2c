"""Feedback of users that a server has received, as training data.

`make events` exports the log of events: a folder for each data set, in it files that are each named by the range of the
log that they hold. Step 0 reads them (`exported`), step 1 merges them into the data set (`merge`). A user's events
become what `events.updated` makes of them, the function that a server applies them with: rated again, the newer rating
counts; retracted, none does. So a model is trained on the same histories that requests carry.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from data_exchange_center import artifacts, wire
from data_exchange_center.artifacts import ArtifactError
from data_exchange_center.columns import Columns
from data_exchange_center.dataset import MAX_INTEGER, Dataset, IdKind, OwnId, own_id
from data_exchange_center.events import Event, Logged, updated
from data_exchange_center.history import History

UNKNOWN: Final = "unknown"  # profile value of a new user
_IS_NEW = "is_new"
_RATING = [Columns.ITEM, Columns.RATING, Columns.TIMESTAMP]

# of an entry in the log: milliseconds when it was acknowledged, and a count
Position = tuple[int, int]
BEGINNING: Final[Position] = (0, 0)
SCHEMA: Final = pa.schema(list(artifacts.EVENTS.columns.items()))
READ_AGAIN: Final = (
    "Delete the folder: `make events` reads the whole log again; or restore a backup."
)
# partition, after, up to
_NAME: Final = re.compile(r"(\d\d)-(\d{15})-(\d{9})-(\d{15})-(\d{9})")


# ---------------------------------------------------------------------------------------------- files of the export


def files_of(folder: Path, partition: int | None = None) -> list[Path]:
    """Files of one partition of the log or of all, in its order."""
    return sorted(
        folder.glob("*.parquet" if partition is None else f"{partition:02d}-*.parquet")
    )


def span_of(path: Path) -> tuple[Position, Position]:
    """Range of the log that a file holds: after a position, up to another. Raises ArtifactError."""
    match = _NAME.fullmatch(path.stem)
    if match is None:
        raise ArtifactError(
            f"{path} is not named as files of events are. Move it away."
        )
    _, *numbers = map(int, match.groups())
    return (numbers[0], numbers[1]), (numbers[2], numbers[3])


def has_gaps(folder: Path) -> bool:
    """Whether a file is missing although a later one of its partition is there."""
    for partition in range(wire.EVENT_PARTITIONS):
        read_up_to = BEGINNING
        for path in files_of(folder, partition):
            after, up_to = span_of(path)
            if after > read_up_to:
                return True
            read_up_to = up_to
    return False


def read_file(path: Path) -> pa.Table:
    """Read one file. Raises ArtifactError where it is damaged."""
    try:
        return pq.read_table(path, schema=SCHEMA)
    except (pa.ArrowException, OSError) as error:
        raise ArtifactError(f"{path} cannot be read ({error}). {READ_AGAIN}") from error


def exported(folder: Path) -> pd.DataFrame:
    """All events as `artifacts.EVENTS`, by time of acknowledgement. Raises ArtifactError (damaged, missing)."""
    if has_gaps(folder):
        raise ArtifactError(f"Files of events are missing in {folder}. {READ_AGAIN}")
    tables = [SCHEMA.empty_table(), *map(read_file, files_of(folder))]
    order = [(name, "ascending") for name in ("acknowledged_ms", "sequence")]
    frame: pd.DataFrame = pa.concat_tables(tables).sort_by(order).to_pandas()
    return frame


# -------------------------------------------------------------------------------------------- merged into the data


class Merged(NamedTuple):
    """The data set with the recorded events in it, and counts of what was merged or left out.

    Attributes:
        ratings, users: as `artifacts.RAW_INTERACTIONS` and `artifacts.RAW_USERS`.
        recorded: (rows of ``ratings``,) True for those that are not the data set's own.
        rated: recorded events that rate an item which the data set knows.
        unknown_items: recorded events left out, as no item of the data set has that id.
        other_ids: recorded events and users left out, whose id is of another kind than the data set's.
        unknown_users: users who were not in the data set.
        forgotten: users who are not in it any more.
        changed: whether the merge has changed the data set.
    """

    ratings: pd.DataFrame
    users: pd.DataFrame
    recorded: NDArray[np.bool_]
    rated: int = 0
    unknown_items: int = 0
    other_ids: int = 0
    unknown_users: int = 0
    forgotten: int = 0
    changed: bool = False


def merge(
    dataset: Dataset,
    ratings: pd.DataFrame,
    users: pd.DataFrame,
    items: pd.DataFrame,
    events: pd.DataFrame,
) -> Merged:
    """Merge recorded events into a data set.

    A forgotten user loses the profile and all events recorded before, those of the data set too; what was recorded
    later is a new user's, whose profile is unknown.

    Args:
        ratings, users, items: as `artifacts.RAW_INTERACTIONS`, `RAW_USERS` and `RAW_ITEMS`.
        events: as `artifacts.EVENTS`.
    """
    item_numbers = {
        own_id(text, dataset.item_ids): number
        for text, number in _numbers(items, Columns.ITEM).items()
    }
    effects = dataset.event_types
    logged = defaultdict(list)  # by the user's own id, of items that the data set has
    forgotten, raters = set(), set()
    rated = unknown_items = other_ids = 0
    rows: Iterator[Any] = events.itertuples(index=False)
    for row in rows:
        user = row.userid
        if not _fits(user, dataset.user_ids):
            other_ids += 1
        elif pd.isna(row.eventid):
            forgotten.add(user)
        elif not _fits(row.itemid, dataset.item_ids):
            other_ids += 1
        elif own_id(row.itemid, dataset.item_ids) not in item_numbers:
            unknown_items += 1
        else:
            logged[user].append(_logged(row, dataset))
            if effects.get(row.type) == "rates":
                rated += 1
                raters.add(user)

    # forgotten users out, unknown users in, then everybody's events
    gone = users[Columns.OWN_ID].isin(forgotten)
    left = ratings[~ratings[Columns.USER].isin(users.loc[gone, Columns.USER])]
    people = _with_unknown_users(users[~gone], raters, dataset)
    by_number = {
        number: logged[user]
        for user, number in _numbers(people, Columns.USER).items()
        if user in logged
    }
    now, recorded = _updated(left, by_number, item_numbers, dataset)
    return Merged(
        ratings=now,
        users=people,
        recorded=recorded,
        rated=rated,
        unknown_items=unknown_items,
        other_ids=other_ids,
        unknown_users=len(people) - int((~gone).sum()),
        forgotten=int(gone.sum()),
        changed=len(people) != len(users) or not now.equals(ratings),
    )


def _fits(text: str, kind: IdKind) -> bool:
    """Whether a text can be an id of the kind: every text can where ids are strings."""
    whole = text.isascii() and text.isdecimal()
    return kind == "string" or (whole and 1 <= int(text) <= MAX_INTEGER)


def _numbers(table: pd.DataFrame, key: str) -> dict[str, int]:
    return dict(zip(table[Columns.OWN_ID], table[key].tolist(), strict=True))


def _logged(row: Any, dataset: Dataset) -> Logged:
    event = Event(
        row.eventid,
        own_id(row.userid, dataset.user_ids),
        own_id(row.itemid, dataset.item_ids),
        row.type,
        int(row.timestamp),
        None if pd.isna(row.value) else float(row.value),
    )
    return Logged(event.timestamp, (int(row.acknowledged_ms), int(row.sequence)), event)


def _with_unknown_users(
    users: pd.DataFrame, raters: set[str], dataset: Dataset
) -> pd.DataFrame:
    """The users and those of ``raters`` who are not among them."""
    new = sorted(
        raters - set(users[Columns.OWN_ID]), key=lambda text: (len(text), text)
    )
    if not new:
        return users
    newest = users[Columns.USER].to_numpy().max(initial=0)
    numbers = newest + 1 + np.arange(len(new))
    if dataset.user_ids == "integer":
        numbers = np.array(new, np.int64)
    rows = {Columns.USER: numbers.astype(np.int32), Columns.OWN_ID: new}
    # a column is of whole numbers only where all values are known
    texts = users.astype(dict.fromkeys(dataset.profile, str))
    unknown = pd.DataFrame(rows | dict.fromkeys(dataset.profile, UNKNOWN))
    return pd.concat([texts, unknown]).sort_values(Columns.USER, ignore_index=True)


def _updated(
    ratings: pd.DataFrame,
    logged: Mapping[int, list[Logged]],
    items: dict[OwnId, int],
    dataset: Dataset,
) -> tuple[pd.DataFrame, NDArray[np.bool_]]:
    """Apply events to ``ratings``. Returns the ratings, and (rows,) True for those that are new.

    Args:
        logged: number of a user -> events; ``items``: own id of an item -> number.
    """
    theirs = ratings[Columns.USER].isin(logged)
    before = dict(iter(ratings[theirs].groupby(Columns.USER)[_RATING]))
    parts = [ratings[~theirs].assign(**{_IS_NEW: False})]
    for number, events in logged.items():
        rows = before.get(number, ratings.loc[[], _RATING])
        history = History(*(rows[name].to_numpy(np.int64)[::-1] for name in _RATING))
        now, _ = updated(history, np.empty(0, np.int32), events, items, dataset)
        columns = (now.item_numbers[::-1], now.ratings[::-1], now.times[::-1])
        part = pd.DataFrame(dict(zip(_RATING, columns, strict=True)))
        known = set(rows.itertuples(index=False, name=None))
        made = part.itertuples(index=False, name=None)
        part[_IS_NEW] = [row not in known for row in made]
        part[Columns.USER] = number
        parts.append(part)
    merged = pd.concat(parts, ignore_index=True).astype(ratings.dtypes.to_dict())
    merged = merged.sort_values(
        [Columns.USER, Columns.TIMESTAMP], kind="stable", ignore_index=True
    )
    return merged, merged.pop(_IS_NEW).to_numpy(np.bool_)
