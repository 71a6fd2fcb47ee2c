"""Evaluate a recipe in the protocol of papers on sequential recommendation: ``make evaluate-papers``.

Every rating is a target, liked or not. The last of each user is to be found among all items but those rated before it;
ties in time are taken in file order (`research.papers_movielens`). A request comes at its target's time, or without it:
`WITHOUT_S` after the rating before. Settings are chosen on the last but one (``--validate``, fitted on all but the
last two); the last is read by fits on all but the last, by three seeds, and by one of the recipe in the settings, for
comparison. Each table is split by the gap before the target, as ratings of one second are far easier: a page of items
that is rated at once.

With --server the running server answers, which serves the data set of ``python -m research.papers_movielens``: one
recipe and one seed, those of its release, a run. Else all is fitted in memory, and searched exactly. Rows are written
as they are measured, and an interrupted run resumes.

Reads:  offline/{ratings,items,users}.parquet of MovieLens; with --server the artifacts and the server that serves them
Writes: pic/figures/papers.json, or papers_live.json (another data set's: with its name)
Run:    python -m research.papers [--server] [--validate] [--seeds 0 1 2]
        python -m research.papers --recipe 1: print the recipe with this seed, as a file for RECSYS_RECIPE
Expect: ten minutes a seed on MovieLens-1M, recipe next-item
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np

from data_exchange_center.recipes import DEFAULT, Frozen, Recipe
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError, run
from extras import replay
from extras.next_item.followers import NEXT_ITEM
from extras.replay import Lists
from offline import movielens
from offline.data.lists import ranker_of_lists, recall_lists
from offline.data.sequences import Inputs, Ints, Points, Sequences
from offline.readers import read_with_holdout
from research import figures
from research.evaluation.protocols import Stages, fit_stages, ranked
from research.evaluation.running_server import answers_of_server
from research.figures import plain
from research.papers_movielens import AT_ONCE_S, PREPARED, distinct_times

log = logging.getLogger(__name__)

Part = TypeVar("Part", bound=Frozen)
Keep = Callable[[dict[str, Any]], None]  # writes a report as far as it is measured
WITH, WITHOUT = "with the request's time", "without"
# seconds after the rating before; of 1 and 2 the better one on the last but one
WITHOUT_S: Final = 1
CUTS: Final = (10, 50, 200)
GAPS: Final = (
    ("at once", 0, AT_ONCE_S),
    ("a minute", AT_ONCE_S, 60),
    ("later", 60, np.inf),
)  # above, up to: seconds
SEEDS: Final = (0, 1, 2)
AT_ONCE: Final = 4096  # requests


# --- The protocol


def every_rating(settings: Settings) -> Inputs:
    """All ratings, each a target, at distinct times. Raises ArtifactError or StepError without preprocessing."""
    found = read_with_holdout(settings)
    times = distinct_times(found.data.times, found.data.users)
    data = replace(found.data, liked=np.ones_like(found.data.liked), times=times)
    return replace(
        found, data=data, dataset=found.dataset.model_copy(update={"positive_level": 0})
    )


def targets(data: Sequences, n: int) -> Ints:
    """Event number ``n`` from the end of each user with earlier ones."""
    found: Ints = data.starts[1:][data.lengths > n] - n
    return found


def requests(data: Sequences, events: Ints, *, clock: bool) -> Points:
    """A request before each event: at its time, or else `WITHOUT_S` after the event before."""
    times = data.times[events] if clock else data.times[events - 1] + WITHOUT_S
    return Points(data.users[events], data.positions[events], times)


def answers(stages: Stages, recipe: Recipe, inputs: Inputs, points: Points) -> Lists:
    """(m, candidates) codes in the ranker's order."""
    served = []
    for begin in range(0, len(points), AT_ONCE):
        part = points.take(np.arange(begin, min(begin + AT_ONCE, len(points))))
        found = recall_lists(
            inputs.data, part, inputs.profiles, stages.channels, recipe
        )
        served.append(ranked(stages.ranker, found, stages.stored))
    return np.concatenate(served)


# --- Metrics


def ranks(lists: Lists, wanted: Ints) -> Ints:
    """(m,) place of each target on its list, from 0; a large number where it is not on it."""
    found = lists == wanted[:, None]
    place: Ints = np.where(
        found.any(axis=1), found.argmax(axis=1), np.iinfo(np.int32).max
    )
    return place


def measured(lists: Lists, wanted: Ints, gaps: Ints) -> dict[str, Any]:
    """Hit rates and NDCG@10 of (m,) requests with one target each; the same by the gap before the target."""
    rank = ranks(lists, wanted)
    gain = np.where(rank < 10, 1 / np.log2(rank + 2.0), 0)
    found: dict[str, Any] = {f"hr@{k}": float((rank < k).mean()) for k in CUTS}
    found["ndcg@10"] = float(gain.mean())
    by_gap = found["by gap"] = {}
    for name, above, to in GAPS:
        inside = (gaps > above) & (gaps <= to)
        if inside.any():
            by_gap[name] = {
                "users": int(inside.sum()),
                "hr@10": float((rank < 10)[inside].mean()),
                "ndcg@10": float(gain[inside].mean()),
            }
    return found


# --- Fitted in memory


