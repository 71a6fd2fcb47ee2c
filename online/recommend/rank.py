"""Second stage: the candidates in the order of the ranking model."""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray

from online.clients.base import Client
from online.clients.feast import FeatureRows
from online.clients.triton import ScoreQuery
from online.recommend.release import OpenRelease
from online.recommend.types import Candidates, Outcome, Ranked

log = logging.getLogger(__name__)


def rank(
    scorer: Client[ScoreQuery, NDArray[np.float32]], opened: OpenRelease, user: FeatureRows, candidates: Candidates
) -> Ranked:
    """Candidates scored by the model. Raises ServiceError.

    ``user`` holds one row, or none when the feature store does not know the user: then recall's order stands.
    Candidates without features cannot be scored and are left out.
    """
    outcomes = [] if candidates.outcome is Outcome.PERSONAL else [candidates.outcome]
    if not user.ids:
        log.warning("no user features: %s", dict(user.missing))
        return _ordered(candidates.itemids, candidates.scores, (*outcomes, Outcome.NO_USER_FEATURES))
    known, item_rows = opened.items.current().find(candidates.itemids)
    if not known.all():
        log.warning("no features for items %s", candidates.itemids[~known].tolist())
        outcomes.append(Outcome.NO_ITEM_FEATURES)
    rows = opened.spec.assemble(opened.spec.encode_users(user.columns), item_rows)  # (known, width)
    scores = scorer.call(ScoreQuery(rows, opened.model_version, opened.model))
    return _ordered(candidates.itemids[known], scores, tuple(outcomes))


def _ordered(itemids: NDArray[np.int32], scores: NDArray[np.float32], outcomes: tuple[Outcome, ...]) -> Ranked:
    order = np.lexsort((itemids, -scores))
    return Ranked(itemids[order], scores[order], outcomes)
