"""Redis: which release is live, and what a user has seen, rated and likes.

First the connections, which retry nothing and keep the deadline of their thread; then the user's state.
"""

import math
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import redis
from redis.backoff import NoBackoff
from redis.exceptions import (
    AskError,
    ClusterDownError,
    MovedError,
    RedisClusterException,
)
from redis.retry import Retry

from data_exchange_center import plugins, wire
from data_exchange_center.candidates import StoredUser
from data_exchange_center.dataset import OwnId
from data_exchange_center.events import Logged
from data_exchange_center.manifest import Manifest
from data_exchange_center.settings import RedisSettings
from online.clients.base import Client, Found, Query, StoredError, current
from online.clients.publishing import Control, Publishing, control, listed

USERS_STEP: Final = "offline_to_online/recall/s1_user_to_redis.py"
# RedisClusterException (no node knows the slots) is not a RedisError, so it is listed.
ERRORS: Final[tuple[type[Exception], ...]] = (
    redis.RedisError,
    RedisClusterException,
    OSError,
)
# Errors after which another server has the slot, or will have it soon.
_LOST: Final = (
    MovedError,
    AskError,
    ClusterDownError,
    redis.ReadOnlyError,
    redis.ConnectionError,
)
MOVED: Final = (*_LOST, redis.TimeoutError)


def _timely(operation: Callable[..., Any]) -> Callable[..., Any]:
    """An operation of a socket that ends by the deadline of its thread, or by the socket's timeout if that is shorter.

    A socket's timeout applies to each read alone: redis-py would wait forever for a server that trickles bytes.
    """

    def within(self: socket.socket, *arguments: Any) -> Any:
        left, own = current().left(), self.gettimeout()
        if own is not None and own <= left:
            return operation(self, *arguments)
        if not left:
            raise TimeoutError("the deadline is over")
        self.settimeout(left)
        try:
            return operation(self, *arguments)
        finally:
            if self.fileno() >= 0:
                self.settimeout(own)

    return within


class TimelySocket(socket.socket):
    """A socket that keeps the deadline of its thread."""

    recv, recv_into = _timely(socket.socket.recv), _timely(socket.socket.recv_into)
    sendall = _timely(socket.socket.sendall)


class _Timely:
    """Base of connections of redis-py's pool that keep the deadline of their thread, also while connecting."""

    socket_timeout: float | None
    socket_connect_timeout: float | None

    def _connect(
        self,
    ) -> socket.socket:  # what each kind of redis-py's connections defines
        configured, left = self.socket_connect_timeout, current().left()
        self.socket_connect_timeout = (
            max(min(configured or left, left), 1e-3) if left < math.inf else configured
        )
        try:
            plain = super()._connect()  # type: ignore[misc]
        finally:
            self.socket_connect_timeout = configured
        timely = TimelySocket(
            plain.family, plain.type, plain.proto, fileno=plain.detach()
        )
        timely.settimeout(self.socket_timeout)
        return timely


class TimelyConnection(_Timely, redis.Connection):
    """Over TCP."""


class TimelySocketConnection(_Timely, redis.UnixDomainSocketConnection):
    """Over a Unix socket."""


class Connected(Publishing):
    """A client that knows where keys lie: all on one server. A cluster's client has the same methods."""

    def server_of(self, key: str) -> str:
        """The server that has a key: keys with the same answer can be read in one round trip."""
        return ""

    @contextmanager
    def at(self, key: str) -> Iterator[redis.Redis]:
        """A client of the server that has a key: one pipeline or transaction is for keys of one slot alone."""
        yield self

    def user_key(self, release: str, userid: OwnId) -> str:
        """Hash: a user's state."""
        return wire.user_key(release, userid)

    def copy_for(self, key: str, userid: OwnId) -> str:
        """Name of a shared key's copy that lies in this user's slot, so that one round trip reads both."""
        return key


def connect(
    settings: RedisSettings, *, timeout_s: float | None = None, db: int = 0
) -> Connected:
    """Return a client without retries. ``timeout_s``: of an answer; ``db``: database number, unused in a cluster."""
    if settings.cluster:
        return plugins.load(plugins.ENGINES, "redis_cluster")(  # type: ignore[no-any-return]
            settings, timeout_s or settings.timeout_s
        )
    kind: type[redis.Connection | redis.UnixDomainSocketConnection] = TimelyConnection
    place: dict[str, Any] = {"host": settings.host, "port": settings.port}
    if settings.socket:
        kind, place = TimelySocketConnection, {"path": str(settings.socket)}
    pool = redis.ConnectionPool(
        kind,
        **place,
        db=db,
        password=settings.secret,
        socket_timeout=timeout_s or settings.timeout_s,
        socket_connect_timeout=settings.timeout_s,
        retry=Retry(NoBackoff(), 0),
    )
    client = Connected(connection_pool=pool)
    client.auto_close_connection_pool = True
    return client