def with_seed(part: Part, seed: int) -> Part:
    """A recipe, or a part of one, with another seed wherever one is drawn from."""

    def seeded(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(seeded, value))
        return with_seed(value, seed) if isinstance(value, Frozen) else value

    fields = {}
    for name in type(part).model_fields:
        fields[name] = seed if name == "seed" else seeded(getattr(part, name))
    return part.model_copy(update=fields)


def fitted(inputs: Inputs, recipe: Recipe, target: int) -> dict[str, Any]:
    """Fit on what precedes each user's event number ``target`` from the end, and look for that event."""
    data, begin = inputs.data, time.process_time()
    stages = fit_stages(data.before_last(target), inputs, recipe)
    seconds = round(time.process_time() - begin, 1)
    events = targets(data, target)
    gaps = data.times[events] - data.times[events - 1]
    found = {}
    for when in (WITH, WITHOUT):
        lists = answers(
            stages, recipe, inputs, requests(data, events, clock=when == WITH)
        )
        found[when] = measured(lists, data.items[events], gaps)
    to_answers = round(time.process_time() - begin, 1)
    return {"seconds": seconds, "seconds to answers": to_answers, "ranked": found}


def of_seeds(
    settings: Settings, path: Path, seeds: Sequence[int], keep: Keep, *, validate: bool
) -> dict[str, Any]:
    """The report: the recipe for the next event by all seeds, the settings' by one."""
    inputs = every_rating(settings)
    opening = figures.head("make evaluate-papers", settings, settings.recipe)
    opening |= {"users": inputs.data.n_users, "without": WITHOUT_S}
    found = figures.resumed(path, opening, {"last": {}, "last but one": {}})
    for part, target in (("last but one", 2), ("last", 1)):
        if validate and part == "last":
            break
        for recipe in (NEXT_ITEM, settings.recipe):
            rows = found[part].setdefault(recipe.name, {})
            # the last but one only chooses
            by_all = target == 1 and recipe == NEXT_ITEM
            for seed in seeds if by_all else seeds[:1]:
                if str(seed) in rows:
                    continue
                log.info(
                    "%s, seed %d: everything is fitted on all but the %s",
                    recipe.name,
                    seed,
                    part,
                )
                rows[str(seed)] = plain(fitted(inputs, with_seed(recipe, seed), target))
                keep(found)
    return found


# --- Answered by the running server


def live(settings: Settings, path: Path) -> dict[str, Any]:
    """The running server's answers, and those that earlier runs have measured of other recipes and seeds.

    Raises StepError where it serves another data set, or does not run.
    """
    found = read_with_holdout(settings)
    if found.dataset.holdout.last != 1 or found.dataset.positive_level:
        raise StepError(
            f"{found.dataset.name} does not hold out one rating of each user, every one a target: "
            "python -m research.papers_movielens makes that data set of MovieLens."
        )
    data, ask = found.data, answers_of_server(settings)
    holdout, events = replay.hold_out(data, found.dataset.holdout), targets(data, 1)
    gaps = data.times[events] - data.times[events - 1]
    opening = figures.head("make evaluate-papers server=1", settings, NEXT_ITEM) | {
        "users": len(events)
    }
    report, row = figures.resumed(path, opening, {"live": {}}), {}
    for when in (WITH, WITHOUT):
        times = holdout.times.copy()
        times[data.users[events]] = requests(data, events, clock=when == WITH).times
        lists = ask(holdout.at(times)).ranked[data.users[events]]
        row[when] = measured(lists, data.items[events], gaps)
    seed = ranker_of_lists(settings.recipe).seed
    report["live"].setdefault(settings.recipe.name, {})[str(seed)] = plain(row)
    return report


# --- The command


def path_of(settings: Settings, kind: str, *, part: bool) -> Path:
    opening = figures.head("", settings, settings.recipe)
    if opening["dataset"] == PREPARED:
        opening |= {
            "dataset": movielens.ML_1M,
            "recipe": DEFAULT.name,
        }  # named without either
    return figures.path_of(opening, settings, kind, part=part)


def print_recipe(seed: int, settings: Settings) -> None:
    """Print the recipe in the settings with another seed, as a file for RECSYS_RECIPE."""
    print(with_seed(settings.recipe, seed).model_dump_json(indent=2))  # noqa: T201


def main(
    settings: Settings,
    *,
    server: bool = False,
    validate: bool = False,
    seeds: Sequence[int] = SEEDS,
) -> None:
    if server:
        path = path_of(settings, "papers_live", part=False)
        found = live(settings, path)
        whole = {str(seed) for seed in seeds} <= set(
            found["live"].get(NEXT_ITEM.name, ())
        )
    else:
        whole = not validate and set(seeds) >= set(SEEDS)
        path = path_of(settings, "papers", part=not whole)
        found = of_seeds(
            settings,
            path,
            seeds,
            partial(figures.write, path, finished=False),
            validate=validate,
        )
    figures.write(path, found, finished=whole)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--server", action="store_true", help="evaluate the running server"
    )
    parser.add_argument(
        "--validate", action="store_true", help="look at the last but one alone"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument(
        "--recipe",
        type=int,
        metavar="SEED",
        help="print the recipe with this seed, for RECSYS_RECIPE",
    )
    given = vars(parser.parse_args())
    seed = given.pop("recipe")
    run(partial(main, **given) if seed is None else partial(print_recipe, seed))
