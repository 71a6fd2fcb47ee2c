"""Calls that warm up cold services: Feast and Triton by one, Elasticsearch by searches until Java has compiled them."""

import logging
import threading
import time
from collections.abc import Callable
from itertools import cycle
from typing import Final

from flask import Flask

from data_exchange_center.candidates import StoredUser
from online.clients.base import OUT_OF_TIME, Deadline, ServiceError, until
from online.clients.feast import encoded_user
from online.clients.redis import UserQuery
from online.recommend.loaded_release import Release, with_popular
from online.recommend.outcomes import NoReleaseError
from online.recommend.recall import search_channels
from online.recommend.recommend import Recommender, score_query
from online.recommend.types import read_id
from online.web.parts import Parts

log = logging.getLogger(__name__)

WARM = 2_000  # searches that an index has answered since Elasticsearch started: most of the slow ones are behind it
HOT = 15_000  # ... and after so many Java compiles little more: a search costs a third of what it does at first
IDLE: Final = 10  # pause after each search while requests are answered, in durations of that search
_USERS: Final = 200  # whose requests are simulated, in turn
_AT_MOST: Final = 5  # users who are tried until one can be ranked for
_AT_A_TIME: Final = 20  # requests between two reads of the search count, which other processes raise, too


def register(app: Flask, parts: Parts) -> None:
    """Warm the services up before the first request, within the setting's seconds; then slowly in the background."""
    recommender, ready = parts.recommender, threading.Event()
    if recommender.server.warm_up_s:
        threading.Thread(
            target=warm_up, args=(recommender, ready), name="warm-up", daemon=True
        ).start()
        ready.wait(recommender.server.warm_up_s)


def warm_up(recommender: Recommender, ready: threading.Event) -> None:
    """Rank, then search until the index is warm or the setting's seconds are over; then slowly until it is hot.

    ``ready`` is set in between. Ends with the server.
    """
    try:
        opened = recommender.releases.get()
        with until(over := Deadline.after(recommender.server.warm_up_s)):
            rank_popular(recommender, opened, over)
            search(
                recommender, opened, WARM, lambda took_s: over.left() > 0, patient=True
            )
    except (ServiceError, NoReleaseError) as error:
        log.warning("nothing to warm up: %s", error)
        return
    finally:
        ready.set()
    search(
        recommender,
        opened,
        HOT,
        lambda took_s: not recommender.closed.wait(IDLE * took_s),
    )


def rank_popular(recommender: Recommender, opened: Release, deadline: Deadline) -> None:
    """Rank popular items for a user that all services know: the first call of a process may exceed a request's budget.

    Whatever fails is logged: it is left to the requests.
    """
    try:
        for own_id in recommender.users.some_users(opened.release, _AT_MOST):
            if (user := stored_user(recommender, opened, own_id)) is None:
                continue
            row = recommender.user_features.fetch(
                opened.release, user.number, deadline, strict=True
            )
            features = encoded_user(opened.spec, recommender.user_features.result(row))
            popular = with_popular(opened, user)
            if features is not None and len(popular.item_numbers):
                query, _ = score_query(
                    opened, features, user.history, popular, int(time.time())
                )
                recommender.scorer.call(query)
                return
    except ServiceError as error:
        log.info("Feast and Triton are left to warm up by requests: %s", error)
    except Exception:
        log.exception("Feast and Triton could not be warmed up")


def stored_user(
    recommender: Recommender, opened: Release, own_id: str
) -> StoredUser | None:
    """A user's state as of now; None for an unknown user. Raises ServiceError."""
    query = UserQuery.of(read_id("userid", own_id, opened.user_ids), opened.manifest)
    user = recommender.users.call(query).user
    return user and user.current(opened.manifest.dataset, opened.numbers, None)


def search(
    recommender: Recommender,
    opened: Release,
    enough: int,
    more: Callable[[float], bool],
    *,
    patient: bool = False,
) -> None:
    """Search as requests of the release's users would, until the index has answered ``enough`` searches.

    Searches of `make sync` and of requests count, too. Ends early if a service does not answer.

    Args:
        more: called with the seconds of each search; returns whether to go on.
        patient: go on after a search that timed out, as those of a cold service may.
    """
    items = recommender.items
    try:
        for count, own_id in enumerate(
            cycle(recommender.users.some_users(opened.release, _USERS))
        ):
            if count % _AT_A_TIME == 0 and items.searches(opened.release) >= enough:
                break
            began = time.monotonic()
            try:
                if (user := stored_user(recommender, opened, own_id)) is not None:
                    search_channels(
                        items.call,
                        opened.manifest,
                        opened.channels,
                        user,
                        int(time.time()),
                    )
            except ServiceError as error:
                if not patient or error.what != OUT_OF_TIME:
                    raise
            if not more(time.monotonic() - began):
                return
    except ServiceError as error:
        log.info("Elasticsearch is left to warm up by requests: %s", error)
        return
    log.info(
        "Elasticsearch has answered %d searches for release %s", enough, opened.release
    )