class RedisClient(Client[Query, Found]):
    """A client of the database where the user state lies. Subclasses write `_call`."""

    service: ClassVar[str] = "redis"
    library_errors: ClassVar[tuple[type[Exception], ...]] = ERRORS
    lost_errors = _LOST

    def __init__(self, settings: RedisSettings, timeout_s: float | None = None) -> None:
        """``timeout_s``: of a call, if not as the settings say."""
        super().__init__(timeout_s or settings.timeout_s)
        self._redis = connect(settings, timeout_s=timeout_s)

    def _ping(self) -> str:
        info: dict[str, object] = self._redis.info("server")  # type: ignore[assignment]
        valkey = info.get("valkey_version")
        return f"{valkey} (Valkey)" if valkey else str(info["redis_version"])

    def close(self) -> None:
        self._redis.close()


@dataclass(frozen=True, slots=True)
class UserQuery:
    """A user under one release, with feedback since."""

    userid: OwnId
    release: str
    dataset: str  # `Dataset.base_name` of the release: whose user it is

    @classmethod
    def of(cls, userid: OwnId, manifest: Manifest) -> "UserQuery":
        return cls(userid, manifest.release, manifest.dataset.base_name)


@dataclass(frozen=True, slots=True)
class UserAnswer:
    """``user=None``: Redis does not know that user under that release, and nothing was sent of this user since."""

    # the requested release; where it is not, an unknown user means nothing
    published: bool
    user: StoredUser | None


class RedisUsers(RedisClient[UserQuery, UserAnswer]):
    """User state, in one round trip; and which releases there are."""

    def _call(self, query: UserQuery) -> UserAnswer:
        userid, client = query.userid, self._redis
        user_key = client.user_key(query.release, userid)
        with client.at(user_key) as server:
            pipeline = server.pipeline(transaction=False)
            pipeline.hgetall(user_key)
            # after the user: a deletion begins with the manifest
            pipeline.exists(client.copy_for(wire.manifest_key(query.release), userid))
            pipeline.hgetall(wire.user_events_key(query.dataset, userid))
            stored, published, since = pipeline.execute()

        # What came since the release, and what the release has; a user who was forgotten has the former alone.
        is_forgotten = since.pop(wire.FORGOTTEN.encode(), None) is not None
        user: StoredUser | None = None
        try:
            events = tuple([Logged.unpack(raw) for raw in since.values()])
            if stored and not is_forgotten:
                fields = {name.decode(): raw for name, raw in stored.items()}
                user = StoredUser.of_fields(fields, events)
            elif events and published:
                user = StoredUser.unknown(events)
        except KeyError as error:  # without the filter a seen item could be recommended
            what = f"holds an incomplete user {userid!r}: no field {error}"
            raise StoredError(self.service, what) from error
        except (TypeError, ValueError) as error:
            what = f"holds a user {userid!r} that cannot be read ({error})"
            raise StoredError(self.service, what) from error
        # the release may have been deleted after the user was read
        return UserAnswer(bool(published) or user is not None, user)

    def control(self) -> Control:
        """Read which releases are published and active, and what changes for all users. Raises ServiceError."""
        with self._limited("control"):
            return control(self._redis)

    def value(self, key: str) -> bytes:
        """Read what an extra keeps under a key; empty where there is nothing. Raises ServiceError."""
        with self._limited(f"read of {key}"):
            found: Any = self._redis.get(key)  # typed for the asynchronous client too
        return found or b""

    def listed(self) -> tuple[str | None, list[str]]:
        """Read the active release and the published ones, last published or activated first. Raises ServiceError."""
        with self._limited("listed"):
            return listed(self._redis)

    def activate(self, release: str) -> None:
        """Have a release answer by default from now on. Raises ServiceError, StoredError if it is not published."""
        with self._limited("activate"):
            is_published = self._redis.activate_release(release)
        if not is_published:
            raise StoredError(
                self.service,
                f"holds no manifest of release {release}: it is not published",
            )

    def some_users(self, release: str, at_most: int) -> list[str]:
        """First own ids of a release's users, as sorted text. Raises ServiceError, StoredError if there is no list."""
        with self._limited("some_users"):
            ids: Any = self._redis.zrange(wire.ids_key(release), 0, at_most - 1)
        if not ids:
            raise StoredError(
                self.service,
                f"holds no list of the users of release {release}; {USERS_STEP} writes it",
            )
        return [each.decode() for each in ids]
