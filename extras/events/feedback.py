"""Train on feedback of the server: step 0 takes it from Parquet, step 1 merges it into the data set.

Both steps find these functions in the entry points ``recsys.feedback``. A user's events become what `events.updated`
makes of them, the function that a server applies them with: rated again, the newer rating counts; retracted, none does.
So a model is trained on the same histories that requests carry.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_exchange_center import artifacts
from data_exchange_center.columns import Columns
from data_exchange_center.dataset import MAX_INTEGER, WITH_EVENTS, Dataset, IdKind, OwnId, own_id
from data_exchange_center.history import History
from data_exchange_center.settings import Settings
from extras.events.event_parts import EventParts
from extras.events.events import Event, Logged, updated

UNKNOWN: Final = "unknown"  # profile value of a new user
_IS_NEW = "is_new"
_RATING = [Columns.ITEM, Columns.RATING, Columns.TIMESTAMP]


def collect(settings: Settings, dataset: Dataset) -> tuple[Dataset, list[str]]:
    """Write `artifacts.EVENTS`, the feedback on this data set that `make events` has exported.

    Returns the data set with the name and counts that it will have when step 1 has merged the feedback, and lines to
    print.
    """
    folder = settings.exchange_dir
    events = EventParts(settings.events_dir(dataset.name)).read()
    if not settings.train_on_events:
        events = events[events["eventid"].isna()]  # a forgotten user stays forgotten
    ratings, users, items = (table.read(folder) for table in artifacts.RAW)
    merged = merge(dataset, ratings, users, items, events)
    artifacts.EVENTS.write(folder, events)
    lines = []
    if merged.changed:
        counts = {**dataset.counts, "ratings": len(merged.ratings), "users": len(merged.users)}
        dataset = dataset.model_copy(update={"name": dataset.name + WITH_EVENTS, "counts": counts})
        unknown_users = f", of {merged.unknown_users:,} users who are new" if merged.unknown_users else ""
        out = "RECSYS_TRAIN_ON_EVENTS=false leaves it out"
        lines = [f"feedback of the server: {merged.rated:,} ratings{unknown_users}; {out}"]
    left_out = {
        "events left out: the data set has no item of that id": merged.unknown_items,
        "events left out: their ids are of another kind than the data set's": merged.other_ids,
        "users left out: they were forgotten": merged.forgotten,
    }
    return dataset, [*lines, *(f"{count:,} {what}" for what, count in left_out.items() if count)]


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
    dataset: Dataset, ratings: pd.DataFrame, users: pd.DataFrame, items: pd.DataFrame, events: pd.DataFrame
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
    numbers = {own_id(text, dataset.item_ids): number for text, number in _numbers(items, Columns.ITEM).items()}

    # events with ids of the data set's kind, and of items that it has
    fits = events["userid"].map(lambda text: _fits(text, dataset.user_ids)).astype(bool)
    forgotten = set(events.loc[fits & events["eventid"].isna(), "userid"])
    events_of_users = events[fits & events["eventid"].notna()]
    fit_items = events_of_users["itemid"].map(lambda text: _fits(text, dataset.item_ids)).astype(bool)
    fitting = events_of_users[fit_items]
    known = fitting["itemid"].map(lambda text: own_id(text, dataset.item_ids) in numbers).astype(bool)
    rates = fitting["type"].map(lambda name: dataset.event_types.get(name) == "rates").astype(bool)

    # forgotten users out, unknown users in, then everybody's events
    gone = users[Columns.OWN_ID].isin(forgotten)
    left = ratings[~ratings[Columns.USER].isin(users.loc[gone, Columns.USER])] if gone.any() else ratings
    people = _with_unknown_users(
        users[~gone] if gone.any() else users, set(fitting.loc[known & rates, "userid"]), dataset
    )
    of_people = _numbers(people, Columns.USER)
    used = fitting[known]
    now, recorded = _updated(left, used[used["userid"].isin(of_people)], of_people, numbers, dataset)
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
    return kind == "string" or (text.isascii() and text.isdecimal() and 1 <= int(text) <= MAX_INTEGER)


def _numbers(table: pd.DataFrame, key: str) -> dict[str, int]:
    return dict(zip(table[Columns.OWN_ID], table[key].tolist(), strict=True))


def _with_unknown_users(users: pd.DataFrame, rated: set[str], dataset: Dataset) -> pd.DataFrame:
    """The users and those of ``rated`` who are not among them."""
    new = sorted(rated - set(users[Columns.OWN_ID]), key=lambda text: (len(text), text))
    if not new:
        return users
    if dataset.user_ids == "integer":
        numbers = [int(text) for text in new]
    else:
        first = int(users[Columns.USER].to_numpy().max(initial=0)) + 1
        numbers = list(range(first, first + len(new)))
    rows: dict[str, Any] = {Columns.USER: np.array(numbers, np.int32), Columns.OWN_ID: new}
    known = users.copy()
    for name in dataset.profile:
        known[name] = known[name].astype(str)  # a column is of whole numbers only where all values are known
        rows[name] = [UNKNOWN] * len(new)
    return pd.concat([known, pd.DataFrame(rows)]).sort_values(Columns.USER, ignore_index=True)


def _updated(
    ratings: pd.DataFrame, events: pd.DataFrame, numbers: dict[str, int], items: dict[OwnId, int], dataset: Dataset
) -> tuple[pd.DataFrame, NDArray[np.bool_]]:
    """Apply ``events`` to ``ratings``. Returns the ratings, and (rows,) True for those that are new.

    Args:
        numbers: own id of a user -> number; ``items``: own id of an item -> number.
    """
    if events.empty:
        return ratings, np.zeros(len(ratings), np.bool_)
    theirs = ratings[Columns.USER].isin([numbers[text] for text in events["userid"].unique()])
    histories: dict[Any, pd.DataFrame] = dict(iter(ratings[theirs].groupby(Columns.USER)[_RATING]))
    parts = [ratings[~theirs].assign(**{_IS_NEW: False})]
    for text, rows in events.groupby("userid"):
        number = numbers[str(text)]
        history = History.empty()
        if number in histories:
            history = History(*(histories[number][name].to_numpy(np.int64)[::-1] for name in _RATING))
        logged = [_logged(row, dataset) for row in rows.itertuples(index=False)]
        now, _ = updated(history, np.empty(0, np.int32), logged, items, dataset)
        columns = (now.item_numbers, now.ratings, now.times)
        part = pd.DataFrame({name: column[::-1] for name, column in zip(_RATING, columns, strict=True)})
        before = pd.MultiIndex.from_arrays([history.item_numbers, history.ratings, history.times])
        part[_IS_NEW] = ~pd.MultiIndex.from_frame(part).isin(before)
        part[Columns.USER] = number
        parts.append(part)
    merged = pd.concat(parts, ignore_index=True).astype(ratings.dtypes.to_dict())
    merged = merged.sort_values([Columns.USER, Columns.TIMESTAMP], kind="stable", ignore_index=True)
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
