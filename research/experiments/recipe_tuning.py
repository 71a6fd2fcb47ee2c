"""Compare every number of a recipe with other values: ``make tune-recipe``, on the ten ratings before the last ten.

One number at a time is changed, everything else is as the recipe has it. Numbers of recall are judged by the fused
lists; those of the ranker, and how many candidates it gets, by the ranked ones; each paired with the recipe as it is.
Other seeds say what is chance. Each row is written as soon as it is measured, and an ended run goes on from there;
after a change of the recipe it begins again, after one of its ranker alone with what is judged by the ranked lists.

Reads:  offline/{ratings,items,users}.parquet
Writes: pic/figures/tune_recipe.json (of another recipe than the default: with its name)
Run:    python -m research.experiments.recipe_tuning
Expect: three hours on MovieLens-1M
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, NamedTuple

from rich.console import Console
from rich.table import Table

from data_exchange_center.channels import Channel
from data_exchange_center.figures import write_figure
from data_exchange_center.recipes import ChannelRecipe, Recipe
from data_exchange_center.settings import Frozen, Settings
from data_exchange_center.steps import run
from offline.data.lists import Lists as TrainingLists
from offline.data.lists import ListsConfig, StoredFeatures, ranker_of_lists
from offline.data.sequences import Sequences
from offline.data.statistics import list_spec
from offline.evaluation import metrics
from offline.evaluation.evaluate import figure, head
from offline.evaluation.metrics import Lists
from offline.evaluation.protocols import EvalRequests
from offline.evaluation.report import per_user, plain, summary
from offline.models.kinds import ListExamples, fit_channel, fit_ranker
from offline.models.training import ranked
from research.experiments.fitted import CHOSEN_ON, CODE, before_the_last, digest, packed, resumed, unpacked

log = logging.getLogger(__name__)

COMPARED = "ndcg@50"
AS_IT_IS = "as it is"
SEEDS: Final = (1, 2)
Values = Mapping[str, tuple[Any, ...]]
# Kind of a part -> its numbers -> what is tried instead.
AROUND: Final[Mapping[str, Values]] = {
    "data": {"history": (50, 200)},
    "recall": {"candidates": (200, 400)},
    "tower": {
        "fusion_weight": (1.0, 2.0, 8.0),
        "dim": (32, 128),
        "fields": (1, 3),
        "hidden": (0, 256, 1024),
        "start": ("random", "followers"),
        "dropout": (0.1, 0.2, 0.4),
        "epochs": (2, 5),
        "batch_size": (256, 1024),
        "learning_rate": (2.5e-3, 1e-2),
        "weight_decay": (0.0, 0.1),
        "stride": (5, 10),
        "horizon": (5, 10),
        "user_balance": (0.0, 0.15, 0.5),
        "request_balance": (0.0, 1.0),
        "seed": SEEDS,
    },
    "ease": {
        "fusion_weight": (0.5, 2.0),
        "dim": (32, 128, 256),
        "l2": (300.0, 3000.0, 10000.0),
        "power": (0.5, 1.0),
        "taste": (100, 200, 1000),
        "seed": SEEDS,
    },
    "list": {
        "history": (20, 80),
        "past": (0.5, 0.7),
        "stride": (3, 10),
        "horizon": (5, 20),
        "epochs": (3, 8),
        "batch_size": (64, 256),
        "sampled": (16, 64, 256),
        "learning_rate": (2.5e-3, 1e-2),
        "weight_decay": (0.0, 0.1),
        "kernels": (2, 8),
        "transitions_dim": (32, 128),
        "hidden": ((32,), (128, 64)),
        "dropout": (0.1, 0.2),
        "seed": SEEDS,
    },
}
# What is no matter of what a recommender finds.
NOT_TRIED: Final[Mapping[str, str]] = {
    "train_share": "the published split",
    "validation_share": "of the source's models",
    "window": "of the genre statistics, as the source has it",
    "clicks_for_preference": "of the genre statistics, as the source has it",
    "returning": "chosen on the session before each user's last",
    "vector_weight": "of the index's search: genres have no weight in it",
    "term_weight": "of the index's search: the source's genres",
    "num_candidates": "of an approximate search: `make bench-index`",
    "index": "`make bench-index`",
    "sampled_beyond": "of large catalogues: RESULTS.md",
    "sampled_items": "of large catalogues: RESULTS.md",
    "low_rank_beyond": "of large catalogues: RESULTS.md",
    "eigenvectors": "of large catalogues: RESULTS.md",
    "kind": "a name",
    "name": "a name",
    "channels": "parts of their own",
}


class Change(NamedTuple):
    """One number with another value. ``part``: data, recall, ranker, or a channel's name."""

    part: str
    setting: str
    value: Any

    def __str__(self) -> str:
        return f"{self.part}: {self.setting} = {self.value}"

    @property
    def of_ranker(self) -> bool:
        """Whether it is judged by the ranked lists."""
        return self.part == "ranker" or self.setting == "candidates"

    def made_to(self, recipe: Recipe) -> Recipe:
        update = {self.setting: self.value}
        if self.part in ("data", "recall", "ranker"):
            return recipe.model_copy(update={self.part: getattr(recipe, self.part).model_copy(update=update)})
        channels = tuple(
            each.model_copy(update=update) if each.name == self.part else each for each in recipe.recall.channels
        )
        return recipe.model_copy(update={"recall": recipe.recall.model_copy(update={"channels": channels})})


