"""A declared data set, read: the tables that every step builds on, and what is to be known of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd

from data_exchange_center.columns import Columns
from data_exchange_center.dataset import Dataset
from data_exchange_center.steps import StepError
from offline.ingestion.declaration import INTERACTIONS, ITEMS, USERS, Declaration
from offline.ingestion.events import Events, read_events
from offline.ingestion.identifiers import Numbering, Register
from offline.ingestion.levels import Levels
from offline.ingestion.listed import Catalogue, Profile, read_items, read_users
from offline.ingestion.tables import Rows

FEWEST: Final = 2  # users, and items: with one there is nothing to tell apart


@dataclass(frozen=True, eq=False)
class Ingested:
    """Tables as `artifacts.RATINGS` (without label and split), `artifacts.USERS` and `artifacts.ITEMS`.

    Attributes:
        ratings: by user and time, finer than seconds where the data is; of the same time in file order.
        users, items: by number.
        dataset: without origin and files, which only who brought them knows.
    """

    ratings: pd.DataFrame
    users: pd.DataFrame
    items: pd.DataFrame
    dataset: Dataset


def ingest(declaration: Declaration, tables: Mapping[str, Rows]) -> Ingested:
    """Read the tables, by name; users and items may be absent, as in the declaration.

    Raises StepError where they are not as declared, naming file, line and column.
    """
    users, items = Register(), Register()
    profile, catalogue = Profile(), Catalogue()
    if declaration.users:
        profile = read_users(tables[USERS], declaration.users, users)
    if declaration.items:
        catalogue = read_items(tables[ITEMS], declaration.items, items)
    listed = {table: tables[table].name if table in tables else None for table in (USERS, ITEMS)}
    events = read_events(tables[INTERACTIONS], declaration.interactions, users, items, listed[USERS], listed[ITEMS])
    for what, met, file in (
        (USERS, len(np.unique(events.users)), tables[INTERACTIONS].name),  # one who is listed may have no event
        (ITEMS, len(items), listed[ITEMS] or tables[INTERACTIONS].name),
    ):
        if met < FEWEST:
            raise StepError(
                f"{file} holds {met} {what.removesuffix('s')}; "
                f"at least {FEWEST} are needed: there is nothing to recommend otherwise."
            )
    levels = _levels(events, declaration)
    user_numbers, item_numbers = Numbering.of(users), Numbering.of(items)
    things = _items(item_numbers, catalogue)
    return Ingested(
        ratings=_ratings(events, levels, user_numbers, item_numbers),
        users=_users(user_numbers, profile),
        items=things,
        dataset=Dataset(
            name=declaration.name,
            origin="",
            counts={
                "ratings": len(events),
                "users": len(users),
                "items": len(items),
                "genres": int(things[Columns.GENRES].explode().nunique()),
            },
            sha256={},
            user_ids=user_numbers.kind,
            item_ids=item_numbers.kind,
            levels=levels.values,
            binned=levels.binned,
            positive_level=levels.positive,
            profile=tuple(profile.columns),
            crossed=profile.crossed,
            terms=catalogue.term_attributes,
            numbers=catalogue.numbers,
            holdout=declaration.holdout,
            events=declaration.events,
        ),
    )


def _levels(events: Events, declaration: Declaration) -> Levels:
    above = declaration.interactions.positive_above
    if events.values is None or above is None:
        return Levels.without_values(len(events))
    return Levels.of(events.values, above, declaration.interactions.levels or ())


def _ratings(events: Events, levels: Levels, users: Numbering, items: Numbering) -> pd.DataFrame:
    numbers = users.numbers[events.users]
    order = np.lexsort((events.times, numbers))  # stable
    return pd.DataFrame(
        {
            Columns.USER: numbers[order],
            Columns.ITEM: items.numbers[events.items[order]],
            Columns.RATING: levels.codes[order],
            Columns.TIMESTAMP: events.times[order] // 1_000_000,
        }
    )


def _users(numbering: Numbering, profile: Profile) -> pd.DataFrame:
    table = numbering.table(Columns.USER, Columns.OWN_ID).assign(**profile.columns)
    return table.sort_values(Columns.USER, ignore_index=True)


def _items(numbering: Numbering, catalogue: Catalogue) -> pd.DataFrame:
    table = numbering.table(Columns.ITEM, Columns.OWN_ID)
    titles = catalogue.titles or [None] * len(table)
    table[Columns.TITLE] = [title or own_id for title, own_id in zip(titles, table[Columns.OWN_ID], strict=True)]
    table[Columns.GENRES] = list(catalogue.terms) or [[] for _ in range(len(table))]
    for number, values in zip(catalogue.numbers, catalogue.values, strict=True):
        table[number.column] = values
    return table.sort_values(Columns.ITEM, ignore_index=True)
