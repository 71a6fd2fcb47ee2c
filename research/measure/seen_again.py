"""Replay the effect of RECSYS_SERVER__SEEN_AGAIN=discount on lists: requests before every second held-out rating.

Between two requests the user rates, and items shown before without being rated are demoted. Reported by factor: how
much is found of what the user likes from the request on, and how much of a list was shown before; an infinite factor
shows nothing twice. Lists are by exact search over the artifacts. The ratings were made over another system's lists,
and nobody has seen ours: so the replay says what a discount costs, not what it gains.

Reads   data_exchange_center/offline
Writes  pic/figures/seen_again.json (another recipe's or data set's: with its name)
Run     make evaluate-seen-again, after make offline
Expect  some minutes
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from data_exchange_center import steps
from data_exchange_center.settings import Settings
from extras import comparison
from extras.questions.seen_again import FACTOR, in_order
from offline.data.split import holdout_sizes
from offline.evaluation import metrics, replay, served
from offline.evaluation.metrics import Floats, Lists
from offline.readers import read_with_holdout
from research.evaluation.slices import judged_answers
from research.figures import recommendations
from research.reports import figure, head, publish

FACTORS: Final = (1.0, 1.1, FACTOR, 1.5, 2.0, np.inf)
EVERY: Final = 2  # a request before every second held-out rating
SHOWN: Final = 50
METRICS: Final = (f"recall@{SHOWN}", f"NDCG@{SHOWN}", "shown before")


def weighed(ranked: Lists, times: NDArray[np.int8], factor: float) -> Lists:
    """Demote items of (users, k) lists by how many times they were shown, (users, items + 1); 0 pads."""
    shown = np.take_along_axis(times, ranked, axis=1).astype(np.int64)
    if np.isinf(factor):
        order = np.argsort(shown > 0, axis=1, kind="stable")
    else:
        order = np.stack([in_order(row, factor) for row in shown])
    found: Lists = np.take_along_axis(ranked, order, axis=1)
    return found


def by_user(requests: list[Floats]) -> Floats:
    """(users,) mean over a user's requests; NaN for a user without any that counts."""
    values = np.stack(requests)
    there = (~np.isnan(values)).sum(axis=0)
    found: Floats = np.where(there > 0, np.nansum(values, axis=0) / np.maximum(there, 1), np.nan)
    return found


def main(settings: Settings) -> None:
    inputs = read_with_holdout(settings)
    data = inputs.data
    sizes = holdout_sizes(inputs.dataset.holdout, data.lengths, data.newest)
    times = {factor: np.zeros((data.n_users, data.n_items + 1), np.int8) for factor in FACTORS}
    rows: dict[float, dict[str, list[Floats]]] = {factor: {name: [] for name in METRICS} for factor in FACTORS}
    for gone in range(0, int(sizes.max()), EVERY):
        left = np.maximum(sizes - gone, 0)
        holdout = replay.holdout_of(data.before_last(left), data.last(left))
        answers = judged_answers(holdout, served.answers(settings, holdout, stored_events=False))
        for factor, row in rows.items():
            lists = weighed(answers.ranked, times[factor], factor)[:, :SHOWN]
            again = (np.take_along_axis(times[factor], lists, axis=1) > 0) & (lists > 0)
            values = (
                metrics.recall(lists, holdout.relevance, SHOWN),
                metrics.ndcg(lists, holdout.relevance, SHOWN),
                np.where((left > 0) & (gone > 0), again.mean(axis=1), np.nan),
            )
            for name, value in zip(METRICS, values, strict=True):
                row[name].append(value)
            np.add.at(times[factor], (np.arange(data.n_users)[:, None], lists), 1)
            times[factor][:, 0] = 0
    means = {factor: {name: by_user(values) for name, values in row.items()} for factor, row in rows.items()}
    _, ndcg, _ = METRICS
    factors = {
        f"{factor:g}": {name: comparison.mean(values) for name, values in row.items()}
        | {"change": comparison.compare(row[ndcg], means[1.0][ndcg])}
        for factor, row in means.items()
    }
    found = {**head("make evaluate-seen-again", settings, settings.recipe), "served": FACTOR, "factors": factors}
    publish(figure(found, settings, "seen_again"), found, recommendations.seen_again)


if __name__ == "__main__":
    steps.run(main, about=__doc__)
