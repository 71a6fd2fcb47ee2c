"""The comparison: each baseline's search for a setting, its row on the last ten, and the best fusion."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from data_exchange_center.figures import machine
from data_exchange_center.files import write_json
from data_exchange_center.fusion import RRF_K
from offline.evaluation import metrics
from offline.evaluation.metrics import Floats, Lists
from offline.evaluation.replay import Holdout
from offline.evaluation.report import per_user, plain, summary
from offline.evaluation.served import top
from offline.models.ease import Float32
from research.experiments.fitted import packed, resumed, unpacked

log = logging.getLogger(__name__)


FUSION: Final = "the best fusion of them"


@dataclass(frozen=True, eq=False)
class Contest:
    """Holdouts for choices and for measurements, and the report so far."""

    chosen_on: Holdout
    measured_on: Holdout
    report: Report

    def enter(self, rival: Rival) -> None:
        """The row of the best so far, the search for a setting, and the row of the best."""
        tried = self.report.tried(rival.name)
        self._measure(rival)
        for entry in searched(rival, tried, partial(self._try, rival)):
            self.report.add_tried(rival.name, entry)
            self._told(rival)
        self._measure(rival)

    def _try(self, rival: Rival, setting: Setting) -> Measured:
        found = rival.fit(self.chosen_on, setting)
        return {**measured(self.chosen_on, found.lists), "seconds": round(found.seconds, 1)}

    def _measure(self, rival: Rival) -> None:
        """The row of the best setting so far, unless it is there."""
        setting, row = best(self.report.tried(rival.name), rival), self.report.row(rival.name)
        if row is None or row["setting"] != setting:
            self._set_row(rival.name, setting, rival.fit(self.measured_on, setting))
        self._told(rival)

    def _told(self, rival: Rival) -> None:
        tried = self.report.tried(rival.name)
        self.report.found["rows"][rival.name] |= {"settings tried": len(tried), "searched": over(rival, tried)}
        self.report.write()

    def _set_row(self, name: str, setting: Setting, found: Fitted) -> None:
        row = {"setting": dict(setting), "seconds": round(found.seconds, 1), **measured(self.measured_on, found.lists)}
        self.report.set_row(name, row, values(self.measured_on, found.lists))

    def fuse(self, rivals: Sequence[Rival]) -> None:
        """Add the row of the best fusion of the baselines as they are chosen, unless it is there."""
        members = {rival.name: dict(best(self.report.tried(rival.name), rival)) for rival in rivals}
        row, whole = self.report.row(FUSION), all(self.report.found["rows"][rival.name]["searched"] for rival in rivals)
        if row is not None and row["setting"]["of"] == members and row["searched"] == whole:
            return
        before = self._lists(rivals, members, self.chosen_on)
        n_items = self.chosen_on.past.n_items
        weights, tried = greedy(before, lambda lists: float(np.nanmean(values(self.chosen_on, lists))), n_items)
        taken = [rival for rival in rivals if rival.name in weights]
        now = self._lists(taken, members, self.measured_on)
        seconds = sum(self.report.found["rows"][rival.name]["seconds"] for rival in taken)
        found = Fitted(fused(now, weights, n_items), seconds)
        self._set_row(FUSION, {"weights": weights, "of": members}, found)
        self.report.found["rows"][FUSION] |= {"settings tried": len(tried), "searched": whole}
        self.report.write()

    @staticmethod
    def _lists(rivals: Sequence[Rival], settings: dict[str, Any], holdout: Holdout) -> dict[str, Lists]:
        return {rival.name: rival.fit(holdout, settings[rival.name]).lists for rival in rivals}


SIZE: Final = 256  # of a list: as many as the recipe's channels give, more than are measured
Setting = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Fitted:
    """Lists of a fitted baseline.

    Attributes:
        lists: (users, `SIZE`) codes, best first, nothing that the request knows; 0 pads.
        seconds: of training, without inference.
    """

    lists: Lists
    seconds: float


@dataclass(frozen=True, eq=False)
class Rival:
    """A recommender with settings.

    Attributes:
        first: the setting that is tried first.
        others: setting -> other values, in the order that they are tried.
        fit: trains on the past of a holdout, with one setting, and answers all its requests.
        rounds: of the search, at most: how often each setting is looked at again.
    """

    name: str
    first: Setting
    others: Mapping[str, Sequence[Any]]
    fit: Callable[[Holdout, Setting], Fitted]
    rounds: int = 3


# --- The search for a setting: one value at a time is changed, for as long as that helps


SELECTED_BY = "ndcg@50"
Measured = dict[str, Any]  # metric -> mean over users, of the ten before the last ten


def best(tried: list[Measured], rival: Rival) -> Setting:
    """The setting with the highest `SELECTED_BY`, the earliest of equals; the first one where nothing was tried."""
    if not tried:
        return rival.first
    found: Setting = max(tried, key=lambda each: each[SELECTED_BY])["setting"]
    return found


def searched(rival: Rival, tried: list[Measured], measure: Callable[[Setting], Measured]) -> Iterator[Measured]:
    """Try what is not in ``tried`` yet, giving each as soon as it is measured.

    Coordinate search, deterministic: each setting in turn takes each of its values, the others being the best so far;
    again, until a whole round changes nothing. Given ``tried`` with its earlier results, it resumes where it ended.
    """
    known = {_setting_key(each["setting"]): each for each in tried}

    def value(setting: Setting) -> Iterator[Measured]:
        if _setting_key(setting) not in known:
            known[_setting_key(setting)] = {"setting": dict(setting), **measure(setting)}
            yield known[_setting_key(setting)]

    yield from value(rival.first)
    current = rival.first
    for _ in range(rival.rounds):
        before = current
        for name, values in rival.others.items():
            choices = [{**current, name: each} for each in (current[name], rival.first[name], *values)]
            for setting in choices:
                yield from value(setting)
            current = max(choices, key=lambda setting: known[_setting_key(setting)][SELECTED_BY])
        if current == before:
            return


def _setting_key(setting: Setting) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted(setting.items()))


def over(rival: Rival, tried: list[Measured]) -> bool:
    """Whether the search has nothing left to try."""
    return next(searched(rival, tried, lambda _: {SELECTED_BY: 0.0}), None) is None


# --- The report


def values(holdout: Holdout, lists: Lists) -> Floats:
    """(users,) of `SELECTED_BY`, the lists being judged."""
    return per_user(holdout.relevance, holdout.judged(lists))[SELECTED_BY]


def measured(holdout: Holdout, lists: Lists) -> dict[str, Any]:
    """The headline means."""
    return plain(summary(holdout, lists))


class Report:
    """One file: the tried settings of each baseline, and its row on the last ten."""

    def __init__(self, path: Path, head: Mapping[str, Any]) -> None:
        """``head``: with the `digest` of the cuts as ``cuts``."""
        self.path = path
        self.found = resumed(path, head, ("rows", "tried", "references", "own"))

    def tried(self, rival: str) -> list[Measured]:
        found: list[Measured] = self.found["tried"].setdefault(rival, [])
        return found

    def add_tried(self, rival: str, entry: Measured) -> None:
        self.tried(rival).append(plain(entry))
        log.info("%s: %s %.4f, %s", rival, SELECTED_BY, entry[SELECTED_BY], entry["setting"])

    def row(self, rival: str) -> dict[str, Any] | None:
        found: dict[str, Any] | None = self.found["rows"].get(rival)
        return found

    def set_row(self, rival: str, row: Mapping[str, Any], of_users: Floats) -> None:
        """``of_users``: `SELECTED_BY` of each user."""
        compared = self._compared(packed(of_users))
        self.found["rows"][rival] = {**plain(row), "machine": machine()["cpu"], **compared}

    @property
    def release(self) -> str | None:
        """Release that the rows are compared with; None before `refer_to`."""
        release: str | None = self.found["own"].get("release")
        return release

    def refer_to(self, release: str, references: Mapping[str, Mapping[str, Any]], of_users: Floats) -> None:
        """Compare every row with a release's ranked lists; ``references``: its own rows."""
        self.found["references"] = plain(references)
        self.found["own"] = {"release": release, "of users": packed(of_users)}
        for row in self.found["rows"].values():
            row |= self._compared(row["of users"])

    def _compared(self, of_users: str) -> dict[str, Any]:
        own = unpacked(self.found["own"]["of users"])
        return {"to the recipe": plain(asdict(metrics.compare(unpacked(of_users), own))), "of users": of_users}

    def write(self) -> None:
        write_json(self.path, self.found)


