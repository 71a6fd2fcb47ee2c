"""Calls that warm up cold services: Feast and Triton by one, Elasticsearch by searches until Java has compiled them."""

import logging
import time
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

WARM = 2_000  # searches of an index since Elasticsearch started: most of the slow ones are behind it
_USERS: Final = 200  # whose requests are simulated, in turn
_AT_MOST: Final = 5  # users who are tried until one can be ranked for
_AT_A_TIME: Final = 20  # requests between two reads of the search count, which other processes raise, too


def register(app: Flask, parts: Parts) -> None:
    """Warm the services up before the first request, within the setting's seconds; what fails is left to requests."""
    recommender = parts.recommender
    seconds = recommender.server.warm_up_s
    if not seconds:
        return
    with until(over := Deadline.after(seconds)):
        for warm_up in (rank_popular, search):
            try:
                warm_up(recommender, recommender.releases.get(), over)
            except (ServiceError, NoReleaseError) as error:
                log.warning("services are left to warm up by requests: %s", error)
            except Exception:
                log.exception("services could not be warmed up")


def rank_popular(recommender: Recommender, opened: Release, over: Deadline) -> None:
    """Rank popular items for a user that all services know: the first call of a process may exceed a request's budget.

    Raises ServiceError.
    """
    features = recommender.user_features
    for own_id in recommender.users.some_users(opened.release, _AT_MOST):
        user = stored_user(recommender, opened, own_id)
        if user is None:
            continue
        row = features.fetch(opened.release, user.number, over, strict=True)
        encoded = encoded_user(opened.spec, features.result(row))
        popular = with_popular(opened, user)
        if encoded is not None and len(popular.item_numbers):
            now = int(time.time())
            query, _ = score_query(
                opened, encoded, user.history, popular, now, opened.weights
            )
            recommender.scorer.call(query)
            return


def search(recommender: Recommender, opened: Release, over: Deadline) -> None:
    """Search as requests of the release's users would, until the index has answered `WARM` searches.

    Searches of `make sync` and of requests count, too. Raises ServiceError.
    """
    items = recommender.items
    users = recommender.users.some_users(opened.release, _USERS)
    for count, own_id in enumerate(cycle(users)):
        if count % _AT_A_TIME == 0 and items.searches(opened.release) >= WARM:
            log.info("Elasticsearch has answered %d searches", WARM)
            return
        try:
            user = stored_user(recommender, opened, own_id)
            if user is not None:
                search_channels(
                    items.call,
                    opened.manifest,
                    opened.channels,
                    user,
                    int(time.time()),
                )
        except ServiceError as error:
            if error.what != OUT_OF_TIME:  # as those of a cold service may be
                raise
        if not over.left():
            return


def stored_user(
    recommender: Recommender, opened: Release, own_id: str
) -> StoredUser | None:
    """A user's state as of now; None for an unknown user. Raises ServiceError."""
    query = UserQuery.of(read_id("userid", own_id, opened.user_ids), opened.manifest)
    user = recommender.users.call(query).user
    return user and user.current(opened.manifest.dataset, opened.numbers, None)
