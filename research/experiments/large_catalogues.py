"""What the ways for large catalogues lose on this one, and what they save on larger ones: ``make evaluate-large``.

Beyond a number of items the tower is trained by a softmax over a sample of them (`TowerRecipe.sampled_beyond`), and
EASE is made of the largest eigenvectors (`EaseRecipe.low_rank_beyond`). Here both are used on a catalogue that needs
neither, beside the full way, on the ten ratings before the last ten: each channel alone, and fused with the others,
which are fitted in full. What they save is measured by `catalogue_growth`.

Reads:  offline/{ratings,items,users}.parquet
Writes: pic/figures/large_catalogues.json (of another recipe than the default: with its name)
Run:    python -m research.experiments.large_catalogues
Expect: ten minutes on MovieLens-1M
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from rich.console import Console
from rich.table import Table

from data_exchange_center.channels import Channel
from data_exchange_center.recipes import ChannelRecipe, Recipe
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError, run
from offline.evaluation.evaluate import head, write
from offline.evaluation.metrics import Lists
from offline.evaluation.replay import Holdout
from offline.evaluation.report import comparisons, plain, summary
from offline.models.kinds import fit_channel
from research.experiments import catalogue_growth
from research.experiments.catalogue_growth import FULL, NEVER
from research.experiments.fitted import CHOSEN_ON, EvalRequests, before_the_last

ALONE, FUSED = "alone", "fused"
COMPARED: Final = ("recall@200", "ndcg@50")
TO_FULL: Final = "to the full way"
Fits = Mapping[tuple[str, str], tuple[Channel, float]]  # channel, way -> what it is then, processor seconds of its fit


class Ways(NamedTuple):
    """How a kind of channel can be fitted but in full.

    Attributes:
        beyond: its setting for the number of items up to which it is fitted in full.
        size: its setting for the size of what stands for all items.
        sizes: that are tried.
    """

    beyond: str
    size: str
    sizes: tuple[int, ...]

    def of(self, channel: ChannelRecipe) -> Iterator[tuple[str, ChannelRecipe]]:
        """Name and recipe of each way, the full one first."""
        yield FULL, channel.model_copy(update={self.beyond: NEVER})
        for size in self.sizes:
            yield str(size), channel.model_copy(update={self.beyond: 0, self.size: size})


WAYS: Final[Mapping[str, Ways]] = {  # by kind of channel; those that are not here have one way
    "tower": Ways("sampled_beyond", "sampled_items", (256, 1024)),
    "ease": Ways("low_rank_beyond", "eigenvectors", (64, 128, 256)),
}


def measure(settings: Settings, recipe: Recipe, ways: Mapping[str, Ways] = WAYS) -> dict[str, Any]:
    """A row for each way of each channel, with its paired differences to the channel's full way.

    Raises StepError for a recipe none of whose channels has several ways.
    """
    if not any(channel.kind in ways for channel in recipe.recall.channels):
        raise StepError(f"recipe {recipe.name!r}: each of its channels is fitted in one way, whatever the catalogue.")
    requests = before_the_last(settings)
    past, inputs = requests.holdout.past, requests.inputs
    fitted: dict[tuple[str, str], tuple[Channel, float]] = {}
    for channel in recipe.recall.channels:
        named = ways[channel.kind].of(channel) if channel.kind in ways else [(FULL, channel)]
        for name, each in named:
            begin = time.process_time()
            found = fit_channel(each, past, inputs, recipe.data).channel
            fitted[channel.name, name] = found, time.process_time() - begin
    rows = []
    for channel in (each for each in recipe.recall.channels if each.kind in ways):
        full = _lists(requests, recipe, fitted, channel.name, FULL)
        for name, seconds in ((way, seconds) for (of, way), (_, seconds) in fitted.items() if of == channel.name):
            lists = full if name == FULL else _lists(requests, recipe, fitted, channel.name, name)
            rows.append(
                {
                    "channel": channel.name,
                    "way": name,
                    "cpu_seconds": seconds,
                    **{where: _judged(requests.holdout, lists[where], full[where]) for where in (ALONE, FUSED)},
                }
            )
    return {
        **head("make evaluate-large", settings, recipe, requests.holdout),
        "ratings": CHOSEN_ON,
        "items": past.n_items,
        "rows": rows,
    }


def _lists(requests: EvalRequests, recipe: Recipe, fitted: Fits, channel: str, way: str) -> dict[str, Lists]:
    """Of the channel alone, and fused with the others as they are in full."""
    size = recipe.recall.candidates
    found = [fitted[each.name, way if each.name == channel else FULL][0] for each in recipe.recall.channels]
    alone = requests.hits(fitted[channel, way][0], size)
    return {
        ALONE: requests.lists((hits.ids for hits in alone), size),
        FUSED: requests.lists(requests.recalled(found, recipe, size).candidates, size),
    }


def _judged(holdout: Holdout, lists: Lists, full: Lists) -> dict[str, Any]:
    compared = comparisons(holdout, holdout.judged(lists), holdout.judged(full))
    return {**summary(holdout, lists), TO_FULL: {name: compared[name] for name in COMPARED if name in compared}}


def show(found: Mapping[str, Any], console: Console) -> None:
    """One line a way."""
    table = Table(title=f"{found['ratings']} of {found['users']:,} users of {found['dataset']}")
    for name in ("channel", "way", "CPU s"):
        table.add_column(name)
    for where in (ALONE, FUSED):
        for name in COMPARED:
            table.add_column(f"{where}: {name}", justify="right")
    for row in found["rows"]:
        cells = [_cell(row[where], name) for where in (ALONE, FUSED) for name in COMPARED]
        table.add_row(row["channel"], row["way"], f"{row['cpu_seconds']:.1f}", *cells)
    console.print(table)


def _cell(found: Mapping[str, Any], name: str) -> str:
    if name not in found:
        return "-"
    change = found[TO_FULL][name]
    return f"{found[name]:.4f} ({change['difference']:+.4f}, p {change['p_value']:.3f})"


def main(settings: Settings) -> None:
    found = measure(settings, settings.recipe) | {"growth": []}
    write(plain(found), settings, "large_catalogues")  # kept, whatever becomes of the rest
    show(found, Console())
    found["growth"] = list(catalogue_growth.measure(settings))
    write(plain(found), settings, "large_catalogues")
    catalogue_growth.show(found["growth"], Console())


if __name__ == "__main__":
    run(main)
