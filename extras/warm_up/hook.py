"""A call of Feast and of Triton before the first request: theirs may exceed its budget."""

import logging
import time
from typing import Final

from flask import Flask

from online.clients.base import Deadline, ServiceError, until
from online.clients.feast import encoded_user
from online.clients.redis import UserQuery
from online.recommend.loaded_release import Release, with_popular
from online.recommend.outcomes import NoReleaseError
from online.recommend.recommend import Recommender, score_query
from online.recommend.types import Request, objective_weights, read_id
from online.web.parts import Parts

log = logging.getLogger(__name__)

_AT_MOST: Final = 5  # users who are tried until one can be ranked for


def register(app: Flask, parts: Parts) -> None:
    """Warm the services up before the first request, within the setting's seconds; what fails is left to requests."""
    recommender = parts.recommender
    seconds = recommender.server.warm_up_s
    if not seconds:
        return
    with until(over := Deadline.after(seconds)):
        try:
            rank_popular(recommender, recommender.releases.get(), over)
        except (ServiceError, NoReleaseError) as error:
            log.warning("services are left to warm up by requests: %s", error)
        except Exception:
            log.exception("services could not be warmed up")


def rank_popular(recommender: Recommender, opened: Release, over: Deadline) -> None:
    """Rank popular items for a user that all services know.

    Raises ServiceError.
    """
    features = recommender.user_features
    for own_id in recommender.users.some_users(opened.release, _AT_MOST):
        own = read_id("userid", own_id, opened.user_ids)
        user = recommender.users.call(UserQuery.of(own, opened.manifest)).user
        if user is None:
            continue
        row = features.fetch(opened.release, user.number, over, strict=True)
        encoded = encoded_user(opened.spec, features.result(row))
        popular = with_popular(opened, user)
        if encoded is not None and len(popular.item_numbers):
            now = int(time.time())
            weights = objective_weights(
                Request(userid=own_id, timestamp=now), opened.objectives
            )
            query, _ = score_query(opened, encoded, user.history, popular, now, weights)
            recommender.scorer.call(query)
            return
