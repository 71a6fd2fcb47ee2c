"""Benchmark the server: requests per second, p50, p99 and the median of each stage, at several concurrencies.

The load comes from a process of its own, over kept-alive connections, for real users drawn at random, a different one
for each request (the server caches no answer). They are as anybody sends them, at once after each answer: what is
answered, degraded and refused is counted. The server and the four services have to be up.

With --recipes the newest release of each recipe that stands in the stores (`make releases` lists them) is put live,
measured, and exchanged for the other's, several times over; so background load affects both equally. Whatever was live
before is live again at the end.

Reads   data_exchange_center/offline/user_seen.parquet, users.parquet (who the users are); the server, over HTTP
Writes  pic/figures/serving.json; with --recipes pic/figures/serving_recipes.json
Run     make bench, make bench-recipes, or python -m research.bench.serving [--requests 1000] [--levels 1 4 16 64] ...
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from tenacity import Retrying, TryAgain, retry_if_exception_type, stop_after_delay, wait_fixed

from data_exchange_center import artifacts, steps
from data_exchange_center.dataset import OwnId
from data_exchange_center.figures import FIGURES, write_figure
from data_exchange_center.recipes import DEFAULT, SOURCE
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from offline_to_online.releases import go_back
from offline_to_online.stores.redis import RedisStore
from research.bench.load import (
    CODE,
    STAGES,
    Drawn,
    Run,
    Target,
    expect_answers,
    facts,
    generate,
    generator,
    known_userids,
    percentile_ms,
    reaching,
    ready,
    stage_medians_ms,
)


@dataclass(frozen=True)
class Level:
    """Measurements at one concurrency."""

    concurrency: int
    requests: int
    answered: int  # with a list, whole or not
    degraded: int  # of those
    refused: int  # 503
    requests_per_s: float  # answered; so are the times
    p50_ms: float
    p99_ms: float
    stage_p50_ms: dict[str, float]


def summarise(concurrency: int, run: Run) -> Level:
    """Medians and the 99th percentile over what was answered at a level."""
    good = run.good
    return Level(
        concurrency=concurrency,
        requests=len(run.answers),
        answered=len(good),
        degraded=run.degraded,
        refused=run.refused,
        requests_per_s=round(len(good) / run.seconds, 1),
        p50_ms=percentile_ms(good, 50),
        p99_ms=percentile_ms(good, 99),
        stage_p50_ms=stage_medians_ms(good),
    )


def table(levels: Sequence[Level]) -> Table:
    """Times in ms; the stages' are the server's medians, and overlap."""
    shown = Table(box=box.SIMPLE, pad_edge=False)
    for name in ("in flight", "answered", "degraded", "refused", "requests/s", "p50", "p99", *STAGES):
        shown.add_column(name, justify="right", overflow="fold")
    for level in levels:
        stages = (f"{level.stage_p50_ms.get(stage, float('nan')):.1f}" for stage in STAGES)
        figures = (f"{level.requests_per_s:.1f}", f"{level.p50_ms:.1f}", f"{level.p99_ms:.1f}")
        counts = (level.concurrency, level.answered, level.degraded, level.refused)
        shown.add_row(*map(str, counts), *figures, *stages)
    return shown


@dataclass(frozen=True)
class Load:
    """Load on the server at ``url``: requests of random ``userids`` at several concurrencies."""

    url: str
    userids: Sequence[OwnId]
    levels: Sequence[int]  # requests in flight
    requests: int  # of each level
    warm_up: int  # requests before each level
    seed: int

    def measure(self, release: str | None = None) -> list[Level]:
        """Each level after a warm-up at its own concurrency, from a process that does nothing else.

        Raises StepError where more than one in a hundred is not answered, or one from another release.
        """
        drawn, target = Drawn(self.userids, self.seed), Target(self.url)
        measured = []
        with generator() as ask:
            for concurrency in self.levels:
                expect_answers(target, ask.closed(target, drawn.next(max(self.warm_up, concurrency)), concurrency))
                run = ask.closed(target, drawn.next(max(self.requests, concurrency)), concurrency)
                expect_answers(target, run)
                if others := {answer.release for answer in run.good} - {release or run.good[0].release}:
                    raise StepError(f"{self.url} answered from release {', '.join(sorted(others))}, too")
                measured.append(summarise(concurrency, run))
        return measured


# --- Both recipes, in turns


BASELINE, COMPARED = SOURCE.name, DEFAULT.name
_SWITCH_S = 60.0  # until every worker serves a release that has gone live
_ASKED = 32  # requests, over connections enough for every worker to get some

Rounds = list[list[Level]]  # of one recipe: its levels, round by round


class Loaded(NamedTuple):
    """A release in the stores."""

    release: str
    recipe: str
    dataset: str


def loaded_releases(settings: Settings) -> tuple[list[Loaded], str | None]:
    """Releases in the stores, the newest activation first, and the live one. Raises StepError."""
    store = RedisStore(settings)
    manifests = [(release, store.published(release).manifest) for release in store.history()]
    found = [Loaded(release, manifest.recipe.name, manifest.dataset.name) for release, manifest in manifests]
    return found, store.live()


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
    target = Target(url)

    def asked() -> None:
        run = expect_answers(target, generate(target, userids[:_ASKED], in_flight=_ASKED // 2))
        if any(answer.release != release for answer in run.answers):
            raise TryAgain

    again = retry_if_exception_type(TryAgain)
    try:
        Retrying(stop=stop_after_delay(_SWITCH_S), wait=wait_fixed(0.2), retry=again, reraise=True)(asked)
    except TryAgain as error:
        raise StepError(f"{url} does not answer from release {release} after {_SWITCH_S:.0f} s") from error


def take_turns(recipes: Sequence[str], rounds: int, measured: Callable[[str], list[Level]]) -> dict[str, Rounds]:
    """Every recipe once a round, in the opposite order every other round."""
    taken: dict[str, Rounds] = {recipe: [] for recipe in recipes}
    for turn in range(rounds):
        for recipe in recipes if turn % 2 == 0 else reversed(recipes):
            taken[recipe].append(measured(recipe))
    return taken


def middle(levels: Sequence[Level]) -> Level:
    """The medians of one concurrency's rounds."""

    def median(values: Sequence[float]) -> float:
        return round(float(np.median(values)), 2)

    return Level(
        concurrency=levels[0].concurrency,
        **{
            name: sum(getattr(level, name) for level in levels)
            for name in ("requests", "answered", "degraded", "refused")
        },
        requests_per_s=median([level.requests_per_s for level in levels]),
        p50_ms=median([level.p50_ms for level in levels]),
        p99_ms=median([level.p99_ms for level in levels]),
        stage_p50_ms={
            stage: median([level.stage_p50_ms[stage] for level in levels]) for stage in levels[0].stage_p50_ms
        },
    )


