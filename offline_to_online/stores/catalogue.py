"""The four stores, in the order in which a request asks them."""

from __future__ import annotations

from typing import Any, NamedTuple

from data_exchange_center.settings import Settings
from offline_to_online.stores.base import ReleaseStore
from offline_to_online.stores.elasticsearch import ElasticsearchStore
from offline_to_online.stores.feast import FeastStore
from offline_to_online.stores.redis import RedisStore
from offline_to_online.stores.triton import TritonStore


class Stores(NamedTuple):
    """One of each."""

    redis: RedisStore
    elasticsearch: ElasticsearchStore
    feast: FeastStore
    triton: TritonStore

    @classmethod
    def of(cls, settings: Settings) -> Stores:
        return cls(RedisStore(settings), ElasticsearchStore(settings), FeastStore(settings), TritonStore(settings))

    @property
    def all(self) -> tuple[ReleaseStore[Any, Any], ...]:
        return tuple(self)
