"""What is declared of an expanded data set: the columns that `expansion` writes, in one form for every source."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from data_exchange_center.columns import Columns
from offline.ingestion.declaration import (
    INTERACTIONS,
    ITEMS,
    USERS,
    AttributeSpec,
    Declaration,
    InteractionsTable,
    ItemsTable,
    UsersTable,
)

VALUE: Final = "value"


def pattern(table: str) -> str:
    """``interactions-*.parquet``: the names of a table's parts."""
    return f"{table}-*.parquet"


def part(table: str, number: int) -> str:
    """``interactions-00007.parquet``."""
    return f"{table}-{number:05d}.parquet"


def expanded(source: Declaration, name: str) -> Declaration:
    """The declaration of what ``source`` is expanded to: ids are whole numbers, an attribute's column has its name."""
    interactions = source.interactions.model_dump() | {
        "file": pattern(INTERACTIONS),
        "user": Columns.USER,
        "item": Columns.ITEM,
        "time": Columns.TIMESTAMP,
        "value": VALUE if source.interactions.value is not None else None,
    }
    tables: dict[str, Any] = {}
    if source.users is not None:
        users: dict[str, Any] = {
            "file": pattern(USERS),
            "id": Columns.USER,
            "attributes": _named(source.users.attributes),
        }
        tables["users"] = UsersTable(**(source.users.model_dump(exclude={"delimiter"}) | users))
    if source.items is not None:
        items: dict[str, Any] = {
            "file": pattern(ITEMS),
            "id": Columns.ITEM,
            "attributes": _named(source.items.attributes),
        }
        items["title"] = Columns.TITLE if source.items.title is not None else None
        tables["items"] = ItemsTable(**(source.items.model_dump(exclude={"delimiter"}) | items))
    interactions.pop("delimiter")
    return source.model_copy(update={"name": name, "interactions": InteractionsTable(**interactions), **tables})


def _named(attributes: Mapping[str, AttributeSpec]) -> dict[str, dict[str, Any]]:
    return {name: spec.model_dump(exclude={"column"}) for name, spec in attributes.items()}


def text(declared: Declaration) -> str:
    """A ``dataset.toml`` that is read as ``declared``."""
    content = declared.model_dump(exclude_defaults=True)
    plain = [f"{_key(key)} = {_toml(value)}" for key, value in content.items() if not isinstance(value, dict)]
    tables = [_table(key, value) for key, value in content.items() if isinstance(value, dict)]
    return "\n\n".join(["\n".join(plain), *tables]) + "\n"


def _table(name: str, content: Mapping[str, Any]) -> str:
    return "\n".join([f"[{name}]", *(f"{_key(key)} = {_toml(value)}" for key, value in content.items())])


def _key(name: str) -> str:
    return name if name.isascii() and name.replace("_", "").isalnum() else _quoted(name)


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{_key(key)} = {_toml(each)}' for key, each in value.items())} }}" if value else "{}"
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_toml, value))}]"
    return _quoted(value) if isinstance(value, str) else json.dumps(value)


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # which JSON lets stand as it is
