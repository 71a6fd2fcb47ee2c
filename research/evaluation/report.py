"""Report on several recommenders as JSON: metrics with intervals, funnel, slices, thresholds.

Their lists come from artifacts or from a running server. `check` holds the default recipe to its thresholds, below
which `make evaluate-full` fails.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from data_exchange_center.recipes import DEFAULT
from data_exchange_center.steps import StepError
from extras import comparison
from extras.comparison import Floats
from extras.replay import Answers, Holdout, Lists, hits, liked_counts, only
from research.evaluation.baselines import EASE, POPULARITY
from research.evaluation.metrics import (
    CUTS,
    HEADLINES,
    auc,
    coverage,
    diversity,
    gauc,
    gini,
    judged_answers,
    novelty,
    per_user,
    popularity,
    slices,
    user_auc,
)
from research.evaluation.one_table import tables


def report(
    holdout: Holdout,
    systems: Mapping[str, Lists],
    answers: Answers,
    genres: Floats,
    baselines: Sequence[str],
) -> dict[str, Any]:
    """The whole report, of the lists as the holdout judges them.

    Args:
        systems: name -> (users, >= 1) codes, best first, 0 where shorter.
        answers: of the recommender whose funnel and ranker are reported.
        genres: (items + 1, genres) 0/1 for intra-list diversity.
        baselines: the systems that every other one is compared with.
    """
    systems = {name: holdout.judged(lists) for name, lists in systems.items()}
    answers = judged_answers(holdout, answers)
    return {
        **tables(holdout, systems),
        "systems": {
            name: _system(holdout, lists, genres) for name, lists in systems.items()
        },
        "against": {
            baseline: {
                name: comparisons(holdout, lists, systems[baseline])
                for name, lists in systems.items()
                if name not in baselines
            }
            for baseline in baselines
        },
        "slices": {name: _slices(holdout, lists) for name, lists in systems.items()},
        "funnel": funnel(holdout, answers),
        "ranking": comparisons(holdout, answers.ranked, answers.fused),
        "labelled": labelled(holdout, answers),
    }


def funnel(holdout: Holdout, answers: Answers) -> dict[str, Any]:
    """Share of the liked items (mean over users) among the candidates, and within the first k of each stage."""
    relevance, rows = holdout.relevance, np.arange(len(answers.fused))[:, None]

    def share(found: NDArray[np.bool_]) -> float:
        return float(np.nanmean(found.sum(axis=1) / liked_counts(relevance)))

    def stages(k: int) -> dict[str, Any]:
        tops = {name: lists[:, :k] for name, lists in answers.channels.items()}
        found = {name: hits(lists, relevance) for name, lists in tops.items()}
        # how many channels found what was liked
        finders = np.zeros(relevance.shape, dtype=np.int8)
        for name, lists in tops.items():
            finders[rows, lists] += found[name]
        return {
            "channels": {
                name: {
                    "found": share(part),
                    "by no other": share(part & (finders[rows, tops[name]] == 1)),
                }
                for name, part in found.items()
            },
            "found by any": share(finders > 0),
            "fused": share(hits(answers.fused[:, :k], relevance)),
            "ranked": share(hits(answers.ranked[:, :k], relevance)),
        }

    candidates = {
        "size": answers.fused.shape[1],
        "found": share(hits(answers.fused, relevance)),
    }
    return {
        "candidates": candidates,
        **{str(k): stages(k) for k in sorted(CUTS, reverse=True)},
    }


def labelled(holdout: Holdout, answers: Answers) -> dict[str, Any]:
    """AUC and GAUC over the ranked list: the liked against the rated but not liked, and against all the others.

    Recall's ranks cannot be compared between users, so only their GAUC means something. The same holds for scores of a
    ranker that was trained on lists: nothing ties those of one list to those of another.
    """
    liked = hits(answers.ranked, holdout.relevance)
    disliked = hits(answers.ranked, holdout.disliked)
    recalled = -_ranks_of(answers.ranked, answers.fused)
    out = {}
    for name, rows in (
        ("rated", liked | disliked),
        ("all candidates", answers.ranked > 0),
    ):
        labels = np.where(rows, liked.astype(np.float64), np.nan)
        out[f"liked against {name}"] = {
            "rows": int(rows.sum()),
            "liked": int((liked & rows).sum()),
            "users": int(np.count_nonzero(~np.isnan(user_auc(answers.scores, labels)))),
            "auc": auc(answers.scores[rows], labels[rows]),
            "gauc": gauc(answers.scores, labels),
            "gauc of recalled order": gauc(recalled, labels),
        }
    return out


def comparisons(holdout: Holdout, first: Lists, second: Lists) -> dict[str, Any]:
    """Compare every metric: paired difference ``first`` - ``second``, its interval and p-value."""
    one, other = per_user(holdout.relevance, first), per_user(holdout.relevance, second)
    return {
        name: comparison.compare(one[name], other[name])
        for name in one
        if name in other
    }


def _system(holdout: Holdout, lists: Lists, genres: Floats) -> dict[str, Any]:
    top, shares = lists[:, :50], popularity(holdout)
    n_items = len(shares) - 1
    return {
        **{
            name: mean(values)
            for name, values in per_user(holdout.relevance, lists).items()
        },
        "coverage@50": coverage(top, n_items),
        "gini@50": gini(top, n_items),
        "novelty@50": mean(novelty(top, shares)),
        "diversity@50": mean(diversity(top, genres)),
    }


def _slices(holdout: Holdout, lists: Lists) -> dict[str, Any]:
    """Headlines by groups of users; and by films: the most-rated ones with half of all ratings, and all others."""
    values = _headlines(holdout.relevance, lists)
    found = {
        slice_name: {
            name: mean(np.where(inside, value, np.nan))
            for name, value in values.items()
        }
        for slice_name, inside in slices(holdout).items()
    }
    shares = popularity(holdout)
    order = np.argsort(-shares, kind="stable")
    popular = np.zeros(len(order), dtype=bool)
    popular[order[np.cumsum(shares[order]) <= shares.sum() / 2]] = True
    for name, films in (("popular films", popular), ("rare films", ~popular)):
        values = _headlines(only(holdout.relevance, films[None]), lists)
        found[name] = {key: mean(value) for key, value in values.items()}
    return found


def _headlines(relevance: sp.csr_matrix, lists: Lists) -> dict[str, Floats]:
    values = per_user(relevance, lists)
    return {name: values[name] for name in HEADLINES if name in values}


def _ranks_of(lists: Lists, order: Lists) -> Floats:
    """(users, k) rank from 1 in ``order`` of each item of ``lists``; after its last where it is not there."""
    ranks = np.full(lists.shape, order.shape[1] + 1.0)
    for row, ours, theirs in zip(ranks, lists, order, strict=True):
        _, at, places = np.intersect1d(ours, theirs, return_indices=True)
        row[at] = places + 1
    ranks[lists == 0] = order.shape[1] + 1
    return ranks


# --- thresholds ---

# data set -> list, metric -> lowest and highest acceptable value. One that is too good points to leakage of
# the holdout.
# The floors of ml-100k lie .008 or more below the lowest of five seeds.
BOUNDS: Final[dict[str, dict[tuple[str, str], tuple[float, float]]]] = {
    "ml-1m": {
        ("ranked", "recall@200"): (0.735, 0.775),
        ("ranked", "recall@50"): (0.475, 0.515),
        ("ranked", "ndcg@50"): (0.29, 0.325),
        ("ranked", "returning: recall@200"): (0.56, 0.66),
    },
    "ml-100k": {
        ("recall", "recall@200"): (0.785, 0.83),
        ("recall", "recall@50"): (0.495, 0.545),
        ("recall", "ndcg@50"): (0.29, 0.335),
        ("ranked", "recall@200"): (0.785, 0.83),
        ("ranked", "recall@50"): (0.505, 0.55),
        ("ranked", "ndcg@50"): (0.293, 0.34),
    },
}
BEATEN: Final = (
    "recall@200",
    "recall@50",
    "ndcg@50",
)  # must be above both baselines', on both data sets
BETTER_RANKED: Final = ("recall@50", "ndcg@50")
P_VALUE: Final = 0.01
# protocol, time of the request -> NDCG@50 of the served order, at least
PROTOCOLS: Final = {
    ("next session", "at its time"): 0.175,
    ("next session", "as of now"): 0.172,
    ("one moment", "at its time"): 0.175,
    ("one moment", "as of now"): 0.172,
}
ENOUGH: Final = 30  # users, for the interval of a slice to mean anything


def check(found: Mapping[str, Any]) -> None:
    """Raise StepError, naming each threshold that is missed. Other recipes and data sets have none."""
    if found["recipe"] != DEFAULT.name or found["dataset"] not in BOUNDS:
        return
    if missed := list(_missed(found)):
        raise StepError(
            f"the {DEFAULT.name} recipe on {found['dataset']}: {'; '.join(missed)}."
        )


def _missed(found: Mapping[str, Any]) -> Iterator[str]:
    table = found["table"]
    ours = table[f"{DEFAULT.name}: ranked"]
    for baseline in (POPULARITY, EASE):
        for name in BEATEN:
            if not ours[name] > table[baseline][name]:
                yield f"{name} is {ours[name]:.4f} and no better than {baseline}'s {table[baseline][name]:.4f}"
    for (kind, name), (floor, ceiling) in BOUNDS[found["dataset"]].items():
        value = table[f"{DEFAULT.name}: {kind}"][name]
        if value < floor:
            yield f"{name} of the {kind} list is {value:.4f} and should be at least {floor:.3f}"
        if value > ceiling:
            yield f"{name} of the {kind} list is {value:.4f}, above {ceiling:.3f}: was the holdout trained on?"
    if (
        found["dataset"] == "ml-1m"
    ):  # on ml-100k the gain cannot be distinguished from chance
        for name in BETTER_RANKED:
            change, p_value = (
                found["ranking"][name][key] for key in ("difference", "p_value")
            )
            if not (change > 0 and p_value < P_VALUE):
                yield f"the ranker changes {name} of recall's order by {change:+.4f} with p = {p_value:.2g}"
        yield from _missed_by_protocols(found.get("protocols", {}))


def _missed_by_protocols(protocols: Mapping[str, Any]) -> Iterator[str]:
    """Where the served order is below its floor, or worse than recall's by more than the interval of `ENOUGH` users."""
    rows = []
    for name, by_time in protocols.items():
        for when, groups in by_time.items():
            floor = PROTOCOLS.get((name, when), 0.0)
            if floor and (value := groups["all"]["ranked"]["ndcg@50"]) < floor:
                yield f"{name}, {when}: ndcg@50 is {value:.4f} and should be at least {floor:.3f}"
            rows += [(name, when, users, row) for users, row in groups.items()]
    for *where, row in rows:
        change = row["difference"]["ndcg@50"]
        if row["users"] >= ENOUGH and change["high"] < 0:
            yield (
                f"{', '.join(where)}: the served order changes ndcg@50 of recall's by "
                f"{change['difference']:+.4f} ({change['low']:+.4f} to {change['high']:+.4f})"
            )


def mean(
    values: Floats, *, resamples: int = 1000, confidence: float = 0.95, seed: int = 0
) -> dict[str, float]:
    """Mean over the ``users`` who have the metric; percentile bootstrap interval, ``low`` to ``high`` (Efron 1979).

    NaN where nobody has the metric.
    """
    there = values[~np.isnan(values)]
    if len(there) == 0:
        return {
            "mean": float("nan"),
            "low": float("nan"),
            "high": float("nan"),
            "users": 0,
        }
    means = _drawn(len(there), resamples, seed) @ there / len(there)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return {
        "mean": float(there.mean()),
        "low": float(low),
        "high": float(high),
        "users": len(there),
    }


@lru_cache(maxsize=8)  # few numbers of users occur in one report
def _drawn(n: int, resamples: int, seed: int) -> NDArray[np.float32]:
    """(resamples, n) how often each of n users is drawn."""
    rng = np.random.default_rng(seed)
    return np.stack(
        [np.bincount(rng.integers(0, n, n), minlength=n) for _ in range(resamples)]
    ).astype(np.float32)
