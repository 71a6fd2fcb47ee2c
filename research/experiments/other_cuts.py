"""The recipe with other seeds, at one moment for all users, at other times, and on everybody's last rating.

Run:  make evaluate-seeds   three seeds on the last ten: how much of a figure is chance. The recipe's own is read from
                            the artifacts, for the others everything is fitted here (a quarter of an hour)
      make evaluate-global  the split per user lets a model learn from what other users did later. Here everything is
                            fitted on ratings before one time T; targets are the first ten ratings from T on of each
                            user who had rated something before (ten minutes)
      make evaluate-clock   the same targets in the sitting (as of the second of the first held-out rating, when most
                            users are in the middle of rating films), an hour later and now (some minutes)
      make evaluate-last    the last rating, liked or not, as papers measure it. Nothing is fitted: the models do not
                            know the nine ratings before it, only the histories hold them. Once the request names its
                            time, and sees what happened strictly before that second. Once the time is withheld, as it
                            is from most published models: the history is all that precedes the last rating in the
                            file, and the request comes a second after the newest of it (two minutes)

Reads:  the artifacts of `make offline`
Writes: pic/figures/evaluation_{seeds,global,clock,last}.json (of another recipe than the default: with its name)
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import scipy.sparse as sp
from rich.console import Console

from data_exchange_center.channels import BREAK_S
from data_exchange_center.dataset import HoldoutRule
from data_exchange_center.frozen import Frozen
from data_exchange_center.release_parts import release_of_artifacts
from data_exchange_center.settings import Settings
from data_exchange_center.steps import run
from offline.data.lists import ranker_of_lists
from offline.data.sequences import Sequences
from offline.evaluation import metrics, replay, served
from offline.evaluation.evaluate import head, show, write
from offline.evaluation.metrics import Lists
from offline.evaluation.protocols import EvalRequests, fit_stages, holdout_at, moment
from offline.evaluation.replay import SHOWN, Holdout
from offline.evaluation.report import per_user, plain, summary
from offline.evaluation.served import baselines
from offline.readers import read_with_holdout
from research.experiments.fitted import CODE, systems

Part = TypeVar("Part", bound=Frozen)
SEEDS = (1, 2)  # besides the recipe's own
LAST = HoldoutRule(last=1)
CUTS = (10, 50, 200)
Summaries = Mapping[str, Mapping[str, float]]  # system -> metric -> mean over users


# --- Seeds


def with_seed(part: Part, seed: int) -> Part:
    """A recipe, or a part of one, with another seed wherever one is drawn from."""

    def of(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(of, value))
        return with_seed(value, seed) if isinstance(value, Frozen) else value

    fields = {name: getattr(part, name) for name in type(part).model_fields}
    return part.model_copy(update={name: seed if name == "seed" else of(value) for name, value in fields.items()})


def by_seed(settings: Settings, seeds: Sequence[int] = SEEDS) -> dict[str, Any]:
    """System -> metric -> the value of every seed, the recipe's own first, their mean and their spread."""
    inputs, recipe = read_with_holdout(settings), settings.recipe
    holdout = replay.hold_out(inputs.data, inputs.dataset.holdout)
    answers = served.answers(settings, holdout)
    alone = {f"channel {name}": lists for name, lists in answers.channels.items()}
    runs = [{**alone, "recall": answers.fused, "ranked": answers.ranked}]
    for seed in seeds:
        seeded = with_seed(recipe, seed)
        runs.append(systems(fit_stages(holdout.past, inputs, seeded), EvalRequests(holdout, inputs), seeded))
    return {
        **head("make evaluate-seeds", settings, recipe),
        "seeds": [ranker_of_lists(recipe).seed, *seeds],
        "systems": spread([{name: summary(holdout, lists) for name, lists in found.items()} for found in runs]),
    }


def spread(runs: Sequence[Summaries]) -> dict[str, Any]:
    """Summaries, one a seed -> system -> metric -> by_seed, mean, standard deviation of the sample."""

    def of(values: list[float]) -> dict[str, Any]:
        return {"by_seed": values, "mean": float(np.mean(values)), "std": float(np.std(values, ddof=1))}

    return {name: {metric: of([run[name][metric] for run in runs]) for metric in row} for name, row in runs[0].items()}


# --- One moment for all


def at_one_moment(settings: Settings) -> dict[str, Any]:
    """Both splits' table, and the gap between them."""
    inputs, recipe = read_with_holdout(settings), settings.recipe
    data, rule = inputs.data, inputs.dataset.holdout
    per_user = replay.hold_out(data, rule)
    answers = served.answers(settings, per_user)
    one = {**baselines(per_user, SHOWN), "recall": answers.fused, "ranked": answers.ranked}
    time = moment(data)
    holdout = holdout_at(data, time, rule.longest)
    stages = fit_stages(holdout.past, inputs, recipe)
    fitted = systems(stages, EvalRequests(holdout, inputs), recipe)
    asked = {when: (at, systems(stages, EvalRequests(at, inputs), recipe)) for when, at in later(holdout).items()}
    split, other = (
        {name: summary(cut, lists) for name, lists in found.items()}
        for cut, found in ((per_user, one), (holdout, {**baselines(holdout, SHOWN), **fitted}))
    )
    return {
        **head("make evaluate-global", settings, recipe, holdout),
        "time": time,
        "ratings before": len(holdout.past.items),
        "returning users": int((holdout.slices["returning"] & (np.diff(holdout.relevance.indptr) > 0)).sum()),
        "clock": {EVERYBODY: clock_table({SITTING: (holdout, fitted), **asked})[EVERYBODY]},
        "table": other,
        "per user": split,
        "gap": {
            name: {metric: other[name][metric] - value for metric, value in row.items()} for name, row in split.items()
        },
    }


