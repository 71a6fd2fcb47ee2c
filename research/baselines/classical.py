"""Baselines that weigh a user's history: popularity, item-kNN, EASE, a Markov chain, iALS."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import numpy as np
import scipy.sparse as sp

from data_exchange_center.steps import progress
from offline.data.sequences import Sequences
from offline.evaluation.metrics import Floats
from offline.evaluation.replay import Holdout
from offline.evaluation.served import best_unseen, item_knn
from offline.models.ease import Float32, ease
from research.baselines.contest import SIZE, Fitted, Rival, Setting

DAY_S: Final = 86_400
Model = TypeVar("Model")
Of = dict[str, tuple[Any, ...]]  # setting -> values, the first of which is tried first

# How a history is weighted: a power of the lag, less where an event was not liked, and only so many of the newest.
HISTORY: Final[Of] = {
    "power": (0.75, 0.0, 0.25, 0.5, 1.0, 1.25),
    "disliked": (0.5, 0.0, 0.25, 1.0),
    "newest": (1000, 10, 20, 50, 100, 200),
}
SHORT: Final[Of] = {**HISTORY, "newest": (5, 1, 2, 3, 10, 20, 50, 100)}


def weighted_histories(known: Sequences, setting: Setting) -> sp.csr_matrix:
    """(users, items + 1): the ``newest`` events, each lag^-``power``, times ``disliked`` where it was not liked."""
    lags = np.repeat(known.lengths, known.lengths) - known.positions  # 1 is the newest
    weight = lags ** -float(setting["power"]) * np.where(known.liked, 1, setting["disliked"])
    weight = np.where(lags <= setting["newest"], weight, 0).astype(np.float32)
    found = sp.csr_matrix((weight, (known.users, known.items)), shape=(known.n_users, known.n_items + 1))
    found.eliminate_zeros()
    return found


class Kept(Generic[Model]):
    """Cache of the last fitted model, for settings that differ in nothing that it depends on."""

    def __init__(self, fit: Callable[[Sequences, Setting], Model], of: Mapping[str, Any]) -> None:
        self._fit, self._of = fit, tuple(of)
        self._last: tuple[Sequences, tuple[Any, ...], Model, float] | None = None

    def __call__(self, past: Sequences, setting: Setting) -> tuple[Model, float]:
        """The model, and how many seconds it took."""
        wanted = tuple(setting[name] for name in self._of)
        if self._last is None or self._last[0] is not past or self._last[1] != wanted:
            begin = time.perf_counter()
            model = self._fit(past, setting)
            self._last = past, wanted, model, time.perf_counter() - begin
        return self._last[2:]


def rival(
    name: str,
    fit: Callable[[Sequences, Setting], Model],
    scores: Callable[[Holdout, Model, Setting], Float32 | Floats],
    of_model: Of,
    of_request: Of,
) -> Rival:
    """A baseline that scores all items; ``of_model``: the settings that its model depends on."""
    kept = Kept(fit, of_model)

    def fitted(holdout: Holdout, setting: Setting) -> Fitted:
        model, seconds = kept(holdout.past, setting)
        return Fitted(best_unseen(scores(holdout, model, setting), holdout.past.seen(), SIZE), seconds)

    every = {**of_request, **of_model}  # in this order the model is fitted as seldom as possible
    first = {setting: values[0] for setting, values in every.items()}
    return Rival(name, first, {setting: values[1:] for setting, values in every.items()}, fitted)


def _of_history(holdout: Holdout, weights: Float32, setting: Setting) -> Float32:
    scores: Float32 = weighted_histories(holdout.known, setting) @ weights
    return scores


def popular(past: Sequences, setting: Setting) -> Floats:
    """(items + 1,) how often an item was rated, or liked."""
    items = past.items[past.liked] if setting["counted"] == "liked" else past.items
    return np.bincount(items, minlength=past.n_items + 1).astype(np.float64)


def lately_popular(holdout: Holdout, counts: Floats, setting: Setting) -> Float32:
    """(users, items + 1) how often in the ``days`` before each request; where that is even, how often ever."""
    past = holdout.past
    kept = past.liked if setting["counted"] == "liked" else np.ones(len(past.items), dtype=bool)
    order = np.argsort(past.times[kept], kind="stable")
    times, items = past.times[kept][order], past.items[kept][order]
    first, last = (np.searchsorted(times, holdout.times - before) for before in (setting["days"] * DAY_S, 0))
    scores = np.empty((past.n_users, past.n_items + 1), dtype=np.float32)
    for user, (begin, end) in enumerate(zip(first, last, strict=True)):
        scores[user] = np.bincount(items[begin:end], minlength=past.n_items + 1)
    scores += counts / (counts.sum() + 1)
    return scores


def followed(past: Sequences, setting: Setting) -> Float32:
    """(items + 1, items + 1) a Markov chain: how likely the column's item is liked within ``window`` lags of the row's.

    Only events of a later second follow; a pair counts lag^-``decay``. Divided by a power of how often the column's
    item is liked at all.
    """
    counts = np.zeros((past.n_items + 1) ** 2, dtype=np.float64)
    for lag in range(1, setting["window"] + 1):
        before, after = slice(None, -lag), slice(lag, None)
        pairs = (past.users[after] == past.users[before]) & (past.times[after] > past.times[before])
        pairs &= past.liked[after]
        cells = past.items[before][pairs] * (past.n_items + 1) + past.items[after][pairs]
        counts += np.bincount(cells, minlength=len(counts)) * lag ** -float(setting["decay"])
    matrix = counts.reshape(past.n_items + 1, past.n_items + 1)
    likes = np.bincount(past.items[past.liked], minlength=past.n_items + 1) + 1.0
    chain: Float32 = (matrix / (matrix.sum(axis=1, keepdims=True) + 1) / likes ** setting["rarity"]).astype(np.float32)
    return chain


def _seen(past: Sequences, setting: Setting) -> sp.csr_matrix:
    return (past.select(past.liked) if setting["fitted_on"] == "liked" else past).seen()


def _factor_scores(holdout: Holdout, factors: Factors, setting: Setting) -> Float32:
    return folded_in(weighted_histories(holdout.known, setting), factors) @ factors.items.T


FITTED_ON: Final = ("rated", "liked")
COUNTED: Final[Of] = {"counted": ("liked", "rated")}
POPULARITY, LATELY, KNN, EASE, MARKOV, IALS = (
    "popularity",
    "popularity of the last days",
    "weighted item-kNN",
    "weighted EASE",
    "Markov chain",
    "iALS",
)


def classical() -> tuple[Rival, ...]:
    """All of them, the quickest first."""
    return (
        rival(
            POPULARITY,
            popular,
            lambda at, counts, _: np.broadcast_to(counts, (len(at.times), len(counts))),
            COUNTED,
            {},
        ),
        rival(LATELY, popular, lately_popular, COUNTED, {"days": (30, 1, 3, 7, 14, 90, 365)}),
        rival(
            KNN,
            lambda past, of: item_knn(_seen(past, of), of["neighbours"], of["shrink"]),
            _of_history,
            {"neighbours": (100, 50, 200, 1000), "shrink": (20.0, 5.0, 100.0, 500.0), "fitted_on": FITTED_ON},
            HISTORY,
        ),
        rival(
            EASE,
            lambda past, of: ease(_seen(past, of), of["l2"]),
            _of_history,
            {"l2": (3000.0, 300.0, 1000.0, 10000.0, 30000.0), "fitted_on": FITTED_ON},
            HISTORY,
        ),
        rival(
            MARKOV,
            followed,
            _of_history,
            {"window": (10, 3, 5, 20, 40), "decay": (0.0, 0.5, 1.0), "rarity": (0.0, 0.25, 0.5, 0.75)},
            SHORT,
        ),
        rival(
            IALS,
            lambda past, of: factorised(_seen(past, of), of["dim"], of["l2"], of["unobserved"], of["epochs"]),
            _factor_scores,
            {
                "l2": (0.003, 0.001, 0.01, 0.03),
                "unobserved": (0.1, 0.03, 0.3, 1.0),
                "fitted_on": FITTED_ON,
                "dim": (128, 64, 256),
                "epochs": (12,),
            },
            HISTORY,
        ),
    )


# --- Implicit alternating least squares (Hu et al. 2008), regularized as in Rendle et al. 2022


@dataclass(frozen=True, eq=False)
class Factors:
    """Item factors, and the solver for users.

    Attributes:
        items: (items + 1, dim).
        l2: times (number of the user's events + ``unobserved`` x items), the frequency scaling of Rendle et al.
        unobserved: weight of a pair that was not observed.
    """

    items: Float32
    l2: float
    unobserved: float


def factorised(seen: sp.csr_matrix, dim: int, l2: float, unobserved: float, epochs: int, seed: int = 0) -> Factors:
    """Factors of the items of (users, items + 1) 0/1."""
    rng = np.random.default_rng(seed)
    items = rng.normal(0, 0.1 / np.sqrt(dim), (seen.shape[1], dim)).astype(np.float32)
    items[0] = 0
    columns = sp.csr_matrix(seen.T)
    for _ in progress(range(epochs), desc="iALS", unit="epoch", leave=False):
        users = solved(seen, items, l2, unobserved)
        items = solved(columns, users, l2, unobserved)
    return Factors(items, l2, unobserved)


def folded_in(weights: sp.csr_matrix, factors: Factors) -> Float32:
    """(users, items + 1) weights of what was observed -> (users, dim)."""
    return solved(weights, factors.items, factors.l2, factors.unobserved)


def solved(weights: sp.csr_matrix, others: Float32, l2: float, unobserved: float) -> Float32:
    """(n, m) weights of observed pairs, (m, dim) of the other side -> (n, dim): each row's weighted ridge regression.

    A row without anything observed is 0.
    """
    dim = others.shape[1]
    everything = unobserved * others.T @ others
    out = np.zeros((weights.shape[0], dim), dtype=np.float32)
    for row in np.flatnonzero(np.diff(weights.indptr)):
        own = slice(weights.indptr[row], weights.indptr[row + 1])
        near, weight = others[weights.indices[own]], weights.data[own].astype(np.float32)
        system = everything + (near * weight[:, None]).T @ near
        system[np.diag_indices(dim)] += l2 * (len(weight) + unobserved * len(others))
        out[row] = np.linalg.solve(system, near.T @ weight)
    return out
