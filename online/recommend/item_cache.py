"""Item features of one release, encoded once as far as the request's time is not needed, and kept in memory.

Feast needs 33 ms for the features of 200 items: fetched with each request, they would cost more than all the rest.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.features import Encoded, FeatureSpec
from online.clients.base import Client, ServiceError
from online.clients.feast import FeatureQuery, FeatureRows

log = logging.getLogger(__name__)

# 500 items with the source's 18 features take about 0.1 s, well within the timeout; hundreds of categories are hundreds
# of features.
CHUNK = 500  # items per call at most
VALUES = 18 * CHUNK  # features times items per call
RETRY_S = 10.0  # after a refresh that failed

FeatureStore = Client[FeatureQuery, FeatureRows]


@dataclass(frozen=True, eq=False)
class EncodedItems:
    """The features of all items that have every feature."""

    itemids: NDArray[np.int32]  # (n,) ascending
    rows: Encoded  # n

    def find(self, wanted: NDArray[np.integer]) -> tuple[NDArray[np.bool_], Encoded]:
        """Which of ``wanted`` (m,) are here, and the rows of those, in the order wanted."""
        if not len(self.itemids):
            return np.zeros(len(wanted), dtype=np.bool_), self.rows
        position = np.minimum(np.searchsorted(self.itemids, wanted), len(self.itemids) - 1)
        known: NDArray[np.bool_] = self.itemids[position] == wanted
        return known, self.rows[position[known]]


def fetch_items(store: FeatureStore, spec: FeatureSpec, release: str, itemids: Sequence[int]) -> EncodedItems:
    """All items' features from the store, `CHUNK` items and `VALUES` values a call at most. Raises ServiceError."""
    found: list[int] = []
    parts = [Encoded.none(spec.of("item"))]
    missing = 0
    ordered = sorted(itemids)
    size = min(CHUNK, max(1, VALUES // max(1, len(spec.stored("item")))))
    for start in range(0, len(ordered), size):
        answer = store.call(FeatureQuery("item", release, ordered[start : start + size]))
        missing += len(answer.missing)
        if answer.ids:
            found.extend(answer.ids)
            parts.append(spec.encode_items(answer.columns))
    if missing:
        log.warning("release %s: %d of %d items have no features and cannot be ranked", release, missing, len(ordered))
    return EncodedItems(np.array(found, np.int32), Encoded.joined(parts))


class ItemCache:
    """Encoded items, fetched again when older than ``ttl_s``; the stale copy serves until the new one is there."""

    def __init__(
        self,
        fetch: Callable[[], EncodedItems],
        ttl_s: float,
        background: Executor,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Fetches at once. Raises what ``fetch`` raises."""
        self._fetch = fetch
        self._ttl_s = ttl_s
        self._background = background
        self._clock = clock
        self._lock = threading.Lock()
        self._refreshing = False
        self._items = fetch()
        self.fetched_at = time.time()  # Unix seconds, of the copy at hand
        self._stale_at = clock() + ttl_s

    def current(self) -> EncodedItems:
        """The copy at hand; a refresh is started when it is stale."""
        if self._clock() >= self._stale_at:
            with self._lock:
                due = not self._refreshing and self._clock() >= self._stale_at
                self._refreshing = self._refreshing or due
            if due:
                self._background.submit(self._refresh)
        return self._items

    def _refresh(self) -> None:
        wait_s = RETRY_S
        try:
            fresh, held = self._fetch(), self._items
            lost = int((~np.isin(held.itemids, fresh.itemids)).sum())
            if lost:  # of a release nothing is taken away, so the store is at fault
                log.warning(
                    "%d of %d items have lost their features, the copy at hand is kept", lost, len(held.itemids)
                )
            else:
                self._items, wait_s = fresh, self._ttl_s
                self.fetched_at = time.time()
        except ServiceError as error:
            log.warning("item features could not be refreshed, the ones at hand serve on: %s", error)
        except Exception:
            log.exception("item features could not be refreshed, the ones at hand serve on")
        finally:
            with self._lock:
                self._stale_at = self._clock() + wait_s
                self._refreshing = False
