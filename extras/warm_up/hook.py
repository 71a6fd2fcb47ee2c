"""Searches that warm a cold Elasticsearch up: it is slow until Java has compiled what a search runs."""

import logging
import threading
import time
from collections.abc import Callable
from itertools import cycle
from typing import Final

from flask import Flask

from online.clients.base import OUT_OF_TIME, Deadline, ServiceError, until
from online.clients.redis import UserQuery
from online.recommend.loaded_release import Release
from online.recommend.outcomes import NoReleaseError
from online.recommend.recall import recall
from online.recommend.recommend import Recommender
from online.recommend.types import read_id
from online.web.parts import Parts

log = logging.getLogger(__name__)

WARM = 2_000  # searches that an index has answered since Elasticsearch started: most of the slow ones are behind it
HOT = 15_000  # ... and after so many Java compiles little more: a search costs a third of what it does at first
IDLE: Final = 10  # pause after each search while requests are answered, in durations of that search
_USERS: Final = 200  # whose requests are simulated, in turn
_AT_A_TIME: Final = 20  # requests between two reads of the search count, which other processes raise, too


def register(app: Flask, parts: Parts) -> None:
    """Warm Elasticsearch up before the first request, within the setting's seconds; then slowly in the background."""
    recommender, ready = parts.recommender, threading.Event()
    if recommender.server.warm_up_s:
        threading.Thread(target=warm_up, args=(recommender, ready), name="warm-up", daemon=True).start()
        ready.wait(recommender.server.warm_up_s)


def warm_up(recommender: Recommender, ready: threading.Event) -> None:
    """Search until the active release's index is warm, or the setting's seconds are over; then slowly until it is hot.

    ``ready`` is set in between. Ends with the server.
    """
    try:
        opened = recommender.releases.get_active(threading.TIMEOUT_MAX)
        with until(over := Deadline.after(recommender.server.warm_up_s)):
            search(recommender, opened, WARM, lambda took_s: over.left() > 0, patient=True)
    except (ServiceError, NoReleaseError) as error:
        log.warning("nothing to warm up: %s", error)
        return
    finally:
        ready.set()
    search(recommender, opened, HOT, lambda took_s: not recommender.closed.wait(IDLE * took_s))


def search(
    recommender: Recommender, opened: Release, enough: int, more: Callable[[float], bool], *, patient: bool = False
) -> None:
    """Search as requests of the release's users would, until the index has answered ``enough`` searches.

    Searches of `make sync` and of requests count, too. Ends early if a service does not answer.

    Args:
        more: called with the seconds of each search; returns whether to go on.
        patient: go on after a search that timed out, as those of a cold service may.
    """
    users, items = recommender.users, recommender.items
    try:
        for count, own_id in enumerate(cycle(users.some_users(opened.release, _USERS))):
            if count % _AT_A_TIME == 0 and items.searches(opened.release) >= enough:
                break
            began = time.monotonic()
            query = UserQuery.of(read_id("userid", own_id, opened.user_ids), opened.manifest)
            try:
                if (user := users.call(query).user) is not None:
                    known = user.current(opened.manifest.dataset, opened.numbers, None)
                    recall(items, opened, known, int(time.time()), fewest=0)
            except ServiceError as error:
                if not patient or error.what != OUT_OF_TIME:
                    raise
            if not more(time.monotonic() - began):
                return
    except ServiceError as error:
        log.info("Elasticsearch is left to warm up by requests: %s", error)
        return
    log.info("Elasticsearch has answered %d searches for release %s", enough, opened.release)
