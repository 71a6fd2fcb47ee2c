"""A cold Elasticsearch is warmed up: it searches slowly until Java has compiled what a search runs."""

from __future__ import annotations

import logging
import time
from itertools import cycle, islice

from online.clients.base import OUT_OF_TIME, ServiceError
from online.clients.deadline import Deadline, until
from online.clients.elastic import ElasticItems
from online.clients.redis import RedisUsers, UserQuery
from online.recommend.open_release import OpenRelease
from online.recommend.recall import recall
from online.recommend.types import read_id

log = logging.getLogger(__name__)

WARM = 2_000  # searches that an index has answered since Elasticsearch started: most of the slow ones are behind it
_USERS = 200  # whose requests are made, in turns
_AT_A_TIME = 20  # requests between two looks at the count, which other processes raise, too


def warm_up_elasticsearch(users: RedisUsers, items: ElasticItems, opened: OpenRelease, within_s: float) -> None:
    """Search as requests of the release's users would, until the index has answered `WARM` searches or time is over.

    Nothing is searched where it has answered so many already: by the checks of `make sync`, or by requests.
    ``within_s``: seconds, 0 for not at all. Raises ServiceError, unless it is that time is over.
    """
    if not within_s:
        return
    started, deadline = time.perf_counter(), Deadline.after(within_s)
    searches = before = None
    try:
        with until(deadline):
            searches = before = items.searches(opened.release)
            userids = (
                users.some_users(opened.release, opened.manifest.dataset.base_name, _USERS) if searches < WARM else []
            )
            asked = cycle(userids)
            while userids and searches < WARM and deadline.left():
                for userid, _ in islice(asked, _AT_A_TIME):
                    _search(users, items, opened, userid, deadline)
                searches = items.searches(opened.release)
    except ServiceError as error:
        if error.what != OUT_OF_TIME:
            raise
    if searches != before:
        log.info(
            "warmed Elasticsearch up: %d searches of release %s since its start, %d of them in the last %.1f s",
            searches, opened.release, (searches or 0) - (before or 0), time.perf_counter() - started,
        )  # fmt: skip


def _search(users: RedisUsers, items: ElasticItems, opened: OpenRelease, userid: str, deadline: Deadline) -> None:
    """What recall does for a request as of now. A cold service may need longer than a request waits for it."""
    asked = UserQuery.of(read_id("userid", userid, opened.user_ids), opened.manifest)
    try:
        if (user := users.call(asked).user) is not None:
            recall(items, opened, opened.current(user, None), int(time.time()))
    except ServiceError as error:
        if error.what != OUT_OF_TIME or not deadline.left():
            raise
