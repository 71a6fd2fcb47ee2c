"""Next-item protocols of papers on sequential recommendation: every rating is a target, liked or not.

A request precedes one rating, and all films are candidates but those the user has rated before. Ties in time are taken
in file order, as papers take them: times are made distinct, a second apart. A request comes at its rating's time, or,
where models know nothing of that, a second after the rating before.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.recipes import Recipe
from data_exchange_center.settings import Settings
from offline.data.lists import ranker_of_lists, recall_lists
from offline.data.requests import Points
from offline.data.sequences import Inputs, Ints, Sequences
from offline.evaluation.metrics import Lists
from offline.evaluation.protocols import Stages
from offline.models.training import ranked
from offline.readers import read_with_holdout

HIT_RATES = (10, 50, 200)
AT_ONCE = 8192  # requests


def every_rating(settings: Settings) -> Inputs:
    """All ratings, each liked, at distinct seconds. Raises ArtifactError or StepError without preprocessing."""
    found = read_with_holdout(settings)
    data = found.data
    data = replace(data, liked=np.ones_like(data.liked), times=distinct(data.times, data.starts))
    return replace(found, data=data, dataset=found.dataset.model_copy(update={"positive_level": 0}))


def distinct(times: Ints, starts: Ints) -> Ints:
    """Move each event of a user to a second later than that of the one before, and no further."""
    parts = (
        np.maximum.accumulate(own - np.arange(len(own))) + np.arange(len(own)) for own in np.split(times, starts[1:-1])
    )
    return np.concatenate(list(parts))


def from_the_end(data: Sequences, n: int) -> Ints:
    """Event number ``n`` from the end of each user who has others before it."""
    found: Ints = data.starts[1:][data.lengths > n] - n
    return found


def requests(data: Sequences, events: Ints, clock: bool) -> Points:
    """A request before each event. ``clock``: at the event's time, or else a second after the event before."""
    times = data.times[events] if clock else data.times[events - 1] + 1
    return Points(data.users[events], data.positions[events], times)


def answers(stages: Stages, recipe: Recipe, inputs: Inputs, points: Points) -> Iterator[tuple[Lists, Lists]]:
    """(m, candidates) in recall's order and in the served one, for `AT_ONCE` requests after the other."""
    size, history = recipe.recall.candidates, ranker_of_lists(recipe).history
    weights = [channel.fusion_weight for channel in recipe.recall.channels]
    for start in range(0, len(points), AT_ONCE):
        part = points.take(np.arange(start, min(start + AT_ONCE, len(points))))
        found = recall_lists(inputs.data, part, inputs.profiles, stages.channels, weights, size=size, history=history)
        yield found.candidates.astype(np.int64), ranked(stages.ranker, found, stages.stored)


# --- Metrics


def measured(lists: Lists, targets: Ints) -> dict[str, float]:
    """Means over (m,) requests with one target each: hit rates, debiased too, and NDCG@10."""
    rank = ranks(lists, targets)
    found = {f"hr@{k}": float((rank < k).mean()) for k in HIT_RATES}
    gain = np.where(rank < 10, 1 / np.log2(rank + 2), 0)
    weight = debiasing(targets)
    return {**found, "ndcg@10": float(gain.mean()), "debiased hr@10": float(np.average(rank < 10, weights=weight))}


def ranks(lists: Lists, targets: Ints) -> Ints:
    """(m,) place of each target on its list, from 0; the list's length or more where it is not on it."""
    found = lists == targets[:, None]
    place: Ints = np.where(found.any(axis=1), found.argmax(axis=1), np.iinfo(np.int32).max)
    return place


def debiasing(targets: Ints) -> NDArray[np.float64]:
    """(m,) weight of each target, so that no item has more than the outlier's bound of Tukey among the targets' counts.

    eSASRec's debiased metrics (Tikhonovich et al. 2025; `DebiasConfig` of RecTools, iqr_coef 1.5) draw that many of
    an item's targets at random; this is what they give on average.
    """
    counts = np.bincount(targets)
    low, high = np.quantile(counts[counts > 0], (0.25, 0.75))
    bound = np.floor(high + 1.5 * (high - low))
    weights: NDArray[np.float64] = np.minimum(1, bound / counts[targets])
    return weights
