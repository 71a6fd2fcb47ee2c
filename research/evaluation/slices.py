"""Groups of users by time and activity, popularity of items, answers that are judged."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.channels import BREAK_S
from extras.comparison import Floats
from extras.replay import Answers, Holdout, gaps, kept

FEW, MANY = 50, 200  # ratings before the request


def slices(holdout: Holdout) -> Mapping[str, NDArray[np.bool_]]:
    """Name -> (users,) True for the users in it; those without a past are in none by time.

    ``holdout``: with requests at their own times.
    """
    has_past, gap = holdout.known.lengths > 0, gaps(holdout.past, holdout.times)
    return {
        "first of its second": has_past & (gap > 0),
        "returning": holdout.returning,
        "same session": has_past & (gap < BREAK_S),
        "few ratings": holdout.past.lengths < FEW,
        "many ratings": holdout.past.lengths >= MANY,
    }


def popularity(holdout: Holdout) -> Floats:
    """(items + 1,) share of users who rated an item before."""
    share: Floats = np.asarray(holdout.past.seen().sum(axis=0)).ravel() / max(
        holdout.past.n_users, 1
    )
    return share


def judged_answers(holdout: Holdout, answers: Answers) -> Answers:
    """All lists `Holdout.judged`, with their scores, and then cut to the length that is shown."""
    judges = holdout.judges(answers.ranked)
    channels = {name: holdout.judged(lists) for name, lists in answers.channels.items()}
    ranked, scores = (
        kept(answers.ranked, judges, 0),
        kept(answers.scores, judges, np.nan),
    )
    return Answers(channels, holdout.judged(answers.fused), ranked, scores).shown()