def parts(recipe: Recipe) -> Iterator[tuple[str, str, Frozen]]:
    """Name, kind and settings of each part that has numbers."""
    yield "data", "data", recipe.data
    yield "recall", "recall", recipe.recall
    for channel in recipe.recall.channels:
        yield channel.name, channel.kind, channel
    yield "ranker", recipe.ranker.kind, recipe.ranker


def changes(recipe: Recipe) -> Iterator[Change]:
    """Every change that is tried. A kind of part that `AROUND` does not know has none."""
    for part, kind, settings in parts(recipe):
        for setting, values in AROUND.get(kind, {}).items():
            yield from (Change(part, setting, value) for value in values if value != getattr(settings, setting))


@dataclass(frozen=True, eq=False)
class Trial:
    """Fits a recipe with a change; channels as the recipe has them are fitted once.

    The newest training lists are kept: most numbers of the ranker leave them as they are.
    """

    requests: EvalRequests
    kept: dict[tuple[str, str, int], Channel] = field(default_factory=dict)
    newest: list[tuple[ListsConfig, tuple[Channel, ...], TrainingLists]] = field(default_factory=list)

    def recalled(self, recipe: Recipe) -> Lists:
        """The fused lists."""
        size = recipe.recall.candidates
        found = self.requests.recalled(self._channels(self.requests.holdout.past, recipe), recipe, size)
        return self.requests.lists(found.candidates, size)

    def ranked(self, recipe: Recipe) -> Lists:
        """The ranked lists."""
        ranker, size, inputs = ranker_of_lists(recipe), recipe.recall.candidates, self.requests.inputs
        past, spec = self.requests.holdout.past, list_spec(inputs, recipe, ranker)
        teachers, channels = self._channels(past.earlier(ranker.past), recipe), self._channels(past, recipe)
        lists = self._training_lists(teachers, recipe)
        fitted = fit_ranker(ranker, ListExamples(past, inputs, recipe, spec, teachers, channels, lists))
        stored = StoredFeatures.of(past, inputs, spec, recipe)
        recalled = self.requests.recalled(channels, recipe, size)
        return self.requests.lists(ranked(fitted.network, recalled, stored), size)

    def _training_lists(self, teachers: tuple[Channel, ...], recipe: Recipe) -> TrainingLists:
        asked = ListsConfig.of(recipe)
        if not self.newest or self.newest[0][:2] != (asked, teachers):
            self.newest.clear()  # before others are made: they are hundreds of megabytes
            past, profiles = self.requests.holdout.past, self.requests.inputs.profiles
            made = asked.recalled(past, profiles, teachers)
            self.newest.append((asked, teachers, made))
        return self.newest[0][2]

    def _channels(self, past: Sequences, recipe: Recipe) -> tuple[Channel, ...]:
        return tuple(self._channel(each, past, recipe) for each in recipe.recall.channels)

    def _channel(self, channel: ChannelRecipe, past: Sequences, recipe: Recipe) -> Channel:
        fitted_by = channel.model_copy(update={"fusion_weight": 1.0}).model_dump_json()
        key = (fitted_by, recipe.data.model_dump_json(), len(past.items))
        if key not in self.kept:
            self.kept[key] = fit_channel(channel, past, self.requests.inputs, recipe.data).channel
        return self.kept[key]


