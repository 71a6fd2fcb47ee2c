"""Baselines, tuned and measured as the recipe is: ``make tune-baselines``, after ``make offline``.

Every baseline has the recipe's past, users, candidates and clock: a request sees what happened strictly before
its second. Settings are chosen on the ten ratings before the last ten, with models fitted on what precedes those; then
the chosen setting is fitted on all but the last ten, and measured there. Whatever is measured is written at once,
and an interrupted run resumes. Rows that the report has of other models, transformers among them, stay as they are.

Reads:  the artifacts of `make offline`
Writes: pic/figures/baselines.json (of another recipe or data set: with its name)
Run:    python -m research.baselines [--only <baseline> ...]
Expect: an hour on MovieLens-1M
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import logging
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import scipy.sparse as sp
from rich.console import Console

from data_exchange_center.figures import OFFLINE, machine, write_figure
from data_exchange_center.release_parts import release_of_artifacts
from data_exchange_center.settings import Settings
from data_exchange_center.steps import progress, run
from offline.data.sequences import Inputs, Sequences
from offline.data.split import holdout_sizes
from offline.evaluation import metrics, replay, served
from offline.evaluation.evaluate import figure, head
from offline.evaluation.metrics import Floats, Lists
from offline.evaluation.replay import Holdout
from offline.evaluation.report import per_user, plain, summary
from offline.evaluation.served import best_unseen, item_knn
from offline.models.ease import Float32, ease
from offline.readers import read_with_holdout
from research.reports import resumed, table

log = logging.getLogger(__name__)


SIZE: Final = 256  # of a list: as many as the recipe's channels give, more than are measured
Setting = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Fitted:
    """Lists of a fitted baseline.

    Attributes:
        lists: (users, `SIZE`) codes, best first, nothing that the request knows; 0 pads.
        seconds: processor time of training, without inference.
    """

    lists: Lists
    seconds: float


@dataclass(frozen=True, eq=False)
class Baseline:
    """A recommender with settings.

    Attributes:
        first: the setting that is tried first.
        others: setting -> other values, in the order that they are tried.
        fit: trains on the past of a holdout, with one setting, and answers all its requests.
    """

    name: str
    first: Setting
    others: Mapping[str, Sequence[Any]]
    fit: Callable[[Holdout, Setting], Fitted]


# --- The search for a setting: one value at a time is changed, for as long as that helps


SELECTED_BY = "ndcg@50"
ENDED: Final = ("eSASRec", "HSTU", "the best fusion of them")  # their rows stay: their code is in commit 8f65f0c
ROUNDS: Final = 3  # at most: how often each setting is looked at again
Measured = dict[str, Any]  # metric -> mean over users, of the ten before the last ten


def best(tried: list[Measured], baseline: Baseline) -> Setting:
    """The setting with the highest `SELECTED_BY`, the earliest of equals; the first one where nothing was tried."""
    if not tried:
        return baseline.first
    found: Setting = max(tried, key=lambda each: each[SELECTED_BY])["setting"]
    return found


def searched(baseline: Baseline, tried: list[Measured], measure: Callable[[Setting], Measured]) -> Iterator[Measured]:
    """Try what is not in ``tried`` yet, giving each as soon as it is measured.

    Coordinate search, deterministic: each setting in turn takes each of its values, the others being the best so far;
    again, until a whole round changes nothing. Given ``tried`` with its earlier results, it resumes where it ended.
    """
    known = {_setting_key(each["setting"]): each for each in tried}

    def value(setting: Setting) -> Iterator[Measured]:
        if _setting_key(setting) not in known:
            known[_setting_key(setting)] = {"setting": dict(setting), **measure(setting)}
            yield known[_setting_key(setting)]

    yield from value(baseline.first)
    current = baseline.first
    for _ in range(ROUNDS):
        before = current
        for name, values in baseline.others.items():
            choices = [{**current, name: each} for each in (current[name], baseline.first[name], *values)]
            for setting in choices:
                yield from value(setting)
            current = max(choices, key=lambda setting: known[_setting_key(setting)][SELECTED_BY])
        if current == before:
            return


def _setting_key(setting: Setting) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted(setting.items()))


def over(baseline: Baseline, tried: list[Measured]) -> bool:
    """Whether the search has nothing left to try."""
    return next(searched(baseline, tried, lambda _: {SELECTED_BY: 0.0}), None) is None


# --- The report


def values(holdout: Holdout, lists: Lists) -> Floats:
    """(users,) of `SELECTED_BY`, the lists being judged."""
    return per_user(holdout.relevance, holdout.judged(lists))[SELECTED_BY]


def measured(holdout: Holdout, lists: Lists) -> dict[str, Any]:
    """The headline means."""
    return plain(summary(holdout, lists))


class Contest:
    """Holdouts for choices and for measurements, and one file: the tried settings of each baseline, and its row on the
    last ten."""

    def __init__(self, path: Path, head: Mapping[str, Any], chosen_on: Holdout, measured_on: Holdout) -> None:
        self.path, self.chosen_on, self.measured_on = path, chosen_on, measured_on
        head = {**head, "cuts": digest(chosen_on, measured_on)}
        self.found = resumed(path, head, {"rows": {}, "tried": {}, "references": {}, "own": {}}, any_recipe=True)
        before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        if before.get("cuts") == head["cuts"]:
            self.found["rows"] |= {name: row for name, row in before["rows"].items() if name in ENDED}

    def enter(self, baseline: Baseline) -> None:
        """The row of the best so far, the search for a setting, and the row of the best."""
        tried: list[Measured] = self.found["tried"].setdefault(baseline.name, [])
        self._measure(baseline, tried)
        for entry in searched(baseline, tried, partial(self._try, baseline)):
            tried.append(plain(entry))
            log.info("%s: %s %.4f, %s", baseline.name, SELECTED_BY, entry[SELECTED_BY], entry["setting"])
            self._note(baseline, tried)
        self._measure(baseline, tried)

    def _try(self, baseline: Baseline, setting: Setting) -> Measured:
        found = baseline.fit(self.chosen_on, setting)
        return {**measured(self.chosen_on, found.lists), "seconds": round(found.seconds, 1)}

    def _measure(self, baseline: Baseline, tried: list[Measured]) -> None:
        """The row of the best setting so far, unless it is there."""
        setting, row = best(tried, baseline), self.found["rows"].get(baseline.name)
        if row is None or row["setting"] != setting:
            found = baseline.fit(self.measured_on, setting)
            means = plain({"seconds": round(found.seconds, 1), **measured(self.measured_on, found.lists)})
            compared = self._compared(packed(values(self.measured_on, found.lists)))
            row = {"setting": dict(setting), **means, "machine": machine()["cpu"], **compared}
            self.found["rows"][baseline.name] = row
        self._note(baseline, tried)

    def _note(self, baseline: Baseline, tried: list[Measured]) -> None:
        self.found["rows"][baseline.name] |= {"settings tried": len(tried), "searched": over(baseline, tried)}
        self.write()

    def refer_to(self, release: str, references: Mapping[str, Mapping[str, Any]], of_users: Floats) -> None:
        """Compare every row with a release's ranked lists.

        Args:
            references: the release's own rows.
            of_users: `SELECTED_BY` of each user.
        """
        self.found["references"] = plain(references)
        self.found["own"] = {"release": release, "of users": packed(of_users)}
        for row in self.found["rows"].values():
            row |= self._compared(row["of users"])

    def _compared(self, of_users: str) -> dict[str, Any]:
        own = unpacked(self.found["own"]["of users"])
        return {"to the recipe": plain(metrics.compare(unpacked(of_users), own)), "of users": of_users}

    def write(self, *, finished: bool = False) -> None:
        write_figure(self.path, self.found, (*OFFLINE, "research/baselines.py"), finished=finished)


def digest(*cuts: Holdout) -> str:
    """Digest of requests and targets: figures of other cuts are not compared."""
    found = hashlib.sha256()
    for cut in cuts:
        for column in (cut.times, cut.known.lengths, cut.relevance.indptr, cut.relevance.indices):
            found.update(np.ascontiguousarray(column, dtype=np.int64).tobytes())
    return found.hexdigest()[:16]


def packed(of_users: Floats) -> str:
    """Thousandths of values between 0 and 1, deflated, as text: to be compared later, without a fit; NaN stays."""
    whole = np.where(np.isnan(of_users), -1, np.round(np.nan_to_num(of_users) * 1000)).astype("<i2")
    return base64.b64encode(zlib.compress(whole.tobytes(), 9)).decode()


def unpacked(text: str) -> Floats:
    """Unpack what `packed` made, to three digits."""
    whole = np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype="<i2").astype(np.float64)
    return np.where(whole < 0, np.nan, whole / 1000)


# --- The baselines


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


def baseline_of(
    name: str,
    fit: Callable[[Sequences, Setting], Model],
    scores: Callable[[Holdout, Model, Setting], Float32 | Floats],
    of_model: Of,
    of_request: Of,
) -> Baseline:
    """A baseline that scores all items; ``of_model``: the settings that its model depends on."""
    last: list[tuple[Sequences, Setting, Model, float]] = []  # the model fitted last, for settings of requests alone

    def fitted(holdout: Holdout, setting: Setting) -> Fitted:
        wanted = {name: setting[name] for name in of_model}
        if not last or last[0][0] is not holdout.past or last[0][1] != wanted:
            begin = time.process_time()
            last[:] = [(holdout.past, wanted, fit(holdout.past, setting), time.process_time() - begin)]
        *_, model, seconds = last[0]
        return Fitted(best_unseen(scores(holdout, model, setting), holdout.past.seen(), SIZE), seconds)

    every = {**of_request, **of_model}  # in this order the model is fitted as seldom as possible
    first = {setting: values[0] for setting, values in every.items()}
    return Baseline(name, first, {setting: values[1:] for setting, values in every.items()}, fitted)


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


def classical() -> tuple[Baseline, ...]:
    """All of them, the quickest first."""
    return (
        baseline_of(
            POPULARITY,
            popular,
            lambda at, counts, _: np.broadcast_to(counts, (len(at.times), len(counts))),
            COUNTED,
            {},
        ),
        baseline_of(LATELY, popular, lately_popular, COUNTED, {"days": (30, 1, 3, 7, 14, 90, 365)}),
        baseline_of(
            KNN,
            lambda past, of: item_knn(_seen(past, of), of["neighbours"], of["shrink"]),
            _of_history,
            {"neighbours": (100, 50, 200, 1000), "shrink": (20.0, 5.0, 100.0, 500.0), "fitted_on": FITTED_ON},
            HISTORY,
        ),
        baseline_of(
            EASE,
            lambda past, of: ease((seen := _seen(past, of)).T @ seen, of["l2"]),
            _of_history,
            {"l2": (3000.0, 300.0, 1000.0, 10000.0, 30000.0), "fitted_on": FITTED_ON},
            HISTORY,
        ),
        baseline_of(
            MARKOV,
            followed,
            _of_history,
            {"window": (10, 3, 5, 20, 40), "decay": (0.0, 0.5, 1.0), "rarity": (0.0, 0.25, 0.5, 0.75)},
            SHORT,
        ),
        baseline_of(
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


# --- The command


RECALL, RANKED = "fused recall", "fused recall and ranker"


def contest(settings: Settings) -> Contest:
    """Both cuts, and the report with the recipe's own rows."""
    release, inputs = release_of_artifacts(settings), read_with_holdout(settings)
    measured_on = replay.hold_out(inputs.data, inputs.dataset.holdout)
    opening = {
        **head("make tune-baselines", settings, settings.recipe, measured_on),
        "chosen on": "the ten before the last ten",
    }
    found = Contest(figure(opening, settings, "baselines"), opening, before_the_last(inputs), measured_on)
    if found.found["own"].get("release") != release.release:
        found.refer_to(release.release, *recipes_own(settings, measured_on))
        found.write()
    return found


