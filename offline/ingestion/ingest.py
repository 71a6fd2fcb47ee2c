"""A declared data set, read: the tables that every step builds on, and what is to be known of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd

from data_exchange_center.columns import Columns
from data_exchange_center.dataset import Dataset, IdKind
from data_exchange_center.steps import StepError
from offline.ingestion.declaration import INTERACTIONS, ITEMS, USERS, Declaration
from offline.ingestion.events import Events, read_events
from offline.ingestion.identifiers import Numbering, Register
from offline.ingestion.levels import Scale
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
    expect_enough(USERS, len(np.unique(events.users)), tables[INTERACTIONS].name)  # one who is listed may have no event
    expect_enough(ITEMS, len(items), listed[ITEMS] or tables[INTERACTIONS].name)
    scale = _scale(events, declaration)
    user_numbers, item_numbers = Numbering.of(users), Numbering.of(items)
    things = items_table(item_numbers, catalogue)
    counts = {"ratings": len(events), "users": len(users), "items": len(items)}
    kinds = {"user_ids": user_numbers.kind, "item_ids": item_numbers.kind}
    return Ingested(
        ratings=_ratings(events, scale, user_numbers, item_numbers),
        users=users_table(user_numbers, profile),
        items=things,
        dataset=described(declaration, counts, kinds, scale, profile, catalogue),
    )


def expect_enough(what: str, met: int, file: str) -> None:
    """Raise StepError where there are too few to tell apart. ``what``: `USERS` or `ITEMS`."""
    if met < FEWEST:
        raise StepError(
            f"{file} holds {met} {what.removesuffix('s')}; "
            f"at least {FEWEST} are needed: there is nothing to recommend otherwise."
        )


def described(
    declaration: Declaration,
    counts: Mapping[str, int],
    kinds: Mapping[str, IdKind],
    scale: Scale,
    profile: Profile,
    catalogue: Catalogue,
) -> Dataset:
    """What is to be known of a data set that has been read.

    Args:
        counts: of ratings, users and items.
        kinds: ``user_ids`` and ``item_ids``.
    """
    terms = {term for terms in catalogue.terms for term in terms}
    return Dataset(
        name=declaration.name,
        origin="",
        counts={**counts, "genres": len(terms)},
        sha256={},
        **kinds,
        levels=scale.values,
        binned=scale.binned,
        positive_level=scale.positive,
        profile=tuple(profile.columns),
        crossed=profile.crossed,
        terms=catalogue.term_attributes,
        numbers=catalogue.numbers,
        holdout=declaration.holdout,
        events=declaration.events,
    )


def _scale(events: Events, declaration: Declaration) -> Scale:
    above = declaration.interactions.positive_above
    if events.values is None or above is None:
        return Scale.without_values()
    distinct, counts = np.unique(events.values, return_counts=True)
    return Scale.of(distinct, counts, above, declaration.interactions.levels or ())


def _ratings(events: Events, scale: Scale, users: Numbering, items: Numbering) -> pd.DataFrame:
    numbers = users.numbers[events.users]
    order = np.lexsort((events.times, numbers))  # stable
    return pd.DataFrame(
        {
            Columns.USER: numbers[order],
            Columns.ITEM: items.numbers[events.items[order]],
            Columns.RATING: scale.codes(np.zeros(len(events)) if events.values is None else events.values)[order],
            Columns.TIMESTAMP: events.times[order] // 1_000_000,
        }
    )


def users_table(numbering: Numbering, profile: Profile) -> pd.DataFrame:
    """`artifacts.USERS`."""
    table = numbering.table(Columns.USER, Columns.OWN_ID).assign(**profile.columns)
    return table.sort_values(Columns.USER, ignore_index=True)


def items_table(numbering: Numbering, catalogue: Catalogue) -> pd.DataFrame:
    """`artifacts.ITEMS`."""
    table = numbering.table(Columns.ITEM, Columns.OWN_ID)
    titles = catalogue.titles or [None] * len(table)
    table[Columns.TITLE] = [title or own_id for title, own_id in zip(titles, table[Columns.OWN_ID], strict=True)]
    table[Columns.GENRES] = list(catalogue.terms) or [[] for _ in range(len(table))]
    for number, values in zip(catalogue.numbers, catalogue.values, strict=True):
        table[number.column] = values
    return table.sort_values(Columns.ITEM, ignore_index=True)
