"""Benchmark the server: requests per second, p50, p99 and the median of each stage, at several concurrencies.

The load comes from a process of its own, over kept-alive connections, for real users drawn at random, a different one
for each request (the server caches no answer). Requests are plain ones, each sent at once after an answer; answered,
degraded and refused ones are counted. The server and the four services have to be up.

With --recipes the newest release of each recipe that stands in the stores (`make releases` lists them) is put live,
measured, and switched with the other's, several times, so that background load affects both equally. Whatever was live
before is live again at the end.

Reads   data_exchange_center/offline/user_seen.parquet, users.parquet (who the users are); the server, over HTTP
Writes  pic/figures/serving.json; with --recipes pic/figures/serving_recipes.json
Run     make bench, make bench-recipes, or python -m research.bench.serving [--requests 1000] [--levels 1 4 16 64] ...
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from tenacity import Retrying, TryAgain, retry_if_exception_type, stop_after_delay, wait_fixed

from data_exchange_center import artifacts, steps
from data_exchange_center.dataset import OwnId
from data_exchange_center.recipes import DEFAULT, SOURCE
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from offline_to_online.releases import activate
from offline_to_online.stores.redis import RedisStore
from research.bench.load import (
    Drawn,
    Loading,
    Run,
    expect_answers,
    generate,
    generator,
    in_turns,
    known_userids,
    ready,
    report,
    summary,
    take_turn,
)
from research.bench.processes import Parts
from research.figure_files import FIGURES
from research.figures import costs, recommendations
from research.reports import publish

log = logging.getLogger(__name__)

Levels = dict[int, Run]  # requests in flight -> a turn


def measure(
    url: str,
    drawn: Drawn,
    levels: Sequence[int],
    requests: int,
    warm_up: int = 100,
    release: str | None = None,
    parts: Parts | None = None,
) -> Levels:
    """Measure a turn at each level, with the load from a process of its own. ``parts``: as of `take_turn`.

    Raises StepError where more than one in a hundred is not answered, or one from another release.
    """
    taken = {}
    with generator() as ask:
        for level in levels:
            taken[level] = take_turn(ask, url, parts or {}, Loading(level), drawn, requests, warm_up=warm_up)
            good = taken[level].good
            if others := {answer.release for answer in good} - {release or good[0].release}:
                raise StepError(f"{url} answered from release {', '.join(sorted(others))}, too")
    return taken


def levels_of(rounds: Sequence[Levels]) -> list[dict[str, Any]]:
    """Sum the rounds of a server up, level by level; every other round was measured in descending order."""
    return [{"concurrency": level, **summary([each[level] for each in rounds])} for level in sorted(rounds[0])]


# --- Both recipes, in turns


BASELINE, COMPARED = SOURCE.name, DEFAULT.name
_SWITCH_S = 60.0  # until every worker serves a release that has gone live
_REQUESTED = 32  # requests, over connections enough for every worker to get some


class Loaded(NamedTuple):
    """A release in the stores."""

    release: str
    recipe: str
    dataset: str


def loaded_releases(settings: Settings) -> tuple[list[Loaded], str | None]:
    """Releases in the stores, those that were published or live last first, and the live one. Raises StepError."""
    store = RedisStore(settings)
    live, published = store.listed()
    manifests = [(release, store.published(release).manifest) for release in published]
    found = [Loaded(release, manifest.recipe.name, manifest.dataset.name) for release, manifest in manifests]
    return found, live


def newest_releases(loaded: Sequence[Loaded], dataset: str) -> dict[str, str]:
    """Recipe -> the first of its releases, for the two recipes, on one data set. Raises StepError."""
    found: dict[str, str] = {}
    for recipe in (BASELINE, COMPARED):
        releases = [each.release for each in loaded if (each.recipe, each.dataset) == (recipe, dataset)]
        if not releases:
            raise StepError(
                f"No release of the recipe {recipe!r} on {dataset} stands in the stores. Make one with "
                f"`RECSYS_RECIPE={recipe} make offline sync`; the other recipe's stays loaded."
            )
        found[recipe] = releases[0]
    return found


def until_served(url: str, userids: Sequence[OwnId], release: str) -> None:
    """Wait until every worker of the server answers from a release. Raises StepError when they do not."""

    def requested() -> None:
        run = expect_answers(url, generate(url, userids, Loading(_REQUESTED // 2)))
        if any(answer.release != release for answer in run.answers):
            raise TryAgain

    again = retry_if_exception_type(TryAgain)
    try:
        Retrying(stop=stop_after_delay(_SWITCH_S), wait=wait_fixed(0.2), retry=again, reraise=True)(requested)
    except TryAgain as error:
        raise StepError(f"{url} does not answer from release {release} after {_SWITCH_S:.0f} s") from error


def measure_recipes(
    settings: Settings,
    url: str,
    userids: Sequence[OwnId],
    rounds: int,
    measured: Callable[[str], Levels],
) -> dict[str, Any]:
    """Measure both recipes in turns; ``measured`` measures a live release. Raises StepError."""
    loaded, live = loaded_releases(settings)
    releases = newest_releases(loaded, artifacts.DATASET.read(settings.exchange_dir)["name"])
    taken: dict[str, list[Levels]] = {recipe: [] for recipe in releases}
    try:
        for number in range(rounds):
            for recipe in in_turns(list(releases), number):
                activate(settings, releases[recipe])
                until_served(url, userids[:_REQUESTED], releases[recipe])
                taken[recipe].append(measured(releases[recipe]))
                log.info("%s, release %s: turn %d of %d", recipe, releases[recipe], number + 1, rounds)
    finally:
        activate(settings, live or releases[COMPARED])
    recipes = {recipe: {"release": releases[recipe], "levels": levels_of(turns)} for recipe, turns in taken.items()}
    return {"rounds": rounds, "recipes": recipes}


def main(settings: Settings) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m research.bench.serving", description="How fast the server answers."
    )
    parser.add_argument("--url", default=settings.server.url, help="default: %(default)s")
    parser.add_argument("--requests", type=int, default=1_000, help="of each level; default: %(default)s")
    parser.add_argument("--warm-up", type=int, default=300, help="requests before each level; default: %(default)s")
    parser.add_argument("--levels", type=int, nargs="+", default=[1, 4, 16, 64], help="requests in flight")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--recipes", action="store_true", help="both recipes' releases, in turns")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each level; default: %(default)s")
    parser.add_argument("--output", type=Path, help="default: pic/figures/serving.json, or serving_recipes.json")
    given = parser.parse_args()
    url, userids = given.url.rstrip("/"), known_userids(settings)
    server = ready(url)

    turns = count()

    def measured(release: str | None = None) -> Levels:
        levels = in_turns(given.levels, next(turns))  # every other turn descends
        return measure(url, Drawn(userids, given.seed), levels, given.requests, given.warm_up, release)

    if given.recipes:
        about = {"command": "make bench-recipes"}
        found = measure_recipes(settings, url, userids, given.rounds, measured)
    else:
        about = {"command": "make bench", "recipe": server["recipe"], "release": server["release"]}
        found = {"levels": levels_of([measured() for _ in range(given.rounds)])}
    output = given.output or FIGURES / f"serving{'_recipes' if given.recipes else ''}.json"
    draw = recommendations.recipes_speed if given.recipes else costs.serving
    publish(output, report(settings, server, about, found, url), draw)


if __name__ == "__main__":
    steps.run(main)
