"""Tower and ranker trained with the events of each second in random order: ``make evaluate-ties``, once.

A file has the events of a second in an order that means nothing, and yet a nearly fixed one: people rate a page of
films from top to bottom. Whatever models make of it is no merit. Here the recipe is fitted, and asked, with that order
shuffled; targets and all else are as they were.

Reads:  the artifacts of `make offline`, for the figures of the recipe as it is
Writes: pic/figures/evaluation_ties.json (of another recipe than the default: with its name)
Run:    python -m research.experiments.shuffled_ties
Expect: ten minutes on MovieLens-1M
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import numpy as np
from rich.console import Console

from data_exchange_center.recipes import Recipe
from data_exchange_center.release_parts import release_of_artifacts
from data_exchange_center.settings import Settings
from data_exchange_center.steps import run
from offline.data.sequences import Sequences
from offline.evaluation import metrics, replay, served
from offline.evaluation.evaluate import head, show, write
from offline.evaluation.report import per_user, plain, summary
from offline.models.stages import fit_stages, ranker_of_lists
from offline.readers import read_with_holdout
from research.experiments.fitted import EvalRequests, systems
from research.experiments.recipe_seeds import named_as_fitted

SEED = 0
COMPARED = "ndcg@50"


def shuffled(data: Sequences, rng: np.random.Generator) -> Sequences:
    """The events of each user and second in random order."""
    order = np.lexsort((rng.random(len(data.items)), data.times, data.users))
    columns = {name: getattr(data, name)[order] for name in ("items", "ratings", "liked", "times")}
    return replace(data, **columns)


def measure(settings: Settings, recipe: Recipe) -> dict[str, Any]:
    """Each list as it is and with ties shuffled: means, and the paired difference of the NDCG."""
    inputs = read_with_holdout(settings)
    holdout, rng = replay.hold_out(inputs.data, inputs.dataset.holdout), np.random.default_rng(SEED)
    past = shuffled(holdout.past, rng)
    other = replace(holdout, past=past, known=replay.as_of(past, holdout.times))
    before = named_as_fitted(served.answers(settings, holdout))
    after = systems(fit_stages(past, inputs, recipe), EvalRequests(other, inputs), recipe)
    table: dict[str, Any] = {}
    compared: dict[str, Any] = {}
    for name, lists in before.items():
        table |= {name: summary(holdout, lists), f"{name}, ties shuffled": summary(holdout, after[name])}
        one, two = (per_user(holdout.relevance, holdout.judged(each)) for each in (after[name], lists))
        if COMPARED in one:
            compared[name] = asdict(metrics.compare(one[COMPARED], two[COMPARED]))
    times, users = holdout.past.times, holdout.past.users
    tied = (times[1:] == times[:-1]) & (users[1:] == users[:-1])
    return {
        **head("make evaluate-ties", settings, recipe, holdout),
        "pairs of one second": float(tied.sum() / max((users[1:] == users[:-1]).sum(), 1)),
        "table": table,
        f"{COMPARED}, shuffled to as it is": compared,
    }


def main(settings: Settings) -> None:
    ranker_of_lists(settings.recipe), release_of_artifacts(settings)  # before minutes are spent
    found = plain(measure(settings, settings.recipe))
    write(found, settings, "evaluation_ties")
    show(found, Console())


if __name__ == "__main__":
    run(main)
