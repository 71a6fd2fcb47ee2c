"""Tune rivals of the recipe, and their best fusion, as the recipe is measured: ``make evaluate-rivals``.

Every rival has the recipe's past, users, candidates and clock. Settings are chosen by NDCG@50 on the ten ratings before
the last ten, one after the other, fitted on what precedes those; then the chosen ones are fitted on all but the last
ten, and measured there. The fusion is by reciprocal ranks, its parts and weights are chosen as settings are. The Markov
chain and eSASRec (of RecTools) are channels of today's recipes; `worker.py` has EASE, and implicit's item-kNN and iALS.

Lists of each training are kept in offline/rivals/ in the exchange folder, so an interrupted run resumes.

Reads:  the artifacts of `make offline`
Writes: pic/figures/rivals.json (of another recipe or data set: with its name)
Run:    python -m research.rivals.contest [--only <rival> ...]
Expect: two hours on MovieLens-1M, nearly all of it for eSASRec
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from data_exchange_center.dataset import HoldoutRule
from data_exchange_center.files import write_json, written_in_place
from data_exchange_center.fusion import RRF_K
from data_exchange_center.recipes import ChannelRecipe
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError, run
from extras import comparison, replay
from extras.next_item.followers import FollowersRecipe
from extras.replay import Holdout, Lists
from extras.sequence.channel import SequenceRecipe
from offline.data.lists import recall_lists
from offline.data.sequences import Inputs
from offline.readers import read_with_holdout
from offline.recall.s2_vector_recall import fit_channel
from research import figures
from research.evaluation.baselines import best_unseen
from research.evaluation.metrics import per_user
from research.evaluation.one_table import summary
from research.evaluation.protocols import points_of
from research.figures import plain

log = logging.getLogger(__name__)

SIZE: Final = 256  # of a list
CHOSEN_BY: Final = "ndcg@50"
WEIGHTS: Final = (
    0.25,
    0.5,
    1.0,
    2.0,
)  # of a list that joins the fusion; the first has 1
FUSION: Final = "the best fusion of them"
Setting = Mapping[str, Any]
WORKER: Final = Path(__file__).with_name("worker.py")


# --- The rivals: settings that are tried, and how one is fitted


@dataclass(frozen=True, eq=False)
class Fitted:
    """A rival's answers.

    Attributes:
        lists: (users, `SIZE`) codes, best first, nothing that the request knows; 0 pads.
        seconds: processor time of the training.
    """

    lists: Lists
    seconds: float


@dataclass(frozen=True, eq=False)
class Rival:
    """What is tried, and how.

    Attributes:
        values: of each setting; the search begins with the first of each.
        fit: trains on the past of a holdout, and answers its requests; folder of its files first.
    """

    values: Mapping[str, Sequence[Any]]
    fit: Callable[[Path, Inputs, Holdout, Setting], Fitted]


def popularity(_: Path, inputs: Inputs, holdout: Holdout, setting: Setting) -> Fitted:
    """The most liked items; ``days``: of the last so many."""
    past = holdout.past
    since = past.times.max() - setting["days"] * 86_400
    recent = past.liked & (past.times > since)
    likes = np.bincount(past.items[recent], minlength=past.n_items + 1).astype(
        np.float32
    )
    everybodys = np.broadcast_to(likes, (past.n_users, len(likes)))
    return Fitted(best_unseen(everybodys, past.left_out(), SIZE), 0.0)


def channel(
    kind: type[ChannelRecipe],
    _: Path,
    inputs: Inputs,
    holdout: Holdout,
    setting: Setting,
) -> Fitted:
    """A recall channel alone; ``setting``: of its recipe."""
    begin = time.process_time()
    usual = Settings().recipe
    own = {"channels": (kind(**setting),), "candidates": SIZE}
    recall = usual.recall.model_copy(update=own)
    recipe = usual.model_copy(update={"recall": recall})
    past = holdout.past
    found = fit_channel(
        recall.channels[0], past, replace(inputs, data=past), recipe.data
    )
    # of a process of its own
    seconds = time.process_time() - begin + found.report.get("seconds", 0)
    points = points_of(holdout)
    lists = np.zeros((past.n_users, SIZE), np.int64)
    lists[points.users] = recall_lists(
        past, points, inputs.profiles, [found.channel], recipe
    ).candidates
    return Fitted(lists, seconds)


def other_library(
    model: str, folder: Path, inputs: Inputs, holdout: Holdout, setting: Setting
) -> Fitted:
    """A model of `worker.py`, trained in its environment. Raises StepError where that fails.

    Args:
        setting: of the model; ``disliked``: weight of an event that was not liked; ``power``: in the request an event
            that is ``lag`` events older than the newest has its weight times (lag + 1) ** -power.
    """
    past, known = holdout.past, holdout.known.lengths
    seen = np.flatnonzero(past.positions < known[past.users])
    users = past.users[seen]
    lag = known[users] - 1 - past.positions[seen]
    weights = np.where(past.liked[seen], 1.0, setting["disliked"])
    events: dict[str, Any] = {
        "users": users,
        "items": past.items[seen],
        "weights": weights,
        "request": weights * (lag + 1.0) ** -setting["power"],
        "shape": (past.n_users, past.n_items + 1),
    }
    save(folder / "events.npz", **events)
    of_model = {
        name: given
        for name, given in setting.items()
        if name not in ("disliked", "power")
    }
    write_json(folder / "job.json", {"model": model, "setting": of_model, "size": SIZE})
    requirements = WORKER.with_name("requirements.txt")
    uv = Path(sys.executable).with_name("uv")
    environment = [
        "--no-project",
        "--with-requirements",
        str(requirements),
        "--python",
        sys.executable,
    ]
    command = [str(uv), "run", *environment, "python", str(WORKER), str(folder)]
    if code := subprocess.run(command, check=False).returncode:
        raise StepError(
            f"{model}: {WORKER.name} ended with {code} in {folder}; its output is above."
        )
    return read_fitted(folder / "lists.npz")


def save(path: Path, **arrays: Any) -> None:
    with written_in_place(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)


def read_fitted(path: Path) -> Fitted:
    with np.load(path) as found:
        return Fitted(found["lists"], float(found["seconds"]))


RIVALS: Final[Mapping[str, Rival]] = {
    "popularity": Rival({"days": (20_000, 30, 90)}, popularity),
    "EASE": Rival(
        {
            "power": (0.75, 0.5, 1.0, 1.5),
            "disliked": (0.5, 0.25, 1.0),
            "l2": (1000.0, 300.0, 3000.0),
        },
        partial(other_library, "EASE"),
    ),
    "Markov chain": Rival(
        {
            "lags": (20, 5, 10, 40),
            "power": (0.5, 0.25, 1.0),
            "prior": (20.0, 5.0, 100.0, 500.0),
            "others": (0.3, 1.0),
        },
        partial(channel, FollowersRecipe),
    ),
    "item-kNN": Rival(
        {
            "power": (0.75, 0.5, 1.0, 1.5),
            "disliked": (0.5, 0.25, 1.0),
            "K": (300, 100, 1000),
            "K1": (1.2, 0.5, 100.0),
            "B": (0.75, 0.2, 1.0),
        },
        partial(other_library, "item-kNN"),
    ),
    "iALS": Rival(
        {
            "power": (0.75, 0.5, 1.0, 1.5),
            "disliked": (0.5, 0.25, 1.0),
            "regularization": (10.0, 1.0, 30.0, 100.0),
            "alpha": (1.0, 0.3, 5.0, 20.0),
            "factors": (64, 128, 256),
            "iterations": (15,),
        },
        partial(other_library, "iALS"),
    ),
    "eSASRec": Rival(
        {"history": (50,), "epochs": (6, 15)}, partial(channel, SequenceRecipe)
    ),
}


# --- Their fusion


def fused(
    lists: Mapping[str, Lists], weights: Mapping[str, float], n_items: int
) -> Lists:
    """Weighted reciprocal ranks (Cormack, Clarke & Buettcher 2009): (users, `SIZE`) codes, 0 pads."""
    users = np.arange(len(next(iter(lists.values()))))[:, None]
    scores = np.zeros((len(users), n_items + 1), np.float32)
    for name, weight in weights.items():
        codes = lists[name]  # (users, size)
        earned = weight / (RRF_K + 1 + np.arange(codes.shape[1]))
        np.add.at(
            scores,
            (users, codes),
            np.broadcast_to(earned.astype(np.float32), codes.shape),
        )
    scores[:, 0] = 0
    order = np.argsort(-scores, axis=1, kind="stable")[:, :SIZE]
    found: Lists = np.where(np.take_along_axis(scores, order, axis=1) > 0, order, 0)
    return found


def best_fusion(
    lists: Mapping[str, Lists], value: Callable[[Lists], float], n_items: int
) -> dict[str, float]:
    """Weights: the best single list; then, as long as that helps, the list and weight that help most."""
    reached = {name: value(each) for name, each in lists.items()}
    first = max(reached, key=lambda name: reached[name])
    chosen, best = {first: 1.0}, reached[first]
    while True:
        joined = [
            {**chosen, name: weight}
            for name in lists
            if name not in chosen
            for weight in WEIGHTS
        ]
        values = [value(fused(lists, weights, n_items)) for weights in joined]
        if max(values, default=best) <= best:
            return chosen
        best = max(values)
        chosen = joined[values.index(best)]


# --- What is measured


class Contest:
    """Rivals fitted on two cuts of the same ratings; each training's lists are kept below ``folder``."""

    def __init__(self, folder: Path, inputs: Inputs, rule: HoldoutRule) -> None:
        self.folder, self.inputs = folder, inputs
        self.test = replay.hold_out(inputs.data, rule)
        self.validation = replay.hold_out(self.test.past, rule)

    def fit(self, name: str, holdout: Holdout, setting: Setting) -> Fitted:
        """Train, or read what an earlier run has kept of the same training."""
        digest = hashlib.sha256(json.dumps(dict(setting), sort_keys=True).encode())
        for column in (holdout.past.items, holdout.past.times, holdout.times):
            digest.update(np.ascontiguousarray(column).tobytes())
        folder = self.folder / f"{name.replace(' ', '-')}-{digest.hexdigest()[:16]}"
        folder.mkdir(parents=True, exist_ok=True)
        kept = folder / "fitted.npz"
        if not kept.is_file():
            log.info("%s: %s", name, dict(setting))
            fitted = RIVALS[name].fit(folder, self.inputs, holdout, setting)
            save(kept, lists=fitted.lists, seconds=fitted.seconds)
        return read_fitted(kept)

    def chosen(self, name: str, tried: list[dict[str, Any]]) -> Setting:
        """The setting with the highest `CHOSEN_BY` on validation: each takes its other values, as long as that helps.

        ``tried``: earlier results; new ones are added.
        """

        def reached(setting: Setting) -> float:
            for each in tried:
                if each["setting"] == setting:
                    return float(each[CHOSEN_BY])
            found = value(
                self.validation, self.fit(name, self.validation, setting).lists
            )
            tried.append({"setting": setting, CHOSEN_BY: found})
            return found

        best: dict[str, Any] = {
            each: values[0] for each, values in RIVALS[name].values.items()
        }
        before: dict[str, Any] = {}
        while best != before:
            before = best
            for each, values in RIVALS[name].values.items():
                best = max(({**best, each: other} for other in values), key=reached)
        return best


