"""How many of the ranker's training requests are asked later: ``make tune-later``, on the ten before the last ten.

A ranker that is only taught by requests as they came has never met one that is asked years later, and a request without
a time is one of these. Each share of the recipe's `ListRankerRecipe.later` is tried: the same targets asked for
in the sitting, an hour later and now, for everybody and for those who come back. Recall's order is the bar.

Reads:  offline/{ratings,items,users}.parquet
Writes: pic/figures/tune_later.json (of another recipe than the default: with its name)
Run:    python -m research.experiments.later_requests
Expect: half an hour on MovieLens-1M
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from data_exchange_center.recipes import Recipe
from data_exchange_center.settings import Settings
from data_exchange_center.steps import run
from offline.data.statistics import list_spec
from offline.evaluation import metrics
from offline.evaluation.evaluate import head, write
from offline.evaluation.metrics import Floats, Lists
from offline.evaluation.report import EVERYBODY, ROWS, SITTING, clock_table, later, per_user, plain
from offline.models.list_ranker import RankerInputs, train_then_renew
from offline.models.stages import channels_of, fit_channels, list_recipe, lists_of
from offline.models.training import ranked
from research.experiments.fitted import CHOSEN_ON, EvalRequests, before_the_last

SHARES = (0.0, 0.02, 0.05, 0.1, 0.2)
COMPARED = "ndcg@50"
RECALL = "recall's order"

Asked = dict[str, EvalRequests]  # when -> requests


def measure(settings: Settings, recipe: Recipe, shares: Sequence[float] = SHARES) -> dict[str, Any]:
    """Every share's means by slice and time, and the paired differences to the first share.

    Raises StepError for a recipe without a list ranker.
    """
    list_recipe(recipe)  # before minutes are spent
    requests = before_the_last(settings)
    asked = {SITTING: requests} | {when: replace(requests, holdout=at) for when, at in later(requests.holdout).items()}
    tried = list(_tried(asked, recipe, shares))
    first = next(found for name, found in tried if name != RECALL)
    return {
        **head("make tune-later", settings, recipe, requests.holdout),
        "ratings": CHOSEN_ON,
        "chosen": list_recipe(recipe).later,
        "rows": [
            {
                "name": name,
                "clock": {
                    row: systems["ranked"]
                    for row, systems in clock_table(
                        {when: (asked[when].holdout, {"ranked": lists}) for when, lists in found.items()}
                    ).items()
                },
                f"{COMPARED}, to the first share": _compared(asked, found, first),
            }
            for name, found in tried
        ],
    }


def _tried(asked: Asked, recipe: Recipe, shares: Sequence[float]) -> Iterator[tuple[str, dict[str, Lists]]]:
    """Name -> when -> lists: recall's order, then the order of a ranker for each share."""
    requests, ranker = asked[SITTING], list_recipe(recipe)
    past, inputs, size = requests.holdout.past, requests.inputs, recipe.recall.candidates
    channels = channels_of(fit_channels(past, inputs, recipe))
    recalled = {when: each.recalled(channels, recipe, size) for when, each in asked.items()}
    yield RECALL, {when: asked[when].lists(found.candidates, size) for when, found in recalled.items()}
    known = past.earlier(ranker.past)
    teachers, spec = channels_of(fit_channels(known, inputs, recipe)), list_spec(inputs, recipe, ranker)
    then = RankerInputs.after(known, teachers, inputs, spec, recipe, ranker)
    now = RankerInputs.after(past, channels, inputs, spec, recipe, ranker)
    for share in shares:
        other = ranker.model_copy(update={"later": share})
        lists = lists_of(teachers, past, inputs, recipe.model_copy(update={"ranker": other}))
        model, _ = train_then_renew(lists, then, lambda: now.frozen, other, inputs.dataset)
        orders = {when: ranked(model, found, now.stored) for when, found in recalled.items()}
        yield f"{share:g}", {when: asked[when].lists(order, size) for when, order in orders.items()}


def _compared(asked: Asked, found: dict[str, Lists], first: dict[str, Lists]) -> dict[str, Any]:
    """Slice -> when -> paired difference of the NDCG."""
    out: dict[str, Any] = {row: {} for row in (EVERYBODY, *ROWS)}
    for when, lists in found.items():
        one, two = (_ndcg(asked[when], each) for each in (lists, first[when]))
        for row, compared in out.items():
            inside = asked[when].holdout.slices.get(row, np.ones(len(one), dtype=bool))
            compared[when] = asdict(metrics.compare(one[inside], two[inside]))
    return out


def _ndcg(requests: EvalRequests, lists: Lists) -> Floats:
    return per_user(requests.holdout.relevance, requests.holdout.judged(lists))[COMPARED]


def show(found: dict[str, Any], console: Console) -> None:
    """The NDCG of every share."""
    rows, times = (EVERYBODY, *ROWS), list(found["rows"][0]["clock"][EVERYBODY])
    table = Table(title=f"{COMPARED} on {found['ratings']} of {found['dataset']}")
    table.add_column("share asked later")
    for row in rows:
        for when in times:
            table.add_column(f"{row}, {when}", justify="right")
    for each in found["rows"]:
        values = (each["clock"][row][when].get(COMPARED) for row in rows for when in times)
        table.add_row(each["name"], *("-" if value is None else f"{value:.4f}" for value in values))
    console.print(table)


def main(settings: Settings) -> None:
    found = plain(measure(settings, settings.recipe))
    write(found, settings, "tune_later")
    show(found, Console())


if __name__ == "__main__":
    run(main)