def comparison(taken: Mapping[str, Rounds], releases: Mapping[str, str]) -> dict[str, Any]:
    """Medians over the rounds, each round's p50, and how many times the baseline's p50 the other's is."""
    middles = {recipe: [middle(level) for level in zip(*rounds, strict=True)] for recipe, rounds in taken.items()}
    p50s = {
        recipe: [[level.p50_ms for level in levels] for levels in zip(*rounds, strict=True)]
        for recipe, rounds in taken.items()
    }
    pairs = zip(middles[BASELINE], middles[COMPARED], strict=True)
    return {
        "rounds": len(taken[BASELINE]),
        "recipes": {
            recipe: {
                "release": releases[recipe],
                "levels": [
                    {**vars(level), "p50_ms_of_rounds": of_rounds}
                    for level, of_rounds in zip(middles[recipe], p50s[recipe], strict=True)
                ],
            }
            for recipe in taken
        },
        "p50_ratio": {str(base.concurrency): round(other.p50_ms / base.p50_ms, 3) for base, other in pairs},
    }


def measure_recipes(settings: Settings, load: Load, rounds: int, console: Console) -> dict[str, Any]:
    """Both recipes, in turns. Raises StepError."""
    loaded, live = loaded_releases(settings)
    releases = newest_releases(loaded, artifacts.DATASET.read(settings.exchange_dir)["name"])

    def measured(recipe: str) -> list[Level]:
        go_back(settings, releases[recipe])
        until_served(load.url, load.userids, releases[recipe])
        levels = load.measure(releases[recipe])
        console.print(f"{recipe}, release {releases[recipe]}", table(levels))
        return levels

    try:
        taken = take_turns((BASELINE, COMPARED), rounds, measured)
    finally:
        go_back(settings, live or releases[COMPARED])
    figures = comparison(taken, releases)
    console.print(f"{COMPARED}'s p50 over {BASELINE}'s, by requests in flight: {figures['p50_ratio']}")
    return figures


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
    parser.add_argument("--rounds", type=int, default=3, help="of both recipes; default: %(default)s")
    parser.add_argument("--output", type=Path, help="default: pic/figures/serving.json, or serving_recipes.json")
    given = parser.parse_args()
    userids, console = known_userids(settings), Console()
    load = Load(given.url.rstrip("/"), userids, given.levels, given.requests, given.warm_up, given.seed)
    with reaching(load.url):
        server = ready(load.url)
        if given.recipes:
            about: dict[str, Any] = {"command": "make bench-recipes"}
            measured = measure_recipes(settings, load, given.rounds, console)
        else:
            about = {"command": "make bench", "recipe": server["recipe"], "release": server["release"]}
            levels = load.measure()
            console.print(table(levels))
            measured = {"levels": [vars(level) for level in levels]}
    output = given.output or FIGURES / f"serving{'_recipes' if given.recipes else ''}.json"
    write_figure(output, {**about, **facts(settings, server["services"]), **measured}, CODE)


if __name__ == "__main__":
    steps.run(main)
