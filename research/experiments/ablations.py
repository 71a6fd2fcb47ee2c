"""What each part of the recipe is worth, on the ten ratings before the last ten: ``make ablations``.

Everything is fitted on the ratings before those. Choices are made here, so the last ten are not read. Compared are
single channels, searches, fusion rules, and the ranker without some of its inputs.

Reads:  offline/{ratings,items,users}.parquet
Writes: pic/figures/evaluation_ablation.json (of another recipe than the default: with its name)
Run:    python -m research.experiments.ablations [--with-source]
Expect: half an hour on MovieLens-1M
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from data_exchange_center.channels import Channel
from data_exchange_center.fusion import Hits
from data_exchange_center.recipes import SOURCE, Recipe
from data_exchange_center.settings import Settings
from data_exchange_center.steps import run
from offline.evaluation import metrics
from offline.evaluation.evaluate import asked_for, head, write
from offline.evaluation.metrics import Floats, Lists
from offline.evaluation.replay import SHOWN
from offline.evaluation.report import per_user, plain, summary
from offline.evaluation.served import baselines
from offline.models.stages import channels_of, fit_channels, list_recipe
from research.experiments.fitted import CHOSEN_ON, EvalRequests, before_the_last
from research.experiments.fusion_rules import rules
from research.experiments.ranker_variants import AblationSetup, samples, without
from research.experiments.searches import variants

REFERENCE = "ranker: all inputs"  # what the others are compared with
COMPARED = ("recall@200", "recall@50", "ndcg@50")
GROUPS = ("baseline", "channel alone", "search", "fusion", "ranker")  # in the order that they are shown


class Row(NamedTuple):
    """One thing that was tried."""

    group: str
    name: str
    lists: Lists


def measure(settings: Settings, recipe: Recipe, with_source: bool = False) -> dict[str, Any]:
    """Every row's summary, and its paired difference to the recipe as it is.

    Raises StepError for a recipe without a list ranker: its parts are not those that are left out here.
    """
    list_recipe(recipe)  # before minutes are spent
    requests = before_the_last(settings)
    holdout = requests.holdout
    rows = sorted(tried(requests, recipe, with_source), key=lambda row: GROUPS.index(row.group))
    rows = [row._replace(lists=holdout.judged(row.lists)) for row in rows]
    reference = next(per_user(holdout.relevance, row.lists) for row in rows if row.name == REFERENCE)
    return {
        **head(f"make ablations{' with_source=1' if with_source else ''}", settings, recipe, holdout),
        "ratings": CHOSEN_ON,
        "reference": REFERENCE,
        "rows": [
            {
                "group": row.group,
                "name": row.name,
                **summary(holdout, row.lists),
                "against reference": _compared(per_user(holdout.relevance, row.lists), reference),
            }
            for row in rows
        ],
    }


def tried(requests: EvalRequests, recipe: Recipe, with_source: bool) -> Iterator[Row]:
    """All rows, fitted on the way."""
    past, size = requests.holdout.past, recipe.recall.candidates
    for name, lists in baselines(requests.holdout, SHOWN).items():
        yield Row("baseline", name, lists)
    channels = channels_of(fit_channels(past, requests.inputs, recipe))
    hits = {channel.name: requests.hits(channel, size) for channel in channels}
    for channel in channels:
        yield Row("channel alone", channel.name, _ids(requests, hits[channel.name], size))
    searched = [*channels[:1], *(_fm(requests) if with_source else ())]
    for channel in searched[1:]:
        yield Row("channel alone", channel.name, _ids(requests, requests.hits(channel, size), size))
    for channel in searched:
        for name, changed in variants(channel).items():
            yield Row("search", f"{channel.name}, {name}", _ids(requests, requests.hits(changed, size), size))
    for name, rule in rules([*hits], size).items():
        fused = (rule(each) for each in zip(*hits.values(), strict=True))
        yield Row("fusion", name, requests.lists(fused, size))
    yield from _ranked(requests, channels, recipe)


def _ids(requests: EvalRequests, hits: Iterable[Hits], size: int) -> Lists:
    return requests.lists((part.ids for part in hits), size)


def _fm(requests: EvalRequests) -> tuple[Channel, ...]:
    """The source's channels; searched by vectors alone, without genres."""
    return channels_of(fit_channels(requests.holdout.past, requests.inputs, SOURCE))


def _ranked(requests: EvalRequests, channels: tuple[Channel, ...], recipe: Recipe) -> Iterator[Row]:
    """The ranker: all inputs, over all that the channels found, without some inputs, trained on other samples."""
    size = recipe.recall.candidates
    setup = AblationSetup.of(requests, channels, recipe)
    recalled = requests.recalled(channels, recipe, size)
    ranker = setup.train()
    yield Row("ranker", REFERENCE, requests.lists(ranker.ranked(recalled), size))
    for name, width in (
        ("the fused list cut at what is shown", SHOWN),
        ("the union of all lists", size * len(channels)),
    ):
        others = requests.recalled(channels, recipe, width)
        yield Row("ranker", f"ranker: over {name}", requests.lists(ranker.ranked(others), SHOWN))
    for name, parts in without().items():
        ranker = setup.train(parts)
        yield Row("ranker", f"ranker: {name}", requests.lists(ranker.ranked(recalled), size))
    for name, other in samples(list_recipe(recipe), size).items():
        ranker = setup.train(recipe=other)
        yield Row("ranker", f"ranker: {name}", requests.lists(ranker.ranked(recalled), size))


def _compared(values: Mapping[str, Floats], reference: Mapping[str, Floats]) -> dict[str, Any]:
    both = [name for name in COMPARED if name in values and name in reference]
    return {name: asdict(metrics.compare(values[name], reference[name])) for name in both}


def show(found: Mapping[str, Any], console: Console) -> None:
    """One line a row."""
    table = Table(title=f"{found['ratings']} of {found['users']:,} users of {found['dataset']}")
    shown = [name for name, value in found["rows"][0].items() if isinstance(value, float)]
    for name in ("group", "name"):
        table.add_column(name, no_wrap=True)
    for name in shown:
        table.add_column(name, justify="right")
    for row in found["rows"]:
        table.add_row(row["group"], row["name"], *(f"{row[name]:.4f}" for name in shown))
    console.print(table)


def main(settings: Settings, with_source: bool = False) -> None:
    found = plain(measure(settings, settings.recipe, with_source))
    write(found, settings, "evaluation_ablation")
    show(found, Console())


if __name__ == "__main__":
    with_source = asked_for(__doc__)
    run(lambda settings: main(settings, with_source))
