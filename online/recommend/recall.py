"""First stage: a few hundred unseen items that the user may like."""

from __future__ import annotations

import logging

import numpy as np

from online.clients.base import Client, ServiceError
from online.clients.elastic import Hits, ItemQuery
from online.clients.redis import StoredUser
from online.recommend.release import OpenRelease
from online.recommend.types import Candidates, Outcome

log = logging.getLogger(__name__)


def recall(items: Client[ItemQuery, Hits], opened: OpenRelease, user: StoredUser) -> Candidates:
    """Items by the user's genres and vector. Raises ServiceError.

    Who has a vector but no preferred genre is served by the vector alone, and the other way round. Who has neither,
    or has seen all that would be found, gets the popular unseen items.
    """
    if user.vector is not None and len(user.vector) != opened.vector_dim:
        raise ServiceError("redis", f"holds a user vector of {len(user.vector)} numbers, not {opened.vector_dim}")
    hits = items.call(ItemQuery(opened.release, user.terms, user.vector, user.seen, opened.recall))
    if len(hits.itemids):
        return Candidates(hits.itemids, hits.scores)
    unseen = ~np.isin(opened.popular, user.seen)
    kept = slice(opened.recall.candidates)
    return Candidates(opened.popular[unseen][kept], opened.popularity[unseen][kept], Outcome.NO_RECALL)
