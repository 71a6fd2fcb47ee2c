"""Python client of the server, with the endpoints that extras add.

from extras.client import Client

with Client("http://127.0.0.1:5000", key="...") as client:
    for item in client.recommend(1, size=10, where={"genres": ["Comedy"]}).item_list:
        print(item.title, item.score)
    client.record({"eventid": "a1", "userid": 1, "itemid": 7, "type": "rating", "value": 5})
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from pydantic import BaseModel

from data_exchange_center.dataset import OwnId
from online.main.client import Client as RecommendClient
from online.main.client import Recommended
from online.recommend.types import Item


class Similar(BaseModel, extra="allow"):
    """The items most like those given, best first."""

    release: str
    item_list: list[Item]


class Recorded(BaseModel):
    """Result of recording an event; ``new``: false if its eventid was recorded before."""

    eventid: str
    new: bool
    known_item: bool


class _Events(BaseModel):
    events: list[Recorded]


class ItemState(BaseModel, extra="allow"):
    """An item after a change; its title is None if it was removed."""

    itemid: OwnId
    title: str | None
    attributes: dict[str, Any]


class _Items(BaseModel, extra="allow"):
    itemids: list[OwnId]


class Client(RecommendClient):
    """Requests to one server: `/ml/rec`, and the endpoints of the extras."""

    def rank(self, candidates: Sequence[OwnId], userid: OwnId | None = None, **fields: Any) -> Recommended:
        """Items in the order in which a user would like them (extra questions)."""
        body = {"userid": userid, "candidates": list(candidates), **fields}
        return self._send("POST", "/ml/rank", Recommended, body)

    def similar(self, *itemids: OwnId, size: int = 20) -> Similar:
        """The items that are most like one, or several (extra questions)."""
        return self._send("GET", "/ml/similar", Similar, params={"itemid": itemids, "size": size})

    def record(self, *events: Mapping[str, Any]) -> list[Recorded]:
        """Record what users did: eventid, userid, itemid, type; value, timestamp, recommendation (extra events)."""
        return self._send("POST", "/ml/event", _Events, list(events)).events

    def add_item(self, itemid: OwnId, title: str, **attributes: Any) -> ItemState:
        """Add an item that the release does not have, to be recommended at once (extra items)."""
        return self._send("POST", "/ml/item", ItemState, {"itemid": itemid, "title": title, "attributes": attributes})

    def add_items(self, *items: Mapping[str, Any]) -> list[OwnId]:
        """Add up to 1,000 items at once, all or none: itemid, title, attributes. Returns their ids (extra items)."""
        return self._send("POST", "/ml/items", _Items, list(items)).itemids

    def remove_items(self, *itemids: OwnId) -> list[OwnId]:
        """Remove up to 1,000 items at once, all or none."""
        return self._send("POST", "/ml/items/remove", _Items, [{"itemid": each} for each in itemids]).itemids

    def change_item(self, itemid: OwnId, **fields: Any) -> ItemState:
        """Change an item's ``title`` or ``attributes``; fields left out stay as they are."""
        return self._send("PATCH", f"/ml/item/{quote(str(itemid), safe='')}", ItemState, fields)

    def remove_item(self, itemid: OwnId) -> ItemState:
        """Remove an item: it is recommended no more."""
        return self._send("DELETE", f"/ml/item/{quote(str(itemid), safe='')}", ItemState)