# --- The same targets at other times


SITTING, HOUR_LATER, NOW = "in the sitting", "an hour later", "now"
EVERYBODY = "all"
ROWS = ("first of its second", "returning")  # slices of the holdout
MEASURES = ("recall@200", "recall@50", "ndcg@50")


def later(holdout: Holdout) -> dict[str, Holdout]:
    """The holdout with requests an hour later, and now."""
    now = np.full_like(holdout.times, int(time.time()))
    return {HOUR_LATER: holdout.asked_at(holdout.times + BREAK_S), NOW: holdout.asked_at(now)}


def clock_table(holdouts: Mapping[str, tuple[Holdout, Mapping[str, Lists]]]) -> dict[str, Any]:
    """Everybody or a slice -> system -> when -> how many users, and means.

    Args:
        holdouts: when -> the holdout with requests then, and each system's lists.
    """
    found: dict[str, Any] = {row: {} for row in (EVERYBODY, *ROWS)}
    for when, (holdout, lists_of) in holdouts.items():
        inside = {EVERYBODY: np.ones(holdout.past.n_users, dtype=bool)} | {row: holdout.slices[row] for row in ROWS}
        for name, lists in lists_of.items():
            values = per_user(holdout.relevance, holdout.judged(lists))
            for row, users in inside.items():
                kept = {m: np.where(users, values[m], np.nan) for m in MEASURES if m in values}
                means = {metric: metrics.mean(value, resamples=1) for metric, value in kept.items()}
                counted = {"users": max((mean.users for mean in means.values()), default=0)}
                found[row].setdefault(name, {})[when] = counted | {m: mean.mean for m, mean in means.items()}
    return found


def at_other_times(settings: Settings) -> dict[str, Any]:
    """Recall's order and the ranker's, in the sitting, an hour later and now."""
    inputs = read_with_holdout(settings)
    holdout = replay.hold_out(inputs.data, inputs.dataset.holdout)
    found = {}
    for when, at in {SITTING: holdout, **later(holdout)}.items():
        answers = served.answers(settings, at)
        found[when] = at, {"recall": answers.fused, "ranked": answers.ranked}
    return {**head("make evaluate-clock", settings, settings.recipe, holdout), "clock": clock_table(found)}


# --- The last rating


def last_ratings(data: Sequences) -> Holdout:
    """Each user's last rating is the target, liked or not."""
    holdout = replay.hold_out(data, LAST)
    return replace(holdout, relevance=sp.csr_matrix(holdout.relevance + holdout.disliked))


def without_time(holdout: Holdout) -> Holdout:
    """The same, with requests a second after the newest rating of the past."""
    past, newest = holdout.past, np.zeros(holdout.past.n_users, dtype=np.int64)
    there = past.lengths > 0
    newest[there] = past.times[past.starts[1:][there] - 1]
    return holdout.asked_at(newest + 1)


def hit_rates(holdout: Holdout, lists: Lists) -> dict[str, float]:
    """Hit rates and NDCG over all users with a target; one item is relevant, so recall is the hit rate."""
    judged, wanted = holdout.judged(lists), holdout.relevance
    found = {f"hr@{k}": metrics.hit_rate(judged, wanted, k) for k in CUTS}
    found["ndcg@10"] = metrics.ndcg(judged, wanted, 10)
    return {name: float(np.nanmean(values)) for name, values in found.items()}


def of_the_last(settings: Settings) -> dict[str, Any]:
    """Recall's order and the ranker's, with the time of the request and without it."""
    named = last_ratings(read_with_holdout(settings).data)
    table = {}
    for how, holdout in (("with", named), ("without", without_time(named))):
        answers = served.answers(settings, holdout, served.known_states(settings.exchange_dir, holdout))
        table[f"recall, {how} the time"] = hit_rates(holdout, answers.fused)
        table[f"ranked, {how} the time"] = hit_rates(holdout, answers.ranked)
    return {
        **head("make evaluate-last", settings, settings.recipe, named),
        "first of its second": int(named.slices["first of its second"].sum()),
        "table": table,
    }


def main(settings: Settings, what: str) -> None:
    release_of_artifacts(settings)  # that they are of one run
    if what in ("seeds", "global"):
        ranker_of_lists(settings.recipe)  # before minutes are spent
    found = plain(
        {"seeds": by_seed, "global": at_one_moment, "clock": at_other_times, "last": of_the_last}[what](settings)
    )
    write(found, settings, f"evaluation_{what}", CODE)
    if what == "seeds":
        rows = found["systems"].items()
        means = {name: {metric: value["mean"] for metric, value in row.items()} for name, row in rows}
        found |= {"users": len(found["seeds"]), "table": means}
    if what == "clock":
        everybody = found["clock"][EVERYBODY]
        found["table"] = {f"{name}, {when}": row for name, rows in everybody.items() for when, row in rows.items()}
    show(found, Console())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("seeds", "global", "clock", "last"))
    given = parser.parse_args()
    run(lambda settings: main(settings, given.what))
