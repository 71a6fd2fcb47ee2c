"""The items' features of a loaded release, encoded but for what depends on a request's time.

Feast needs 33 ms for the features of 200 items, more than all the rest of a request: so a server holds those of all.
"""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from data_exchange_center.features import Encoded, FeatureSpec
from online.clients.feast import EncodedItems, FeatureQuery, FeatureStore

log = logging.getLogger(__name__)

ITEM_TTL_S: Final = 300.0  # after which items' features are fetched again
# seconds after a release, or its items' features, could not be loaded
RETRY_AFTER_S: Final = 5.0
# items per call at most: with the source's 18 features they take about 0.1 s, well within the timeout
CHUNK: Final = 500
VALUES: Final = 18 * CHUNK  # features times items per call


def fetch_items(
    store: FeatureStore, spec: FeatureSpec, release: str, item_numbers: Sequence[int]
) -> EncodedItems:
    """Fetch and encode items' features, at most `CHUNK` items and `VALUES` values per call. Raises ServiceError."""
    found: list[int] = []
    parts = [Encoded.none(spec.of("item"))]
    ordered = sorted(item_numbers)
    size = min(CHUNK, max(1, VALUES // max(1, len(spec.stored("item")))))
    for start in range(0, len(ordered), size):
        rows = store.call(FeatureQuery("item", release, ordered[start : start + size]))
        if rows.ids:
            found.extend(rows.ids)
            parts.append(spec.encode("item", rows.columns))
    if missing := len(ordered) - len(found):
        log.warning(
            "release %s: %d of %d items have no features and cannot be ranked",
            release,
            missing,
            len(ordered),
        )
    return EncodedItems(np.array(found, np.int32), Encoded.joined(parts))


class ItemCache:
    """Encoded items, fetched again when older than ``ttl_s``; the stale copy serves until the new one is there.

    Attributes:
        held: the copy at hand, which requests read.
    """

    def __init__(
        self,
        fetch: Callable[[], EncodedItems],
        ttl_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Fetches at once. Raises what ``fetch`` raises."""
        self._fetch = fetch
        self._ttl_s = ttl_s
        self._clock = clock
        self.held = fetch()
        self.fetched_at = time.time()  # Unix seconds, of the copy at hand
        self._stale_at = clock() + ttl_s

    def refresh(self) -> None:
        """Fetch a new copy if the one at hand is stale. One that lacks items is not taken: the store is at fault."""
        if self._clock() < self._stale_at:
            return
        wait_s = RETRY_AFTER_S
        try:
            fresh = self._fetch()
            lost = np.setdiff1d(self.held.item_numbers, fresh.item_numbers)
            if len(lost):
                log.warning(
                    "%d items have lost their features, which are kept", len(lost)
                )
            else:
                self.held, self.fetched_at, wait_s = fresh, time.time(), self._ttl_s
        except Exception:
            log.exception(
                "item features could not be refreshed, the ones at hand serve on"
            )
        self._stale_at = self._clock() + wait_s
