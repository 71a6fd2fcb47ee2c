"""The four services in memory. Each fake answers as the real client does: the contract tests hold them to it."""

import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from data_exchange_center import wire
from data_exchange_center.candidates import ItemQuery, StoredUser
from data_exchange_center.channel_file import pack_channels
from data_exchange_center.dataset import OwnId
from data_exchange_center.fusion import Hits
from online.clients.base import (
    FAILURES,
    Breaker,
    Client,
    GoneError,
    ServiceError,
    StoredError,
)
from online.clients.elastic import Search, best_of
from online.clients.feast import FeatureQuery, FeatureRows, feature_rows
from online.clients.publishing import Control
from online.clients.redis import UserAnswer, UserQuery
from online.clients.triton import EncoderQuery, ScoreQuery
from tests.unit.online.world import World


def open_breaker(breaker: Breaker) -> None:
    """Open a circuit breaker for good."""
    breaker._failures, breaker._open_until = FAILURES, math.inf


class DownError(Exception):
    """Error of a fake's library when its service is away."""


class Fake:
    library_errors = (DownError,)
    down = False
    on_call: Callable[[], object] | None = None  # at each call, even when it is down

    def __init__(self, *worlds: World) -> None:
        # on a busy machine, a service in memory takes its time, too
        super().__init__(30.0)
        self.worlds = {world.release: world for world in worlds}
        self.calls: list[Any] = []

    def _seen(self, query: Any = None) -> None:
        if self.on_call is not None:
            self.on_call()
        if self.down:
            raise DownError
        self.calls.append(query)

    @contextmanager
    def _requested(self, what: str, query: Any = None) -> Iterator[None]:
        with self._limited(what):
            self._seen(query)
            yield

    def _ping(self) -> str:
        self._seen()
        return "fake"

    def close(self) -> None:
        """Nothing is open."""


class FakeUsers(Fake, Client[UserQuery, UserAnswer]):
    service = "redis"

    def __init__(self, *worlds: World, live: str | None = None) -> None:
        super().__init__(*worlds)
        self.live_release = live
        # by data set, user and eventid
        self.events: dict[tuple[str, OwnId, str], Any] = {}
        self.forgotten: set[tuple[str, OwnId]] = set()
        self.forgets = 0
        self.unlisted: set[str] = set()  # releases without a list of users
        self.unreadable: set[str] = set()  # releases of another format
        self.opened: list[str] = []  # releases whose manifest was read
        # published releases, newest first
        self.history = [live] if live is not None else []
        self.values: dict[str, bytes] = {}  # that extras keep
        # called when another release is active
        self.changed: Callable[[], None] = lambda: None

    def value(self, key: str) -> bytes:
        """Not among the calls: a thread reads it now and then."""
        if self.down:
            raise ServiceError(self.service, "cannot be reached")
        release = key.split(":")[1]
        world, values = self.worlds.get(release), dict(self.values)
        if key == wire.manifest_key(release):
            self.opened.append(release)
        if world is not None:
            published = world.published.model_dump_json().encode()
            values[wire.manifest_key(release)] = (
                b"{}" if release in self.unreadable else published
            )
            values[wire.channels_key(release)] = pack_channels(world.channels)
            values[wire.popular_key(release)] = orjson.dumps(world.popular)
        return values.get(key, b"")

    def _call(self, query: UserQuery) -> UserAnswer:
        self._seen(query)
        world, user = self.worlds.get(query.release or ""), None
        events = self.events_of(query.dataset, query.userid)
        gone = (query.dataset, query.userid) in self.forgotten
        if world is not None and query.userid in world.numbers and not gone:
            user = replace(world.stored(world.numbers[query.userid]), events=events)
        elif world is not None and events:
            user = StoredUser.unknown(events)
        return UserAnswer(published=world is not None, user=user)

    def control(self) -> Control:
        """Not among the calls: a thread reads it now and then."""
        active, published = self.listed()
        return Control(active, published, self.forgets)

    def events_of(self, dataset: str | None, userid: OwnId) -> tuple[Any, ...]:
        return tuple(
            logged
            for (*owner, _), logged in self.events.items()
            if owner == [dataset, userid]
        )

    def listed(self) -> tuple[str | None, list[str]]:
        with self._limited("listed"):
            if self.down:
                raise DownError
            active = [self.live_release] if self.live_release else []
            return self.live_release, list(dict.fromkeys([*self.history, *active]))

    def activate(self, release: str) -> None:
        with self._requested("activate"):
            if release not in self.worlds:
                raise StoredError(
                    self.service, f"holds no manifest of release {release}"
                )
            self.live_release = release
            self.history = list(dict.fromkeys([release, *self.history]))
        self.changed()

    def some_users(self, release: str, at_most: int) -> list[str]:
        with self._requested("some_users"):
            if release not in self.worlds or release in self.unlisted:
                raise StoredError(
                    self.service, f"holds no list of the users of release {release}"
                )
            return sorted(map(str, self.worlds[release].numbers), key=str.encode)[
                :at_most
            ]


