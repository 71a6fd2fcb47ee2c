"""Redis Cluster: a client that discovers the cluster's nodes when it is first used, and again when they have changed.

For one slot, `ClusterClient.at` gives a plain client of the server that has it: its pipelines cost the same as with a
single server. All that one request reads lies in one slot, that of the user's events: the user's state, and a copy of
each key that belongs to no user. Everything else is redis-py's own client of a cluster.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any, Final, Self

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.crc import REDIS_CLUSTER_HASH_SLOTS
from redis.exceptions import ClusterDownError
from redis.retry import Retry

from data_exchange_center import wire
from data_exchange_center.dataset import OwnId
from data_exchange_center.settings import RedisSettings
from online.clients.publishing import kept_releases, listed, put_first
from online.clients.redis import ERRORS, MOVED, TimelyConnection

# at least between two discoveries, while a node does not answer
_LOOK_AGAIN_S: Final = 0.2


class ClusterClient:
    """All of redis-py's methods, and those of `Connected`. Shared by threads, not across a fork."""

    def __init__(self, settings: RedisSettings, timeout_s: float) -> None:
        self._settings = settings
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._cluster: RedisCluster | None = None
        self._looked = 0.0  # when the nodes were discovered

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connected(), name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _connected(self) -> RedisCluster:
        with self._lock:
            if self._cluster is None:
                try:
                    self._cluster = self._discovered()
                except IndexError as error:  # of redis-py, where no node has a slot
                    raise ClusterDownError("the cluster is not formed yet") from error
            return self._cluster

    def _discovered(self) -> RedisCluster:
        (host, port), *others = self._settings.addresses
        return RedisCluster(
            url=f"redis://{host}:{port}",  # with an address, redis-py takes our own kind of connection
            startup_nodes=[_node(*address) for address in others],
            connection_class=TimelyConnection,
            password=self._settings.secret,
            socket_timeout=self._timeout_s,
            socket_connect_timeout=self._settings.timeout_s,
            retry=Retry(NoBackoff(), 1),
            require_full_coverage=False,  # the users of the slots that are there are answered
        )

    def server_of(self, key: str) -> str:
        """Name of the server that holds the key's slot."""
        return str(_node_of(self._connected(), key).name)

    @contextmanager
    def at(self, key: str) -> Iterator[redis.Redis]:
        """A client of the server that has the key, for that key's slot.

        An error of `MOVED` (moved slot, lost connection) leads to a new discovery of the nodes before the next use.
        """
        cluster = self._connected()
        try:
            yield cluster.get_redis_connection(_node_of(cluster, key))
        except MOVED:
            self._look_again(cluster)
            raise

    def _look_again(self, cluster: RedisCluster) -> None:
        """Discover the nodes, one thread at a time; its errors are dropped, as the caller has one already."""
        if not self._lock.acquire(blocking=False):
            return
        try:
            if time.monotonic() - self._looked >= _LOOK_AGAIN_S:
                self._looked = time.monotonic()
                cluster.nodes_manager.initialize()
        except ERRORS:
            return
        finally:
            self._lock.release()

    def ping(self) -> bool:
        """Raises redis.RedisError unless every slot has a master, and every master a replica that has copied it."""
        cluster: Any = self._connected()
        if len(cluster.nodes_manager.slots_cache) < REDIS_CLUSTER_HASH_SLOTS:
            raise ClusterDownError(
                "the cluster is not formed yet: some slots have no server"
            )
        for name, said in cluster.cluster_info(
            target_nodes=RedisCluster.ALL_NODES
        ).items():
            if (
                said["cluster_state"] != "ok"
            ):  # servers answer some seconds later than they know the slots
                raise ClusterDownError(
                    f"the cluster's server {name} does not answer for its slots yet"
                )
        for name, server in cluster.info(
            "replication", target_nodes=RedisCluster.ALL_NODES
        ).items():
            if server["role"] == "master" and not server["connected_slaves"]:
                raise ClusterDownError(
                    f"the cluster's server {name} has no replica yet"
                )
            if server["role"] == "slave" and server["master_link_status"] != "up":
                raise ClusterDownError(
                    f"the cluster's server {name} has not copied its master yet"
                )
        return True

    def user_key(self, release: str, userid: OwnId) -> str:
        """Hash: a user's state."""
        return wire.user_key(release, f"{wire.partition_tag(userid)}:{userid}")

    def copy_for(self, key: str, userid: OwnId) -> str:
        """The copy in the slot of the user's events."""
        return f"{key}:{wire.partition_tag(userid)}"

    def copies(self, key: str) -> tuple[str, ...]:
        """The copies of a key, one in each partition."""
        return tuple(
            f"{key}:{{{partition}}}" for partition in range(wire.EVENT_PARTITIONS)
        )

    def publish_release(self, release: str, manifest: str) -> None:
        """Write a release's manifest, then list it. If interrupted, call it again."""
        key = wire.manifest_key(release)
        cluster: Any = self._connected()
        with cluster.pipeline(transaction=False) as pipe:
            for each in (key, *self.copies(key)):
                pipe.set(each, manifest)
            pipe.execute()
        self._put_first(release)

    def activate_release(self, release: str) -> bool:
        """Have a published release answer by default; False: it is not published. If interrupted, call it again.

        No transaction spans its manifest, the list and the pointer, which are in different slots.
        """
        cluster: Any = self._connected()
        if not cluster.exists(wire.manifest_key(release)):
            return False
        self._put_first(release, listed(cluster)[0])
        cluster.set(wire.LIVE_KEY, release)
        return True

    def _put_first(self, release: str, second: str | None = None) -> None:
        with (
            self.at(wire.PUBLISHED_KEY) as server,
            server.pipeline(transaction=True) as pipe,
        ):
            put_first(pipe, release, second)
            pipe.execute()

    def retire_releases(self, releases: Collection[str], keep: int) -> set[str]:
        """Unpublish all releases but ``keep``. Returns those, of ``releases`` too, not to keep. No transaction, as in
        `activate_release`."""
        cluster: Any = self._connected()
        active, published = listed(cluster)
        gone = {*releases, *published}.difference(
            kept_releases(active, published, keep)
        )
        for release in gone:
            manifest = wire.manifest_key(release)
            cluster.lrem(wire.PUBLISHED_KEY, 0, release)
            for key in (manifest, *self.copies(manifest)):
                cluster.delete(key)
        return gone

    def close(self) -> None:
        with self._lock:
            if self._cluster is not None:
                self._cluster.close()
                self._cluster = None


def _node(host: str, port: int) -> ClusterNode:
    return ClusterNode(host, port)  # type: ignore[no-untyped-call]


def _node_of(cluster: RedisCluster, key: str) -> ClusterNode:
    """Raises redis.RedisError where no server has the key's slot."""
    node: ClusterNode | None = cluster.get_node_from_key(key)  # type: ignore[no-untyped-call]
    if node is None:
        raise ClusterDownError(f"no server has the slot of {key}")
    return node
