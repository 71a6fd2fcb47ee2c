"""Redis: which release is live, and what a user has seen, rated and likes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from data_exchange_center import plugins, wire
from data_exchange_center.channels import ChannelSet
from data_exchange_center.columns import vector_of
from data_exchange_center.dataset import Dataset, OwnId
from data_exchange_center.features import Float32
from data_exchange_center.history import History, state_as_of
from data_exchange_center.release import Manifest, Published, why_unreadable
from online.clients.base import StoredError
from online.clients.redis_connection import RedisClient, at, move_live

_VECTOR = vector_of("")  # how the names of the fields with vectors begin
COMPARED_USERS: Final = 2_000  # by how many events they have, of those whose ids begin alike


@dataclass(frozen=True, slots=True)
class UserQuery:
    """A user under one release, with feedback since; `WHICH_IS_LIVE` reads the live pointer alone."""

    userid: OwnId
    release: str | None
    dataset: str | None  # `Dataset.base_name` of the release: of that one the user is

    @classmethod
    def of(cls, userid: OwnId, manifest: Manifest) -> UserQuery:
        return cls(userid, manifest.release, manifest.dataset.base_name)


WHICH_IS_LIVE: Final = UserQuery(0, None, None)


@dataclass(frozen=True, slots=True, eq=False)
class StoredUser:
    """A user's state for recall and ranking, as the release has it, and what came after.

    Of a stranger, whom the release does not know, there is only what came after.
    """

    number: int  # who the user is in the feature store; 0: a stranger
    terms: tuple[int, ...]  # preferred genre codes, most clicked first
    seen: NDArray[np.int32]  # itemids never to be recommended again
    profile: NDArray[np.int32]  # (profile fields,) codes that the channels' tables are read by
    history: History
    vectors: Mapping[str, Float32]  # `vector_of(channel)` -> (dim,), of the channels that learned one for this user
    events: tuple[Any, ...] = ()  # feedback that a server was sent, in any order, as its extra unpacks it

    @classmethod
    def stranger(cls, events: tuple[Any, ...]) -> StoredUser:
        nothing = np.empty(0, np.int32)
        return cls(0, (), nothing, nothing, History.empty(), {}, events)

    def current(self, dataset: Dataset, items: Mapping[OwnId, int], before: int | None) -> StoredUser:
        """The user as a request sees it, with the events applied that came before a second; None: all.

        That is history and seen items; all else is as it was last stored. ``items``: own id -> number.
        """
        if self.events:
            applied = plugins.load(plugins.FEEDBACK, "apply")
            history, seen = applied(self.history, self.seen, self.events, items, dataset, before)
        else:
            history, seen = state_as_of(self.history, self.seen, before)
        profile = self.profile if self.number else np.zeros(len(dataset.profile), np.int32)  # 0: unknown
        return replace(self, history=history, seen=seen, profile=profile, events=())


@dataclass(frozen=True, slots=True)
class UserAnswer:
    """``user=None``: Redis does not know that user under that release, and nothing was sent of this user since."""

    live: str | None  # None: nothing was ever activated
    kept: bool  # Redis still holds the requested release; where it does not, an unknown user means nothing
    user: StoredUser | None
    forgotten: int = 0  # how often somebody was forgotten
    experiments: bytes | None = None  # those that run, packed; None: none does


class RedisUsers(RedisClient[UserQuery, UserAnswer]):
    """User state, in one round trip together with the live pointer."""

    def _call(self, query: UserQuery) -> UserAnswer:
        userid, layout = query.userid, self._layout
        for_all = wire.LIVE_KEY, wire.FORGOTTEN_COUNT_KEY, wire.EXPERIMENTS_KEY
        keys = [layout.beside(key, userid) for key in for_all]
        with at(self._redis, keys[0]) as server:
            pipeline = server.pipeline(transaction=False)
            pipeline.mget(*keys)
            if query.release is not None and query.dataset is not None:
                pipeline.hgetall(layout.user(query.release, userid))
                # after the user: a deletion begins with the manifest
                pipeline.exists(layout.beside(wire.manifest_key(query.release), userid))
                pipeline.hgetall(wire.user_events_key(query.dataset, userid))
            (live, forgotten, experiments), *rows = pipeline.execute()
        stored, kept, since = rows or ({}, 0, {})
        return UserAnswer(
            live.decode() if live else None,
            bool(kept),
            self._user(query.userid, stored, since, bool(kept)),
            int(forgotten or 0),
            experiments,
        )

    def _user(
        self, userid: OwnId, stored: Mapping[bytes, bytes], since: Mapping[bytes, bytes], kept: bool
    ) -> StoredUser | None:
        """The release's state and what came since. Of a release that is gone nobody is a stranger."""
        events = self._events(userid, since)
        if stored and wire.FORGOTTEN.encode() not in since:
            return replace(self._decode(userid, stored), events=events)
        return StoredUser.stranger(events) if events and kept else None

    def _events(self, userid: OwnId, stored: Mapping[bytes, bytes]) -> tuple[Any, ...]:
        """Without the extra that takes events, none."""
        packed = [raw for name, raw in stored.items() if name != wire.FORGOTTEN.encode()]
        if not packed or "unpack" not in plugins.find(plugins.FEEDBACK):
            return ()
        unpack = plugins.load(plugins.FEEDBACK, "unpack")
        try:
            return tuple(unpack(raw) for raw in packed)
        except (TypeError, ValueError) as error:
            raise StoredError(self.service, f"holds events of user {userid!r} that cannot be read") from error

    def _decode(self, userid: OwnId, stored: Mapping[bytes, bytes]) -> StoredUser:
        fields = {name.decode(): raw for name, raw in stored.items()}
        try:
            (number,) = wire.unpack_ids(fields.pop(wire.USER_NUMBER)).tolist()
            return StoredUser(
                number=number,
                terms=tuple(wire.unpack_ids(fields.pop(wire.USER_TERM)).tolist()),
                seen=wire.unpack_ids(fields.pop(wire.USER_FILTER)),
                profile=wire.unpack_ids(fields.pop(wire.USER_PROFILE)),
                history=History.unpack(fields.pop(wire.USER_HISTORY)),
                vectors={name: wire.unpack_vector(raw) for name, raw in fields.items() if name.startswith(_VECTOR)},
            )
        except KeyError as error:  # without the filter a seen item could be recommended
            raise StoredError(self.service, f"holds an incomplete user {userid!r}: no field {error}") from error
        except ValueError as error:
            raise StoredError(self.service, f"holds a user {userid!r} that cannot be read ({error})") from error

    def published(self, release: str) -> Published | None:
        """Read a release's manifest; None when it was never activated or is pruned. Raises ServiceError."""
        with self._asking("published"):
            raw = self._redis.get(wire.manifest_key(release))
        if raw is None:
            return None
        try:
            return Published.model_validate_json(raw)  # type: ignore[arg-type]  # bytes, as nothing decodes
        except ValidationError as error:
            raise StoredError(
                self.service, f"holds a manifest of release {release} that cannot be read ({why_unreadable(error)})"
            ) from error

    def channels(self, release: str) -> ChannelSet:
        """Read the channels by which a release makes users' vectors of histories. Raises ServiceError."""
        with self._asking("channels"):
            raw = self._redis.get(wire.channels_key(release))
            if raw is None:
                raise StoredError(self.service, f"holds no recall channels of release {release}")
        try:
            return ChannelSet.unpack(raw)  # type: ignore[arg-type]  # bytes, as nothing decodes
        except ValueError as error:
            raise StoredError(
                self.service, f"holds recall channels of release {release} that cannot be read"
            ) from error

    def popular(self, release: str) -> list[tuple[int, float]]:
        """(itemid, score), best first; empty when the release has none. Raises ServiceError."""
        with self._asking("popular"):
            raw = self._redis.get(wire.popular_key(release))
        try:
            return [(int(itemid), float(score)) for itemid, score in json.loads(raw or "[]")]  # type: ignore[arg-type]
        except (ValueError, TypeError) as error:
            raise StoredError(self.service, f"holds a popular list of release {release} that cannot be read") from error

    def places(self, release: str) -> NDArray[Any]:
        """(n,) of `wire.PLACE`: the items on the release's map. Raises ServiceError."""
        with self._asking("places"):
            raw: Any = self._redis.get(wire.places_key(release))
        if raw is None:
            raise StoredError(
                self.service,
                f"holds no map of release {release}; offline_to_online/recall/s1_user_to_redis.py writes it",
            )
        try:
            return np.frombuffer(raw, wire.PLACE)
        except ValueError as error:
            raise StoredError(self.service, f"holds a map of release {release} that cannot be read") from error

    def activated(self) -> tuple[str | None, list[str]]:
        """The live release, and those that can be gone back to, newest activation first. Raises ServiceError."""
        with self._asking("activated"):
            live: Any = self._redis.get(wire.LIVE_KEY)  # typed for the asynchronous client too
            before: Any = self._redis.lrange(wire.HISTORY_KEY, 0, -1)
        return live.decode() if live else None, [raw.decode() for raw in before]

    def activate(self, release: str) -> None:
        """Have a release served from now on. Raises ServiceError."""
        with self._asking("activate"):
            move_live(self._redis, self._layout, release)

    def some_users(
        self, release: str, dataset: str, at_most: int, prefix: str = "", *, fewest: bool = False
    ) -> list[tuple[str, int]]:
        """Own ids that begin with ``prefix``, as text, and how many events of each the release has.

        In the order of their text; ``fewest``: those with the fewest events, of all or, with a prefix, of the first
        `COMPARED_USERS` that begin so. Who was forgotten is left out of these. Raises ServiceError; StoredError where
        the release has no list of its users.
        """
        counts, begins = wire.event_counts_key(release), prefix.encode()
        with self._asking("some_users"):
            if fewest and not prefix:
                found: Any = self._redis.zrange(counts, 0, at_most - 1, withscores=True)
            else:
                first: Any = b"[" + begins  # bytes will do
                wanted = COMPARED_USERS if fewest else at_most
                after = first + b"\xff"  # which no UTF-8 has
                ids: Any = self._redis.zrangebylex(wire.ids_key(release), first, after, start=0, num=wanted)
                numbers: Any = self._redis.zmscore(counts, ids) if ids else []
                found = [(each, number) for each, number in zip(ids, numbers, strict=True) if number is not None]
            if not found and not (prefix and self._redis.exists(counts)):
                raise StoredError(
                    self.service,
                    f"holds no list of the users of release {release}; "
                    "offline_to_online/recall/s1_user_to_redis.py writes it",
                )
            pipeline = self._redis.pipeline(transaction=False)
            for each, _ in found:
                pipeline.hexists(wire.user_events_key(dataset, each.decode()), wire.FORGOTTEN)
            forgotten = pipeline.execute()
        left = [user for user, gone in zip(found, forgotten, strict=True) if not gone]
        users = [(each.decode(), int(number)) for each, number in left]
        return sorted(users, key=lambda user: (user[1], user[0]))[:at_most] if fewest else users