def measure(settings: Settings, recipe: Recipe) -> Iterator[dict[str, Any]]:
    """The report, then again after every row that was measured; what is on disk already is not measured again."""
    ranker_of_lists(recipe)  # before minutes are spent
    requests = before_the_last(settings)
    holdout, trial = requests.holdout, Trial(requests)
    opening = {
        **head("make tune-recipe", settings, recipe, holdout),
        "ratings": CHOSEN_ON,
        "cuts": f"{digest(holdout)} {_content(recipe.data, recipe.recall)}",
    }
    tried = {str(change): change for change in changes(recipe)}
    found = resumed(figure(opening, settings, "tune_recipe"), opening, (AS_IT_IS, "rows", "ranker"))
    if found["ranker"] != _content(recipe.ranker):
        found["ranker"] = _content(recipe.ranker)
        found[AS_IT_IS].pop("ranked", None)
        kept = {name for name, change in tried.items() if not change.of_ranker}
        found["rows"] = {name: row for name, row in found["rows"].items() if name in kept}
    yield found

    def judged(of_ranker: bool, changed: Recipe) -> dict[str, Any]:
        begin = time.perf_counter()
        lists = trial.ranked(changed) if of_ranker else trial.recalled(changed)
        seconds = round(time.perf_counter() - begin, 1)
        values = per_user(holdout.relevance, holdout.judged(lists))[COMPARED]
        return {**plain(summary(holdout, lists)), "seconds": seconds, "of users": packed(values)}

    for stage in ("recall", "ranked"):
        if stage not in found[AS_IT_IS]:
            found[AS_IT_IS][stage] = judged(stage == "ranked", recipe)
            yield found
    for name, change in tried.items():
        if name in found["rows"]:
            continue
        log.info("%s", name)
        row = judged(change.of_ranker, change.made_to(recipe))
        own = unpacked(found[AS_IT_IS]["ranked" if change.of_ranker else "recall"]["of users"])
        compared = plain(asdict(metrics.compare(unpacked(row.pop("of users")), own)))
        found["rows"][name] = {**change._asdict(), **row, "to the recipe": compared}
        found["rows"] = {name: found["rows"][name] for name in tried if name in found["rows"]}
        yield found


def _content(*parts: Frozen) -> str:
    return hashlib.sha256("".join(part.model_dump_json() for part in parts).encode()).hexdigest()[:16]


def show(found: Mapping[str, Any], console: Console) -> None:
    """One line a change."""
    table = Table(title=f"{COMPARED} on {found['ratings']} of {found['dataset']}")
    for name in ("", COMPARED, "to the recipe", "p"):
        table.add_column(name)
    for name, row in found["rows"].items():
        change = row["to the recipe"]
        table.add_row(name, f"{row[COMPARED]:.4f}", f"{change['difference']:+.4f}", f"{change['p_value']:.3f}")
    console.print(table)


def main(settings: Settings) -> None:
    found: dict[str, Any] = {}
    for found in measure(settings, settings.recipe):
        write_figure(figure(found, settings, "tune_recipe"), found, CODE, finished=False)
    write_figure(figure(found, settings, "tune_recipe"), found, CODE)
    show(found, Console())


if __name__ == "__main__":
    run(main)