# --- The best fusion by reciprocal ranks (Cormack, Clarke & Buettcher 2009)


WEIGHTS: Final = (0.25, 0.5, 1.0, 2.0)  # of a list that joins; the first list has 1
Weights = dict[str, float]  # baseline -> weight


def reciprocal_ranks(lists: Lists, n_items: int) -> Float32:
    """(users, k) codes -> (users, items + 1) float32: 1 / (60 + rank) of what is on a list."""
    out = np.zeros((len(lists), n_items + 1), dtype=np.float32)
    np.put_along_axis(out, lists, (1 / (RRF_K + np.arange(1, lists.shape[1] + 1)))[None, :], axis=1)
    out[:, 0] = 0
    return out


def fused(lists: Mapping[str, Lists], weights: Weights, n_items: int, size: int = SIZE) -> Lists:
    """(users, size) best first, ties in favour of the smaller code; 0 pads."""
    scores = np.asarray(sum(weight * reciprocal_ranks(lists[name], n_items) for name, weight in weights.items()))
    return top(np.where(scores > 0, scores, -np.inf).astype(np.float32), size)


def greedy(
    lists: Mapping[str, Lists], value: Callable[[Lists], float], n_items: int
) -> tuple[Weights, list[tuple[Weights, float]]]:
    """The best single list; then, as long as it helps, the list and weight that help most. Also all that was tried.

    Args:
        value: of a list, the higher the better, on the ratings that choices are made on.
    """
    tried = [({name: 1.0}, value(each)) for name, each in lists.items()]
    chosen, best = max(tried, key=lambda each: each[1])
    while others := [name for name in lists if name not in chosen]:
        joined = [{**chosen, name: weight} for name in others for weight in WEIGHTS]
        found = [(weights, value(fused(lists, weights, n_items))) for weights in joined]
        tried += found
        weights, reached = max(found, key=lambda each: each[1])
        if reached <= best:
            break
        chosen, best = weights, reached
    return chosen, tried
