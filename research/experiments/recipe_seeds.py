"""The recipe with three seeds on the last ten: how much of a figure is chance. ``make evaluate-seeds``, once.

The recipe's own seed is read from the artifacts; for the others everything is fitted here.

Reads:  the artifacts of `make offline`
Writes: pic/figures/evaluation_seeds.json (of another recipe than the default: with its name)
Run:    python -m research.experiments.recipe_seeds
Expect: a quarter of an hour on MovieLens-1M
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from rich.console import Console
from rich.table import Table

from data_exchange_center.frozen import Frozen
from data_exchange_center.recipes import Recipe
from data_exchange_center.release_parts import release_of_artifacts
from data_exchange_center.settings import Settings
from data_exchange_center.steps import run
from offline.evaluation import replay, served
from offline.evaluation.evaluate import head, write
from offline.evaluation.metrics import Lists
from offline.evaluation.replay import Answers
from offline.evaluation.report import plain, summary
from offline.models.stages import fit_stages, ranker_of_lists
from offline.readers import read_with_holdout
from research.experiments.fitted import EvalRequests, systems

Part = TypeVar("Part", bound=Frozen)
SEEDS = (1, 2)  # beside the recipe's own
Summaries = Mapping[str, Mapping[str, float]]  # system -> metric -> mean over users


def with_seed(part: Part, seed: int) -> Part:
    """A recipe, or a part of one, with another seed wherever one is drawn from."""

    def of(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(of, value))
        return with_seed(value, seed) if isinstance(value, Frozen) else value

    fields = {name: getattr(part, name) for name in type(part).model_fields}
    return part.model_copy(update={name: seed if name == "seed" else of(value) for name, value in fields.items()})


def measure(settings: Settings, recipe: Recipe, seeds: Sequence[int]) -> dict[str, Any]:
    """System -> metric -> the value of every seed, the recipe's own first, their mean and their spread."""
    inputs = read_with_holdout(settings)
    holdout = replay.hold_out(inputs.data, inputs.dataset.holdout)
    requests, runs = EvalRequests(holdout, inputs), [named_as_fitted(served.answers(settings, holdout))]
    for seed in seeds:
        seeded = with_seed(recipe, seed)
        runs.append(systems(fit_stages(holdout.past, inputs, seeded), requests, seeded))
    return {
        **head("make evaluate-seeds", settings, recipe),
        "seeds": [ranker_of_lists(recipe).seed, *seeds],
        "systems": spread([{name: summary(holdout, lists) for name, lists in found.items()} for found in runs]),
    }


def named_as_fitted(answers: Answers) -> dict[str, Lists]:
    """What artifacts answer, under the names of `fitted.systems`."""
    alone = {f"channel {name}": lists for name, lists in answers.channels.items()}
    return {**alone, "recall": answers.fused, "ranked": answers.ranked}


def spread(runs: Sequence[Summaries]) -> dict[str, Any]:
    """Summaries, one a seed -> system -> metric -> by_seed, mean, standard deviation of the sample."""

    def of(values: list[float]) -> dict[str, Any]:
        return {"by_seed": values, "mean": float(np.mean(values)), "std": float(np.std(values, ddof=1))}

    return {
        name: {metric: of([run[name][metric] for run in runs]) for metric in metrics}
        for name, metrics in runs[0].items()
    }


def show(found: Mapping[str, Any], console: Console) -> None:
    """Mean and spread of every system."""
    table = Table(title=f"{len(found['seeds'])} seeds on {found['dataset']}")
    table.add_column("")
    for metric in next(iter(found["systems"].values())):
        table.add_column(metric, justify="right")
    for name, metrics in found["systems"].items():
        table.add_row(name, *(f"{value['mean']:.4f} ± {value['std']:.4f}" for value in metrics.values()))
    console.print(table)


def main(settings: Settings) -> None:
    ranker_of_lists(settings.recipe), release_of_artifacts(settings)  # before minutes are spent
    found = plain(measure(settings, settings.recipe, SEEDS))
    write(found, settings, "evaluation_seeds")
    show(found, Console())


if __name__ == "__main__":
    run(main)
