"""Demote items that a user was shown before without reacting (impression discounting), if the settings say so.

RECSYS_SERVER__SEEN_AGAIN=discount. The items of each answer are written to Redis, by user, and the next request reads
them in an extra round trip. An item's rank is multiplied by `FACTOR` for each answer that showed it; one that is rated
or hidden leaves the lists anyway. Only plain requests count: not those that name a time or a release, are strict, want
an explanation or bring a history; nor those of another web site's page or, on an open server, without a key. Without
Redis nothing is demoted. The README says what it costs in a replay.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from data_exchange_center import wire
from data_exchange_center.dataset import OwnId
from extras.events.log import shown_key
from extras.questions.rank import kept
from extras.trials.exposures import ExposureQueue
from online.clients.base import ServiceError
from online.clients.redis import RedisClient
from online.recommend.recommend import Recommender
from online.recommend.types import Request, Slate
from online.web.guard import may_record_exposures

FACTOR: Final = 1.25
ANSWERS: Final = 20  # of a user that count, the newest
KEPT_S: Final = 30 * 24 * 3600
_SHARE: Final = 0.1  # of the time that is left, for reading


@dataclass(frozen=True, slots=True)
class Shown:
    """One answer, as it was shown to a user."""

    dataset: str
    userid: OwnId
    answered: int  # milliseconds since 1970-01-01 UTC
    items: tuple[OwnId, ...]


class ShownItems(RedisClient[tuple[str, OwnId], list[OwnId]]):
    """What users were shown, in a list for each."""

    def _call(self, query: tuple[str, OwnId]) -> list[OwnId]:
        """(data set, user) -> the items of the last answers, once for each."""
        raw: Any = self._redis.lrange(
            shown_key(*query), 0, -1
        )  # typed for the asynchronous client too
        return [itemid for answer in raw for itemid in json.loads(answer)]

    def write(self, answers: Sequence[Shown]) -> None:
        """Add answers, except those of users who were forgotten since. Raises ServiceError."""
        with self._limited("shown"):
            for each in answers:
                key = shown_key(each.dataset, each.userid)
                with self._redis.at(key) as server:
                    mark: Any = server.hget(
                        wire.user_events_key(each.dataset, each.userid), wire.FORGOTTEN
                    )
                    if mark and int(mark.partition(b"-")[0]) >= each.answered:
                        continue
                    with server.pipeline(transaction=True) as pipe:
                        pipe.lpush(key, json.dumps(each.items))
                        pipe.ltrim(key, 0, ANSWERS - 1)
                        pipe.expire(key, KEPT_S)
                        pipe.execute()


def counts(request: Request) -> bool:
    """Whether a request counts: a plain one of a trusted client, whose answer somebody sees now."""
    given = request.model_fields_set
    plain = not (request.strict or request.explain or request.release)
    return (
        plain
        and may_record_exposures()
        and bool(request.userid)
        and given.isdisjoint(("timestamp", "history", "candidates", "query"))
    )


def in_order(times: NDArray[np.integer], factor: float = FACTOR) -> NDArray[np.intp]:
    """Places of a list's n items, best first, each demoted by how many times it was shown, (n,)."""
    return np.argsort(np.arange(1, len(times) + 1) * factor**times, kind="stable")


class SeenAgain:
    """Demotes items shown before, and records those shown now. Shared by threads."""

    def __init__(self, recommender: Recommender, store: ShownItems) -> None:
        self._store = store
        store.breaker = recommender.users.breaker
        self._queue: ExposureQueue[Shown] = ExposureQueue(store.write)

    def demote(self, slate: Slate) -> None:
        """Demote items that the user was shown before."""
        request, opened = slate.request, slate.opened
        if not counts(request):
            return
        user = opened.manifest.dataset.base_name, request.userid
        try:
            shown_before = self._store.call(
                user, slate.deadline.share(_SHARE), strict=request.strict
            )
        except ServiceError:
            return
        times: Mapping[OwnId, int] = Counter(shown_before)
        if times:
            shown = [
                times.get(opened.catalogue[itemid].own_id, 0)
                for itemid in slate.ranked.item_numbers.tolist()
            ]
            slate.ranked = kept(slate.ranked, in_order(np.array(shown, np.int64)))

    def record(self, slate: Slate) -> None:
        """Record what is shown."""
        request, opened = slate.request, slate.opened
        if counts(request):
            items = tuple(item.itemid for item in slate.items)
            dataset = opened.manifest.dataset.base_name
            self._queue.put(
                Shown(dataset, request.userid, time.time_ns() // 1_000_000, items)
            )