def before_the_last(inputs: Inputs) -> Holdout:
    """Requests that choices are made on, for the ratings before the last ones, which are gone from here on."""
    rule = inputs.dataset.holdout
    return replay.hold_out(inputs.data.before_last(holdout_sizes(rule, inputs.data.lengths, inputs.data.newest)), rule)


def recipes_own(settings: Settings, holdout: Holdout) -> tuple[dict[str, Any], Floats]:
    """The rows of the artifacts, and the NDCG of each user's ranked list."""
    answers = served.answers(settings, holdout)
    rows = {RECALL: measured(holdout, answers.fused), RANKED: measured(holdout, answers.ranked)}
    return rows, values(holdout, answers.ranked)


def main(settings: Settings, only: Sequence[str]) -> None:
    entered = contest(settings)
    for baseline in classical():
        if not only or baseline.name in only:
            entered.enter(baseline)
    rows = entered.found["rows"]
    entered.write(finished=all(row["searched"] for name, row in rows.items() if name not in ENDED))
    show(entered.found, Console())


def show(found: Mapping[str, Any], console: Console) -> None:
    """One line a baseline."""
    metrics = list(found["references"][RANKED])
    rows = [{"": name, **row} for name, row in found["references"].items()]
    for name, row in found["rows"].items():
        change = f"{row['to the recipe']['difference']:+.4f}"
        rows.append({"": name, **row, "to the recipe": change})
    keys = ("", *metrics, "to the recipe", "seconds", "settings tried", "searched")
    console.print(table(rows, keys, f"{found['users']:,} users of {found['dataset']}"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [baseline.name for baseline in classical()]
    parser.add_argument("--only", action="append", default=[], choices=names, help="may be repeated")
    only = parser.parse_args().only
    run(lambda settings: main(settings, only))
