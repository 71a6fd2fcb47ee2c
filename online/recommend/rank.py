"""Second stage: the candidates in the order of the ranking model."""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.features import Encoded, FeatureSpec, ModelInputs
from data_exchange_center.history import History
from online.clients.base import Asks, ServiceError
from online.clients.feast import FeatureRows
from online.clients.triton import ScoreQuery
from online.recommend.open_release import OpenRelease
from online.recommend.types import Candidates, Degraded, Outcome, Ranked

log = logging.getLogger(__name__)


def rank(
    scorer: Asks[ScoreQuery, NDArray[np.float32]],
    opened: OpenRelease,
    user: Encoded | None,
    history: History,
    candidates: Candidates,
    timestamp: int,
) -> Ranked:
    """Candidates scored by the model for a request at ``timestamp`` (seconds). Raises ServiceError.

    ``user``: as `encoded_user` gives it; where that is None, recall's order is kept.
    Candidates without features cannot be scored and are left out.
    """
    lacking = list(candidates.lacking)
    if user is None:
        return unranked(candidates, Degraded(Outcome.NO_USER_FEATURES, "feast", "does not know this user"))
    known, items = opened.items.current().find(candidates.itemids)
    if not known.all():
        log.warning("no features for items %s", candidates.itemids[~known].tolist())
        lacking.append(Degraded(Outcome.NO_ITEM_FEATURES, "feast", f"lacks {(~known).sum()} of the candidates"))
        candidates = candidates.only(known)
    inputs = model_inputs(opened.spec, user, items, candidates, history, timestamp)
    query = ScoreQuery(inputs, opened.model_version, opened.model)
    scores = scorer.call(query)
    order = np.lexsort((candidates.itemids, -scores))
    return Ranked(candidates.itemids[order], scores[order], tuple(lacking), query, order)


def encoded_user(spec: FeatureSpec, rows: FeatureRows) -> Encoded | None:
    """The features of the one user in ``rows``; None when the feature store does not know the user.

    Raises ServiceError for a feature that is absent, and for a value that is none of its feature.
    """
    if not rows.ids:
        log.warning("no user features: %s", dict(rows.missing))
        return None
    try:
        user = spec.encode_users(rows.columns)
    except (LookupError, TypeError, ValueError, OverflowError) as error:
        log.warning("user features that cannot be encoded: %r", error)
        raise ServiceError("feast", f"gives user features that cannot be encoded ({type(error).__name__})") from error
    if not np.isfinite(user.values).all():
        raise ServiceError("feast", "gives user features that are no numbers")
    return user


def unranked(candidates: Candidates, why: Degraded) -> Ranked:
    """The candidates in recall's order."""
    return Ranked(candidates.itemids, candidates.scores, (*candidates.lacking, why))


def model_inputs(
    spec: FeatureSpec, user: Encoded, items: Encoded, candidates: Candidates, history: History, timestamp: int
) -> ModelInputs:
    """What the ranking model sees of one user's n candidates at ``timestamp`` (seconds).

    ``user``: one; ``items``: n, in the order of ``candidates``.
    """
    recalled = spec.encode_candidates(candidates.columns, candidates.features)
    return spec.model_inputs(user, items, timestamp, recalled, spec.encode_history(history, timestamp))
