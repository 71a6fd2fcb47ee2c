"""Quality over time: the hit rate of served lists, by release and day, and drift as population stability indices.

A list is a hit if its user likes one of its items within the window after it. The population stability index (PSI) of a
feature is the sum over bins of (q - p) ln(q / p), for the shares p of the training data and q of what is served now:
0 where they are equal; by custom .1 is a small shift and .2 one that matters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_exchange_center.dataset import Dataset, OwnId
from data_exchange_center.events import Event
from extras.experiments.store import Exposure
from extras.quality.store import DayRate, Drift, Report

BINS: Final = 10  # of numbers, by the training data's quantiles
VALUES: Final = 20  # of a category that have a bin each, the most frequent ones; one more has the others
FEWEST: Final = 200  # values that an index is computed of: fewer differ by chance
KEPT_DAYS: Final = 90  # of hit rates, in a report
_SMOOTHING: Final = 0.5  # added to each bin's count


def hit_rates(
    exposures: Iterable[Exposure],
    events: Mapping[OwnId, Sequence[Event]],
    dataset: Dataset,
    window_s: int,
    now: float,
) -> list[DayRate]:
    """Hit rates by release and day. ``events``: each user's, in order; lists whose window is not over do not count."""
    counts: dict[tuple[str, str], list[int]] = {}
    for each in {
        each.recommendation: each for each in exposures
    }.values():  # one that was written twice counts once
        if each.timestamp + window_s > now:
            continue
        day = f"{datetime.fromtimestamp(each.answered / 1e3, UTC):%Y-%m-%d}"
        count = counts.setdefault((day, each.release), [0, 0])
        count[0] += 1
        count[1] += is_hit(each, events.get(each.userid, ()), dataset, window_s)
    return [
        DayRate(release=release, day=day, lists=lists, hits=hits)
        for (day, release), (lists, hits) in sorted(counts.items())
    ]


def is_hit(
    shown: Exposure, events: Iterable[Event], dataset: Dataset, window_s: int
) -> bool:
    """Whether an item of a list is liked when the window ends: a later event may take a like back."""
    liked: set[OwnId] = set()
    for event in events:
        if (
            event.itemid in shown.items
            and shown.timestamp <= event.timestamp <= shown.timestamp + window_s
        ):
            effect = dataset.event_types.get(event.type)
            code = dataset.code(event.value) if effect == "rates" else None
            if code is not None and code > dataset.positive_level:
                liked.add(event.itemid)
            elif code is not None or effect == "retracts":
                liked.discard(event.itemid)
    return bool(liked)


def merged(before: Report, now: Report) -> Report:
    """The newer report, with what only an earlier one of the same window has.

    Hit rates: days that the log has no longer, or has fewer lists of, up to `KEPT_DAYS`. Drift: features of the same
    release that could not be measured this time, as a failure does not say that they drift no more.
    """
    days = {(each.day, each.release): each for each in now.hit_rates}
    for each in before.hit_rates:
        found = days.get((each.day, each.release))
        if found is None or found.lists < each.lists:
            days[each.day, each.release] = each
    kept = sorted({day for day, _ in days})[-KEPT_DAYS:]
    earlier = before.drift if before.release == now.release else []
    drift = {each.feature: each for each in (*earlier, *now.drift)}
    return now.model_copy(
        update={
            "hit_rates": [days[key] for key in sorted(days) if key[0] in kept],
            "drift": sorted(drift.values(), key=lambda each: -each.psi),
        }
    )


def psi(training: NDArray[Any], current: NDArray[Any]) -> float:
    """The index of two counts, bin by bin; a bin that one side lacks does not make it infinite."""
    p, q = (
        (counts + _SMOOTHING) / (counts.sum() + _SMOOTHING * len(counts))
        for counts in (training, current)
    )
    return float(np.sum((q - p) * np.log(q / p)))


def drift_of(feature: str, training: pd.Series, current: pd.Series) -> Drift | None:
    """A feature's index; None where there are too few current values to tell.

    Numbers with many values are binned by the training data's quantiles, others by value. Rare values, and those that
    are not there (a feature of an unknown user), share a bin.
    """
    if len(current) < FEWEST or training.empty:
        return None
    if pd.api.types.is_numeric_dtype(training) and training.nunique() > VALUES:
        edges = np.unique(training.quantile(np.arange(1, BINS) / BINS))
        bins = [
            np.where(each.isna(), 0, np.searchsorted(edges, each, side="right") + 1)
            for each in (training, current)
        ]
    else:
        known = training.value_counts().index[:VALUES]
        bins = [known.get_indexer(pd.Index(each)) + 1 for each in (training, current)]
    before, now = (
        np.bincount(each, minlength=max(map(np.max, bins)) + 1) for each in bins
    )
    used = before + now > 0
    return Drift(
        feature=feature, psi=round(psi(before[used], now[used]), 4), values=len(current)
    )
