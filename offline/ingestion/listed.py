"""The tables of users and items of a declared data set: ids and attributes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from data_exchange_center.columns import Columns, slugs
from data_exchange_center.dataset import SEPARATOR, ItemNumber
from data_exchange_center.steps import StepError
from offline.ingestion import attributes
from offline.ingestion.cells import Cells
from offline.ingestion.declaration import AttributeSpec, ItemsTable, UsersTable
from offline.ingestion.identifiers import Register
from offline.ingestion.tables import Rows


@dataclass(frozen=True)
class Profile:
    """What is known of users, by place in their register; ``crossed`` are names of its columns."""

    columns: Mapping[str, pd.Series] = field(default_factory=dict)
    crossed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Catalogue:
    """What is known of items, by place in their register.

    Attributes:
        titles: None where there is none; shorter than the register where no table lists the items.
        terms: of each item, in the order of the attributes.
        term_attributes: names of the attributes that the terms are of.
        numbers, values: the numeric attributes, and (items,) of each, NaN where unknown.
    """

    titles: Sequence[str | None] = ()
    terms: Sequence[Sequence[str]] = ()
    term_attributes: tuple[str, ...] = ()
    numbers: tuple[ItemNumber, ...] = ()
    values: tuple[np.ndarray[Any, Any], ...] = ()


def read_users(rows: Rows, declared: UsersTable, register: Register) -> Profile:
    """Enter the users' ids and read their attributes. Raises StepError for a cell that is not as declared."""
    columns: dict[str, Any] = {}  # by name, before it is a column
    plain = []
    read, texts = _read(rows, declared, register)
    for name, values in read.items():
        spec = declared.attributes[name]
        if spec.kind == "multi-valued":
            columns |= {
                f"{name} {value}": column
                for value, column in attributes.fields(values, spec.values or attributes.MOST_FIELDS).items()
            }
            continue
        plain.append(name)
        if spec.kind == "numeric":
            columns[name] = attributes.intervals(values, spec.values or attributes.INTERVALS)
        else:
            most = spec.values or attributes.MOST_CATEGORIES
            columns[name] = attributes.categories(values, most, numbers=name not in texts)
    named = dict(zip(columns, slugs(list(columns), Columns.TAKEN), strict=True))
    crossed = plain[:2] if declared.crossed is None else declared.crossed
    return Profile({named[name]: column for name, column in columns.items()}, tuple(named[name] for name in crossed))


def read_items(rows: Rows, declared: ItemsTable, register: Register) -> Catalogue:
    """Enter the items' ids and read titles and attributes. Raises StepError for a cell that is not as declared."""
    read, _ = _read(rows, declared, register, declared.title)
    titles = read.pop(Columns.TITLE, [None] * len(register))
    specs = {name: declared.attributes[name] for name in read}
    of_terms = [name for name, spec in specs.items() if spec.kind != "numeric"]
    terms: list[list[str]] = [[] for _ in range(len(register))]
    for name in of_terms:
        spec, lists = specs[name], read[name]
        if spec.kind == "categorical":
            lists = [[value] if value else [] for value in lists]
        values_of_all = (value for values in lists for value in values)
        kept = set(attributes.frequent(values_of_all, spec.values or attributes.MOST_TERMS))
        for own, values in zip(terms, lists, strict=True):
            own += [_term(name, value, len(of_terms)) for value in values if value in kept]
    numeric = [name for name, spec in specs.items() if spec.kind == "numeric"]
    numbers = [
        attributes.item_number(name, column, specs[name], read[name])
        for name, column in zip(numeric, slugs(numeric, Columns.TAKEN), strict=True)
    ]
    return Catalogue(titles, terms, tuple(of_terms), tuple(numbers), tuple(read[name] for name in numeric))


def _term(attribute: str, value: str, of: int) -> str:
    """As `Dataset.term`."""
    return value if of == 1 else f"{attribute}{SEPARATOR}{value}"


def _read(
    rows: Rows, declared: UsersTable | ItemsTable, register: Register, title: str | None = None
) -> tuple[dict[str, Any], set[str]]:
    """Attribute -> values: texts, lists of texts, or an array of numbers; and which are texts by their type.

    A title is among them, as `Columns.TITLE`.
    """
    specs = dict(declared.attributes)
    if title is not None:
        specs[Columns.TITLE] = AttributeSpec(kind="categorical", column=title)
    columns = {name: spec.column or name for name, spec in specs.items()}
    parts: dict[str, list[Any]] = {name: [] for name in specs}
    first, texts = 0, set[str]()
    wanted = [declared.id, *dict.fromkeys(column for column in columns.values() if column != declared.id)]
    for batch in rows.batches(wanted):
        cells = {name: Cells(rows, name, first, batch.column(at)) for at, name in enumerate(batch.schema.names)}
        _enter_new(cells[declared.id], register)
        texts |= {name for name in specs if rows.typed and _is_text(cells[columns[name]].values.type)}
        for name, spec in specs.items():
            parts[name].append(_converted(cells[columns[name]], spec, declared.separator))
        first += batch.num_rows
    if not first:
        raise StepError(f"{rows.name} holds no row under its header: a row for every id is expected.")
    read = {
        name: np.concatenate(part) if specs[name].kind == "numeric" else [value for values in part for value in values]
        for name, part in parts.items()
    }
    return read, texts


def _is_text(kind: pa.DataType) -> bool:
    return any(is_one(kind) for is_one in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view))


def _enter_new(cells: Cells, register: Register) -> None:
    """Raises StepError for an id that was there before."""
    known = len(register)
    places = register.enter(cells.ids())
    again = places != known + np.arange(len(places))
    if again.any():
        row = int(again.argmax())
        here, before = (cells.rows.where(at) for at in (known + row, int(places[row])))
        own_id = register.own_ids()[places[row]]
        raise StepError(
            f"{here}, column {cells.column!r}: {own_id!r} is there already, in {before}; list every id once."
        )


def _converted(cells: Cells, spec: AttributeSpec, separator: str) -> Any:
    if spec.kind == "numeric":
        numbers = cells.numbers()
        too_large = np.abs(numbers) > attributes.LARGEST_STORED
        if too_large.any():
            cells.refuse(int(too_large.argmax()), f"a number of at most {attributes.LARGEST_STORED:.0e} either way")
        return numbers
    if spec.kind == "categorical":
        return [value or None for value in cells.texts().to_pylist()]
    if pa.types.is_list(cells.values.type) or pa.types.is_large_list(cells.values.type):
        lists: list[list[str] | None] = cells.values.cast(pa.list_(pa.string())).to_pylist()
    else:
        lists = [(text or "").split(separator) for text in cells.texts().to_pylist()]
    return [[value.strip() for value in values or () if value and value.strip()] for values in lists]
