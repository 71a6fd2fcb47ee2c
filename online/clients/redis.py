"""Redis: which release is live, and what a user has seen and likes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import redis
from numpy.typing import NDArray
from pydantic import ValidationError
from redis.backoff import NoBackoff
from redis.retry import Retry

from data_exchange_center import wire
from data_exchange_center.release import Published
from data_exchange_center.settings import RedisSettings
from online.clients.base import Client


@dataclass(frozen=True, slots=True)
class UserQuery:
    """A user under one release; ``release=None`` asks only which release is live."""

    userid: int
    release: str | None


@dataclass(frozen=True, slots=True, eq=False)
class StoredUser:
    """A user's state for recall."""

    terms: tuple[int, ...]  # preferred genre codes, most clicked first
    vector: NDArray[np.float32] | None  # (dim,); None: the recall model does not know the user
    seen: NDArray[np.int32]  # itemids never to be recommended again


@dataclass(frozen=True, slots=True)
class UserAnswer:
    """``user=None``: Redis does not know that user under that release."""

    live: str | None  # None: nothing was ever activated
    user: StoredUser | None


class RedisUsers(Client[UserQuery, UserAnswer]):
    """User state, in one round trip together with the live pointer."""

    service: ClassVar[str] = "redis"
    library_errors: ClassVar[tuple[type[Exception], ...]] = (redis.RedisError, OSError)

    def __init__(self, settings: RedisSettings) -> None:
        self._redis = redis.Redis(
            host=settings.host,
            port=settings.port,
            password=settings.password.get_secret_value() if settings.password else None,
            socket_timeout=settings.timeout_s,
            socket_connect_timeout=settings.timeout_s,
            retry=Retry(NoBackoff(), 0),
        )

    def _call(self, query: UserQuery) -> UserAnswer:
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.get(wire.LIVE_KEY)
        if query.release is not None:
            fields = [wire.USER_TERM, wire.USER_VECTOR, wire.USER_FILTER]
            pipeline.hmget(wire.user_key(query.release, query.userid), fields)
        live, *rows = pipeline.execute()
        user = self._decode(query.userid, *rows[0]) if rows else None
        return UserAnswer(live.decode() if live else None, user)

    def _decode(self, userid: int, term: bytes | None, vector: bytes | None, seen: bytes | None) -> StoredUser | None:
        if term is None and vector is None and seen is None:
            return None
        if term is None or seen is None:  # without the filter a seen item could be recommended
            raise self._wrong(f"holds an incomplete user {userid}")
        return StoredUser(
            terms=tuple(wire.unpack_ids(term).tolist()),
            vector=wire.unpack_vector(vector) if vector else None,
            seen=wire.unpack_ids(seen),
        )

    def published(self, release: str) -> Published | None:
        """What a release is made of; None when it was never activated or is pruned. Raises ServiceError."""
        with self._asking("published"):
            raw = self._redis.get(wire.manifest_key(release))
        if raw is None:
            return None
        try:
            return Published.model_validate_json(raw)  # type: ignore[arg-type]  # bytes, as nothing decodes
        except ValidationError as error:
            raise self._wrong(f"holds a manifest of release {release} that cannot be read") from error

    def popular(self, release: str) -> list[tuple[int, float]]:
        """(itemid, score), best first; empty when the release has none. Raises ServiceError."""
        with self._asking("popular"):
            raw = self._redis.get(wire.popular_key(release))
        try:
            return [(int(itemid), float(score)) for itemid, score in json.loads(raw or "[]")]  # type: ignore[arg-type]
        except (ValueError, TypeError) as error:
            raise self._wrong(f"holds a popular list of release {release} that cannot be read") from error

    def _ping(self) -> str:
        info: dict[str, object] = self._redis.info("server")  # type: ignore[assignment]
        return str(info["redis_version"])

    def close(self) -> None:
        self._redis.close()
