"""What running servers were told joins the data set's own events, by the rules that a server follows itself."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_exchange_center.columns import Columns
from data_exchange_center.dataset import IdKind
from data_exchange_center.events import Event, Logged, updated
from data_exchange_center.history import History
from data_exchange_center.own_ids import MAX_INTEGER, OwnId, own_id
from offline.ingestion.attributes import UNKNOWN
from offline.ingestion.ingest import Ingested

_IS_NEW = "is_new"
_RATING = [Columns.ITEM, Columns.RATING, Columns.TIMESTAMP]


@dataclass(frozen=True)
class Told:
    """What has become of the events that servers were told.

    Attributes:
        ratings: events that rate an item which the data set knows.
        unknown_items: events that are left out, as no item of the data set has that id.
        other_ids: events and users left out whose id is of another kind than the data set's.
        strangers: users who were not in the data set.
        forgotten: users who are not in it any more.
        changed: whether it is another data set by that.
    """

    ratings: int = 0
    unknown_items: int = 0
    other_ids: int = 0
    strangers: int = 0
    forgotten: int = 0
    changed: bool = False


@dataclass(frozen=True)
class Joined:
    """The data set with the events in it; ``recorded``: (rows of ``data.ratings``,) those that are not its own."""

    data: Ingested
    recorded: NDArray[np.bool_]
    told: Told


def join(data: Ingested, recorded: pd.DataFrame) -> Joined:
    """A user's events become what `events.updated` makes of them: rated again, the newer counts; retracted, neither.

    Who was forgotten loses all events of the data set, too, and the profile with them; what was recorded later is a
    stranger's. A stranger's profile is unknown.

    Args:
        recorded: as `artifacts.EVENTS`.
    """
    if recorded.empty:
        return Joined(data, np.zeros(len(data.ratings), np.bool_), Told())
    kinds = data.dataset.user_ids, data.dataset.item_ids
    items = {own_id(text, kinds[1]): number for text, number in _numbers(data.items, Columns.ITEM).items()}
    fits = recorded["userid"].map(lambda text: _fits(text, kinds[0])).astype(bool)
    forgotten = set(recorded.loc[fits & recorded["eventid"].isna(), "userid"])
    told = recorded[fits & recorded["eventid"].notna()]
    fit_items = told["itemid"].map(lambda text: _fits(text, kinds[1])).astype(bool)
    other_ids = int((~fits).sum() + (~fit_items).sum())
    told = told[fit_items]
    known = told["itemid"].map(lambda text: own_id(text, kinds[1]) in items).astype(bool)
    rates = told["type"].map(lambda name: data.dataset.event_types.get(name) == "rates").astype(bool)
    used = told[known]

    left = _without(data, forgotten)
    rated = set(told.loc[known & rates, "userid"])
    users = _with_strangers(left, rated)
    numbers = _numbers(users, Columns.USER)
    ratings, of_servers = _updated(left, used[used["userid"].isin(numbers)], numbers, items)
    counts = {**data.dataset.counts, "ratings": len(ratings), "users": len(users)}
    return Joined(
        data=replace(data, ratings=ratings, users=users, dataset=data.dataset.model_copy(update={"counts": counts})),
        recorded=of_servers,
        told=Told(
            ratings=int((known & rates).sum()),
            unknown_items=int((~known).sum()),
            other_ids=other_ids,
            strangers=len(users) - len(left.users),
            forgotten=len(data.users) - len(left.users),
            changed=len(users) != len(data.users) or not ratings.equals(data.ratings),
        ),
    )


def _fits(text: str, kind: IdKind) -> bool:
    """Whether it can be an id of the kind; of a data set whose ids are strings, every text can."""
    return kind == "string" or (text.isascii() and text.isdecimal() and 1 <= int(text) <= MAX_INTEGER)


def _numbers(table: pd.DataFrame, key: str) -> dict[str, int]:
    return dict(zip(table[Columns.OWN_ID], table[key].tolist(), strict=True))


def _without(data: Ingested, forgotten: set[str]) -> Ingested:
    gone = data.users[Columns.OWN_ID].isin(forgotten)
    if not gone.any():
        return data
    of_them = data.ratings[Columns.USER].isin(data.users.loc[gone, Columns.USER])
    return replace(data, users=data.users[~gone], ratings=data.ratings[~of_them])


def _with_strangers(data: Ingested, rated: set[str]) -> pd.DataFrame:
    """The users and those of ``rated`` who are not among them; `artifacts.USERS`."""
    new = sorted(rated - set(data.users[Columns.OWN_ID]), key=lambda text: (len(text), text))
    if not new:
        return data.users
    if data.dataset.user_ids == "integer":
        numbers = [int(text) for text in new]
    else:
        first = int(data.users[Columns.USER].to_numpy().max(initial=0)) + 1
        numbers = list(range(first, first + len(new)))
    rows: dict[str, Any] = {Columns.USER: np.array(numbers, np.int32), Columns.OWN_ID: new}
    known = data.users.copy()
    for name in data.dataset.profile:
        known[name] = known[name].astype(str)  # numbers only where all are known, as in `attributes.categories`
        rows[name] = [UNKNOWN] * len(new)
    users = pd.concat([known, pd.DataFrame(rows)])
    return users.sort_values(Columns.USER, ignore_index=True)


def _updated(
    data: Ingested, recorded: pd.DataFrame, numbers: dict[str, int], items: dict[OwnId, int]
) -> tuple[pd.DataFrame, NDArray[np.bool_]]:
    """`Ingested.ratings` with the events of everybody in ``recorded`` applied, and (rows,) which are not its own."""
    if recorded.empty:
        return data.ratings, np.zeros(len(data.ratings), np.bool_)
    theirs = data.ratings[Columns.USER].isin([numbers[text] for text in recorded["userid"].unique()])
    histories: dict[Any, pd.DataFrame] = dict(iter(data.ratings[theirs].groupby(Columns.USER)[_RATING]))
    parts = [data.ratings[~theirs].assign(**{_IS_NEW: False})]
    for text, rows in recorded.groupby("userid"):
        number = numbers[str(text)]
        history = _history(histories[number]) if number in histories else History.empty()
        events = [_logged(row, data) for row in rows.itertuples(index=False)]
        now, _ = updated(history, np.empty(0, np.int32), events, items, data.dataset)
        columns = (now.itemids, now.ratings, now.times)
        parts.append(pd.DataFrame({name: column[::-1] for name, column in zip(_RATING, columns, strict=True)}))
        parts[-1].insert(0, Columns.USER, number)
        before = pd.MultiIndex.from_arrays([history.itemids, history.ratings, history.times])
        parts[-1][_IS_NEW] = ~pd.MultiIndex.from_frame(parts[-1][_RATING]).isin(before)
    joined = pd.concat(parts, ignore_index=True).astype(data.ratings.dtypes.to_dict())
    joined = joined.sort_values([Columns.USER, Columns.TIMESTAMP], kind="stable", ignore_index=True)
    return joined, joined.pop(_IS_NEW).to_numpy(np.bool_)


def _history(rows: pd.DataFrame) -> History:
    return History(*(rows[name].to_numpy(np.int64)[::-1] for name in _RATING))


def _logged(row: Any, data: Ingested) -> Logged:
    dataset = data.dataset
    event = Event(
        row.eventid,
        own_id(row.userid, dataset.user_ids),
        own_id(row.itemid, dataset.item_ids),
        row.type,
        int(row.timestamp),
        None if pd.isna(row.value) else float(row.value),
    )
    return Logged(event.timestamp, (int(row.acknowledged_ms), int(row.sequence)), event)