class FakeItems(Fake, Client[ItemQuery, dict[str, Hits]]):
    service = "elasticsearch"
    gate: threading.Event | None = None  # the catalogue is not given before it is set
    answered = 0  # searches

    def __init__(self, *worlds: World) -> None:
        super().__init__(*worlds)
        self.more: dict[str, Search] = {}  # release -> further items that are searched

    def _world(self, release: str) -> World:
        self._seen()
        if release not in self.worlds:
            raise GoneError(self.service, "has no items of this release")
        return self.worlds[release]

    def _call(self, query: ItemQuery) -> dict[str, Hits]:
        world = self._world(query.release)
        self.answered += len(query.recall.vector_channels)
        left_out = list(query.seen)
        if query.only is not None:
            left_out += set(world.itemids).difference(query.only.tolist())
        size = query.recall.candidates
        found = {
            channel.name: world.search(
                channel, query.vectors.get(channel.name), query.terms, left_out, size
            )
            for channel in query.recall.vector_channels
        }
        if query.release not in self.more:
            return found
        others = self.more[query.release](query)
        return {name: best_of(hits, others[name], size) for name, hits in found.items()}

    def searches(self, release: str) -> int:
        with self._limited("searches"):
            self._world(release)
            return self.answered

    def documents(
        self, release: str, fields: Sequence[str], **body: Any
    ) -> list[dict[str, Any]]:
        """The catalogue, or the items of a terms query."""
        with self._limited("documents"):
            world = self._world(release)
        wanted = body.get("query", {}).get("terms", {}).get(wire.ITEM_NUMBER)
        if wanted is None and self.gate is not None:
            self.gate.wait(25)
        found = []
        for number in world.itemids if wanted is None else wanted:
            item = world.shown(number)
            document = {
                wire.ITEM_NUMBER: number,
                wire.ITEM_OWN_ID: item.own_id,
                wire.ITEM_TITLE: item.title,
                wire.ITEM_ATTRIBUTES: item.attributes,
                wire.ITEM_GENRES: world.genres[number],
            }
            for channel, vectors in world.item_vectors.items():
                document[wire.vector_of(channel)] = (
                    vectors[number].tolist() if number in vectors else None
                )
            found.append({field: document[field] for field in fields})
        return found


class FakeFeatures(Fake, Client[FeatureQuery, FeatureRows]):
    service = "feast"

    def _call(self, query: FeatureQuery) -> FeatureRows:
        self._seen(query)
        world = self.worlds.get(query.release or "")
        if world is None:
            raise GoneError(self.service, "answered with status 404")
        stored: Mapping[int, Mapping[str, Any]] = (
            world.user_features if query.entity == "user" else world.item_features
        )
        key = f"{query.entity}id"
        columns: dict[str, list[Any]] = {key: list(query.ids)}
        for feature in world.spec.stored(query.entity):
            name = feature.name
            columns[name] = [stored.get(i, {}).get(name) for i in query.ids]
        answer = {
            "metadata": {"feature_names": [*columns]},
            "results": [{"values": column} for column in columns.values()],
        }
        return feature_rows(key, query.ids, answer)


class FakeScorer(Fake, Client[ScoreQuery | EncoderQuery, NDArray[np.float32]]):
    service = "triton"

    def _call(self, query: ScoreQuery | EncoderQuery) -> NDArray[np.float32]:
        self._seen(query)
        assert isinstance(query, ScoreQuery)
        for world in self.worlds.values():
            if (world.model, world.model_version) == (query.model, query.version):
                return world.scores(query.inputs)
        raise GoneError(self.service, "answered with an error (StatusCode.NOT_FOUND)")
