"""Feedback of users that a server has received, as training data.

`make events` exports the log of events: a folder for each data set, in it files that are each named by the range of the
log that they hold. Step 0 reads them (`exported`), step 1 merges them into the data set (`merge`). A user's events
become what `events.updated` makes of them, the function that a server applies them with: rated again, the newer rating
counts; retracted, none does. So a model is trained on the same histories that requests carry.
"""

import re
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
READ_AGAIN: Final = "`make events` reads what is missing from the log again."
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
            f"{path} is not named as files of events are. Move it away: {READ_AGAIN}"
        )
    _, *numbers = map(int, match.groups())
    return (numbers[0], numbers[1]), (numbers[2], numbers[3])


def missing(folder: Path, partition: int) -> list[tuple[Position, Position]]:
    """Ranges (after, up to) of a partition that no file holds, although a later file is there."""
    found = []
    read_up_to = BEGINNING
    for path in files_of(folder, partition):
        after, up_to = span_of(path)
        if after > read_up_to:
            found.append((read_up_to, after))
        read_up_to = up_to
    return found


def read_file(path: Path) -> pa.Table:
    """Read one file. Raises ArtifactError where it is damaged."""
    try:
        return pq.read_table(path, schema=SCHEMA)
    except (pa.ArrowException, OSError) as error:
        raise ArtifactError(
            f"{path} cannot be read ({error}). Delete it: {READ_AGAIN}"
        ) from error


def gaps(folder: Path) -> int:
    """How many ranges of the log are missing, of all partitions."""
    return sum(
        len(missing(folder, partition)) for partition in range(wire.EVENT_PARTITIONS)
    )


def exported(folder: Path) -> pd.DataFrame:
    """All events as `artifacts.EVENTS`, by time of acknowledgement. Raises ArtifactError (damaged, missing)."""
    absent = gaps(folder)
    if absent:
        raise ArtifactError(
            f"Files of events are missing in {folder}: {absent} of the log's ranges. {READ_AGAIN}"
        )
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
    if events.empty:
        return Merged(ratings, users, np.zeros(len(ratings), np.bool_))
    numbers = {
        own_id(text, dataset.item_ids): number
        for text, number in _numbers(items, Columns.ITEM).items()
    }

    # events with ids of the data set's kind, and of items that it has
    fits = events["userid"].map(lambda text: _fits(text, dataset.user_ids)).astype(bool)
    forgotten = set(events.loc[fits & events["eventid"].isna(), "userid"])
    events_of_users = events[fits & events["eventid"].notna()]
    fit_items = (
        events_of_users["itemid"]
        .map(lambda text: _fits(text, dataset.item_ids))
        .astype(bool)
    )
    fitting = events_of_users[fit_items]
    known = (
        fitting["itemid"]
        .map(lambda text: own_id(text, dataset.item_ids) in numbers)
        .astype(bool)
    )
    rates = (
        fitting["type"]
        .map(lambda name: dataset.event_types.get(name) == "rates")
        .astype(bool)
    )

    # forgotten users out, unknown users in, then everybody's events
    gone = users[Columns.OWN_ID].isin(forgotten)
    left = (
        ratings[~ratings[Columns.USER].isin(users.loc[gone, Columns.USER])]
        if gone.any()
        else ratings
    )
    people = _with_unknown_users(
        users[~gone] if gone.any() else users,
        set(fitting.loc[known & rates, "userid"]),
        dataset,
    )
    of_people = _numbers(people, Columns.USER)
    used = fitting[known]
    now, recorded = _updated(
        left, used[used["userid"].isin(of_people)], of_people, numbers, dataset
    )
    return Merged(
        ratings=now,
        users=people,
        recorded=recorded,
        rated=int((known & rates).sum()),
        unknown_items=int((~known).sum()),
        other_ids=int((~fits).sum() + (~fit_items).sum()),
        unknown_users=len(people) - int((~gone).sum()),
        forgotten=int(gone.sum()),
        changed=len(people) != len(users) or not now.equals(ratings),
    )


def _fits(text: str, kind: IdKind) -> bool:
    """Whether a text can be an id of the kind: every text can where ids are strings."""
    return kind == "string" or (
        text.isascii() and text.isdecimal() and 1 <= int(text) <= MAX_INTEGER
    )


def _numbers(table: pd.DataFrame, key: str) -> dict[str, int]:
    return dict(zip(table[Columns.OWN_ID], table[key].tolist(), strict=True))


def _with_unknown_users(
    users: pd.DataFrame, rated: set[str], dataset: Dataset
) -> pd.DataFrame:
    """The users and those of ``rated`` who are not among them."""
    new = sorted(rated - set(users[Columns.OWN_ID]), key=lambda text: (len(text), text))
    if not new:
        return users
    if dataset.user_ids == "integer":
        numbers = [int(text) for text in new]
    else:
        first = int(users[Columns.USER].to_numpy().max(initial=0)) + 1
        numbers = list(range(first, first + len(new)))
    rows: dict[str, Any] = {
        Columns.USER: np.array(numbers, np.int32),
        Columns.OWN_ID: new,
    }
    known = users.copy()
    for name in dataset.profile:
        # a column is of whole numbers only where all values are known
        known[name] = known[name].astype(str)
        rows[name] = [UNKNOWN] * len(new)
    return pd.concat([known, pd.DataFrame(rows)]).sort_values(
        Columns.USER, ignore_index=True
    )


def _updated(
    ratings: pd.DataFrame,
    events: pd.DataFrame,
    numbers: dict[str, int],
    items: dict[OwnId, int],
    dataset: Dataset,
) -> tuple[pd.DataFrame, NDArray[np.bool_]]:
    """Apply ``events`` to ``ratings``. Returns the ratings, and (rows,) True for those that are new.

    Args:
        numbers: own id of a user -> number; ``items``: own id of an item -> number.
    """
    if events.empty:
        return ratings, np.zeros(len(ratings), np.bool_)
    theirs = ratings[Columns.USER].isin(
        [numbers[text] for text in events["userid"].unique()]
    )
    histories: dict[Any, pd.DataFrame] = dict(
        iter(ratings[theirs].groupby(Columns.USER)[_RATING])
    )
    parts = [ratings[~theirs].assign(**{_IS_NEW: False})]
    for text, rows in events.groupby("userid"):
        number = numbers[str(text)]
        history = History.empty()
        if number in histories:
            history = History(
                *(histories[number][name].to_numpy(np.int64)[::-1] for name in _RATING)
            )
        logged = [_logged(row, dataset) for row in rows.itertuples(index=False)]
        now, _ = updated(history, np.empty(0, np.int32), logged, items, dataset)
        columns = (now.item_numbers, now.ratings, now.times)
        part = pd.DataFrame(
            {name: column[::-1] for name, column in zip(_RATING, columns, strict=True)}
        )
        before = pd.MultiIndex.from_arrays(
            [history.item_numbers, history.ratings, history.times]
        )
        part[_IS_NEW] = ~pd.MultiIndex.from_frame(part).isin(before)
        part[Columns.USER] = number
        parts.append(part)
    merged = pd.concat(parts, ignore_index=True).astype(ratings.dtypes.to_dict())
    merged = merged.sort_values(
        [Columns.USER, Columns.TIMESTAMP], kind="stable", ignore_index=True
    )
    return merged, merged.pop(_IS_NEW).to_numpy(np.bool_)


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
