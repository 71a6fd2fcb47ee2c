"""Python client of the server, for programs: pooled connections, retries, a timeout, typed answers.

from extras.client import Client

with Client("http://127.0.0.1:5000", key="...") as client:
    for item in client.recommend(1, size=10, where={"genres": ["Comedy"]}).item_list:
        print(item.title, item.score)
    client.record({"eventid": "a1", "userid": 1, "itemid": 7, "type": "rating", "value": 5})

An error, or no answer, raises `ServerError`. Requests are retried when the connection fails, and after 429 and 503,
which is safe: they only read, or are idempotent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self, TypeVar
from urllib.parse import quote

import requests
from pydantic import BaseModel, ValidationError
from requests.adapters import HTTPAdapter
from urllib3.exceptions import ReadTimeoutError
from urllib3.util import Retry

from data_exchange_center.dataset import OwnId
from data_exchange_center.errors import RecsysError
from data_exchange_center.http import local_session
from data_exchange_center.settings import ServerSettings
from online.recommend.types import Answer, Item

Found = TypeVar("Found", bound=BaseModel)


class Recommended(Answer, extra="allow"):
    """An answer of /ml/rec or /ml/rank; what extras add (``explained``, ``cursor``, ...) are attributes, too."""

    userid: OwnId = 0  # of a request that names nobody


class ServerError(RecsysError):
    """No answer, or an error; the message is a sentence, the server's own where it has answered.

    Attributes:
        status: HTTP status; 0: no answer.
        field: the field of the request that is wrong, if any.
    """

    def __init__(self, message: str, status: int = 0, field: str | None = None) -> None:
        super().__init__(message)
        self.status, self.field = status, field


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


class Client:
    """Requests to one server. May be shared by threads; close it, or use it in a ``with``."""

    def __init__(
        self,
        url: str = "http://127.0.0.1:5000",
        key: str | None = None,
        *,
        timeout_s: float = 10.0,
        retries: int = 2,
    ) -> None:
        """``key``: API key, if the server needs one; ``timeout_s``: of each attempt; ``retries``: after the first."""
        self.url, self.timeout_s = url.rstrip("/"), timeout_s
        again = Retry(
            retries,
            allowed_methods=None,
            status_forcelist=(429, 503),
            raise_on_status=False,
        )
        again.backoff_factor, again.retry_after_max = 0.1, 2
        self._http = local_session()
        for scheme in ("http://", "https://"):
            self._http.mount(scheme, HTTPAdapter(pool_maxsize=16, max_retries=again))
        if key:
            self._http.headers["Authorization"] = f"Bearer {key}"

    @classmethod
    def of(cls, server: ServerSettings, url: str | None = None) -> Self:
        """A client of the server that settings describe, or of another ``url``, with the key in the settings."""
        return cls(
            url or server.url, server.key.get_secret_value() if server.key else None
        )

    def get(self, path: str, shape: type[Found]) -> Found:
        """What a route without a method here answers: "/ml/quality" for example. Raises ServerError."""
        return self._send("GET", path, shape)

    def recommend(self, userid: OwnId | None = None, **fields: Any) -> Recommended:
        """A user's best unseen items. ``fields``: of /ml/rec: size, timestamp, where, query, history, explain, ..."""
        return self._send("POST", "/ml/rec", Recommended, {"userid": userid, **fields})

    def rank(
        self, candidates: Sequence[OwnId], userid: OwnId | None = None, **fields: Any
    ) -> Recommended:
        """Items in the order in which a user would like them (extra questions)."""
        body = {"userid": userid, "candidates": list(candidates), **fields}
        return self._send("POST", "/ml/rank", Recommended, body)

    def similar(self, *itemids: OwnId, size: int = 20) -> Similar:
        """The items that are most like one, or several (extra questions)."""
        return self._send(
            "GET", "/ml/similar", Similar, params={"itemid": itemids, "size": size}
        )

    def record(self, *events: Mapping[str, Any]) -> list[Recorded]:
        """Record what users did: eventid, userid, itemid, type; value, timestamp, recommendation (extra events)."""
        return self._send("POST", "/ml/event", _Events, list(events)).events

    def add_item(self, itemid: OwnId, title: str, **attributes: Any) -> ItemState:
        """Add an item that the release does not have, to be recommended at once (extra items)."""
        return self._send(
            "POST",
            "/ml/item",
            ItemState,
            {"itemid": itemid, "title": title, "attributes": attributes},
        )

    def add_items(self, *items: Mapping[str, Any]) -> list[OwnId]:
        """Add up to 1,000 items at once, all or none: itemid, title, attributes. Returns their ids (extra items)."""
        return self._send("POST", "/ml/items", _Items, list(items)).itemids

    def remove_items(self, *itemids: OwnId) -> list[OwnId]:
        """Remove up to 1,000 items at once, all or none."""
        return self._send(
            "POST", "/ml/items/remove", _Items, [{"itemid": each} for each in itemids]
        ).itemids

    def change_item(self, itemid: OwnId, **fields: Any) -> ItemState:
        """Change an item's ``title`` or ``attributes``; fields left out stay as they are."""
        return self._send(
            "PATCH", f"/ml/item/{quote(str(itemid), safe='')}", ItemState, fields
        )

    def remove_item(self, itemid: OwnId) -> ItemState:
        """Remove an item: it is recommended no more."""
        return self._send(
            "DELETE", f"/ml/item/{quote(str(itemid), safe='')}", ItemState
        )

    def _send(
        self,
        method: str,
        path: str,
        shape: type[Found],
        body: Any = None,
        params: Mapping[str, Any] | None = None,
    ) -> Found:
        """Send a request, without fields that are None, and parse the answer as ``shape``. Raises ServerError."""
        if isinstance(body, dict):
            body = {name: value for name, value in body.items() if value is not None}
        try:
            response = self._http.request(
                method,
                f"{self.url}{path}",
                json=body,
                params=params,
                timeout=self.timeout_s,
            )
        except requests.RequestException as error:
            raise ServerError(self._without_an_answer(error)) from error
        try:
            if response.ok:
                return shape.model_validate_json(response.content)
            wrong = response.json()["error"]
            said = f"The server at {self.url} answered {response.status_code}: {wrong['message']}"
        except (ValidationError, ValueError, KeyError, TypeError) as error:
            status = response.status_code
            other = f"What answers at {self.url} is not this server: status {status} without the expected JSON."
            raise ServerError(other, status) from error
        raise ServerError(said, response.status_code, wrong.get("field"))

    def _without_an_answer(self, error: requests.RequestException) -> str:
        # of several tries
        last = getattr(error.args[0] if error.args else None, "reason", error)
        if isinstance(last, (requests.Timeout, TimeoutError, ReadTimeoutError)):
            return f"The server at {self.url} did not answer within {self.timeout_s:g} s. See `make logs`."
        if isinstance(error, requests.ConnectionError):
            return f"No server answers at {self.url}. Start it with `make serve`, or name another address."
        return f"{self.url} is not a usable address ({error})."

    def close(self) -> None:
        """End the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
