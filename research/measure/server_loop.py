"""A running server under requests and events, and the removal of those events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import requests

from data_exchange_center import wire
from data_exchange_center.dataset import OwnId
from data_exchange_center.http import local_session
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from extras.events.events import Event
from offline_to_online.stores.base import redis_client

TIMEOUT_S = 30.0


class Loop(Protocol):
    """Operations of a measurement on a server."""

    def ask(self, userid: OwnId, timestamp: int | None, size: int) -> Sequence[OwnId]:
        """Request the recommended items as of a second (None: of now, with all events), best first."""

    def tell(self, events: Sequence[Event]) -> None:
        """Record events; the next answer knows them."""

    def take_back(self, userid: OwnId, prefix: str) -> None:
        """Remove a user's events whose eventids begin with ``prefix``."""


class ServerLoop:
    """Over HTTP; for one thread. Events are taken back in Redis itself: to forget a user would take more with it."""

    def __init__(self, settings: Settings, release: str, dataset: str) -> None:
        """``release``: the one that has to answer; ``dataset``: its `Dataset.base_name`."""
        self._url = settings.server.url
        self._release = release
        self._dataset = dataset
        self._http = local_session()
        self._redis = redis_client(settings)
        if settings.server.key:
            self._http.headers["X-API-Key"] = settings.server.key.get_secret_value()

    def ask(self, userid: OwnId, timestamp: int | None, size: int) -> Sequence[OwnId]:
        """Strict: an answer that lacks a service says nothing of the recommendations. Raises StepError."""
        asked: dict[str, Any] = {"userid": userid, "size": size, "strict": True}
        if timestamp is not None:
            asked["timestamp"] = timestamp
        answer = self.post("/ml/rec", asked)
        if answer.get("release") != self._release:
            raise StepError(f"The server at {self._url} answers from release {answer.get('release')} by now.")
        return [item["itemid"] for item in answer["item_list"]]

    def tell(self, events: Sequence[Event]) -> None:
        """Raises StepError."""
        names = ("eventid", "userid", "itemid", "type", "timestamp", "value")
        self.post("/ml/event", [{name: getattr(event, name) for name in names} for event in events])

    def take_back(self, userid: OwnId, prefix: str) -> None:
        log = wire.event_log_key(self._dataset, wire.event_partition(userid))
        key = wire.user_events_key(self._dataset, userid)
        stored: Any = self._redis.hgetall(key)
        sent = {name: raw for name, raw in stored.items() if name.startswith(prefix.encode())}
        if sent:
            pipeline = self._redis.pipeline(transaction=True)
            pipeline.hdel(key, *sent)
            pipeline.xdel(log, *(raw.partition(b" ")[0] for raw in sent.values()))
            pipeline.execute()

    def post(self, path: str, body: object) -> dict[str, Any]:
        """Post a body, and read the answer. Raises StepError."""
        try:
            response = self._http.post(f"{self._url}{path}", json=body, timeout=TIMEOUT_S)
            answer: dict[str, Any] = response.json()
        except requests.RequestException as error:
            raise StepError(
                f"The server at {self._url} gave no answer ({error}). Start it: make up sync serve."
            ) from error
        if not response.ok:
            raise StepError(f"{path} at {self._url} answered {response.status_code}: {answer.get('error')}")
        return answer

    def close(self) -> None:
        self._http.close()
        self._redis.close()