def value(holdout: Holdout, lists: Lists) -> float:
    """Mean of `CHOSEN_BY`, the lists being judged."""
    return float(
        np.nanmean(per_user(holdout.relevance, holdout.judged(lists))[CHOSEN_BY])
    )


def contest(
    settings: Settings,
    rule: HoldoutRule,
    only: Sequence[str],
    path: Path,
    keep: Callable[[dict[str, Any]], None],
) -> dict[str, Any]:
    """The report. ``path``: of an interrupted run, ``keep``: writes it as far as it is measured.

    ``only``: the rivals that are added to those that the interrupted run has measured, if any; all where none is named.
    """
    inputs = read_with_holdout(settings)
    n_items = inputs.data.n_items
    study = Contest(settings.offline_dir / "rivals", inputs, rule)
    validation, test = study.validation, study.test
    opening = figures.head("make evaluate-rivals", settings, settings.recipe, test)
    found = figures.resumed(path, opening, {"tried": {}, "rows": {}})
    rows = found["rows"]
    ours = test.judged(replay.answers(settings, test).ranked)
    of_ours = per_user(test.relevance, ours)[CHOSEN_BY]

    def add(name: str, setting: Setting, made: Lists, seconds: float) -> None:
        judged = test.judged(made)
        to_ours = comparison.compare(
            per_user(test.relevance, judged)[CHOSEN_BY], of_ours
        )
        metrics = plain({**summary(test, judged), "to the recipe": to_ours})
        rows[name] = {"setting": dict(setting), "seconds": round(seconds, 1), **metrics}
        keep(found)

    before: dict[str, Lists] = {}  # on validation
    after: dict[str, Lists] = {}  # on test
    for name in RIVALS:
        if only and name not in only and name not in rows:
            continue
        setting = study.chosen(name, found["tried"].setdefault(name, []))
        before[name] = study.fit(name, validation, setting).lists
        fitted = study.fit(name, test, setting)
        after[name] = fitted.lists
        add(name, setting, fitted.lists, fitted.seconds)
    rows.pop(FUSION, None)  # of an earlier run: it comes last
    weights = best_fusion(before, partial(value, validation), n_items)
    seconds = sum(rows[name]["seconds"] for name in weights)
    add(FUSION, weights, fused(after, weights, n_items), seconds)
    found["recipe's"] = plain(summary(test, ours))
    return found


def main(settings: Settings, *, only: Sequence[str] = ()) -> None:
    rule = read_with_holdout(settings).dataset.holdout
    opening = figures.head("", settings, settings.recipe)
    path = figures.path_of(opening, settings, "rivals", part=bool(only))
    found = contest(
        settings, rule, only, path, partial(figures.write, path, finished=False)
    )
    figures.write(path, found, finished=set(RIVALS) <= set(found["rows"]))
    figures.show(found["rows"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=list(RIVALS), default=[])
    run(partial(main, only=parser.parse_args().only))
