"""Evaluate the recipe with three seeds, to see how much of a figure is chance: ``make evaluate-seeds``.

The recipe's own is read from the artifacts, for the others everything is fitted here.

Reads:  the artifacts of `make offline`
Writes: pic/figures/evaluation_seeds.json (of another recipe than the default: with its name)
Run:    python -m research.seeds [--recipe 1: print the recipe with this seed, as a file for RECSYS_RECIPE]
Expect: a quarter of an hour on MovieLens-1M
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import numpy as np

from data_exchange_center.recipes import Frozen, Recipe
from data_exchange_center.release_parts import release_of_artifacts
from data_exchange_center.settings import Settings
from data_exchange_center.steps import run
from offline.data.lists import ListsConfig, ranker_of_lists, recall_lists
from offline.data.sequences import Inputs
from offline.evaluation import replay, served
from offline.evaluation.evaluate import summary
from offline.evaluation.metrics import Lists, plain
from offline.evaluation.replay import Holdout
from offline.readers import read_with_holdout
from research.evaluation.protocols import Stages, fit_stages, in_both_orders, points_of
from research.figures import recommendations
from research.reports import figure, head, publish

Part = TypeVar("Part", bound=Frozen)
SEEDS = (1, 2)  # besides the recipe's own
Summaries = Mapping[str, Mapping[str, float]]  # system -> metric -> mean over users


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
        runs.append(systems(fit_stages(holdout.past, inputs, seeded), seeded, inputs, holdout))
    return {
        **head("make evaluate-seeds", settings, recipe),
        "seeds": [ranker_of_lists(recipe).seed, *seeds],
        "systems": spread([{name: summary(holdout, lists) for name, lists in found.items()} for found in runs]),
    }


def systems(stages: Stages, recipe: Recipe, inputs: Inputs, holdout: Holdout) -> dict[str, Lists]:
    """Name -> (users, candidates): every channel, the fused lists, the same in the ranker's order."""
    alone, points, found = replace(ListsConfig.of(recipe), weights=(1.0,)), points_of(holdout), {}
    for channel in stages.channels:
        lists = found[f"channel {channel.name}"] = np.zeros((holdout.past.n_users, alone.size), dtype=np.int64)
        lists[points.users] = recall_lists(holdout.past, points, inputs.profiles, [channel], alone).candidates
    recalled, served = in_both_orders(stages, recipe, inputs, holdout)
    return {**found, "recall": recalled, "ranked": served}


def spread(runs: Sequence[Summaries]) -> dict[str, Any]:
    """Summaries, one a seed -> system -> metric -> by_seed, mean, standard deviation of the sample."""

    def of(values: list[float]) -> dict[str, Any]:
        return {"by_seed": values, "mean": float(np.mean(values)), "std": float(np.std(values, ddof=1))}

    return {name: {metric: of([run[name][metric] for run in runs]) for metric in row} for name, row in runs[0].items()}


def main(settings: Settings, *, seed: int | None = None) -> None:
    if seed is not None:
        print(with_seed(settings.recipe, seed).model_dump_json(indent=2))  # noqa: T201
        return
    release_of_artifacts(settings)  # raises unless they are of one run
    ranker_of_lists(settings.recipe)  # raises before minutes are spent
    found = plain(by_seed(settings))
    path = figure(found, settings, "evaluation_seeds")
    publish(path, found, recommendations.seeds)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", type=int, metavar="SEED")
    run(partial(main, seed=parser.parse_args().recipe))
