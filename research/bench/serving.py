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
    Loading,
    Target,
    Turn,
    expect_answers,
    facts,
    generate,
    generator,
    known_userids,
    reaching,
    ready,
    summary,
    take_turn,
)


def table(levels: Sequence[Mapping[str, Any]]) -> Table:
    """Times in ms; the stages' are the server's medians, and overlap."""
    shown = Table(box=box.SIMPLE, pad_edge=False)
    for name in ("in flight", "answered", "degraded", "refused", "requests/s", "p50", "p99", *STAGES):
        shown.add_column(name, justify="right", overflow="fold")
    for level in levels:
        counts = (level[name] for name in ("concurrency", "answered", "degraded", "refused"))
        times = (level[name] for name in ("requests_per_s", "p50_ms", "p99_ms"))
        stages = (level["stage_p50_ms"].get(stage, "-") for stage in STAGES)
        shown.add_row(*map(str, (*counts, *times, *stages)))
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

    def measure(self, release: str | None = None) -> dict[int, Turn]:
        """Requests in flight -> a turn, from a process that does nothing else.

        Raises StepError where more than one in a hundred is not answered, or one from another release.
        """
        drawn, target = Drawn(self.userids, self.seed), Target(self.url)
        taken = {}
        with generator() as ask:
            for level in self.levels:
                turn = take_turn(ask, target, {}, Loading(level), drawn, self.requests, warm_up=self.warm_up)
                good = turn.run.good
                if others := {answer.release for answer in good} - {release or good[0].release}:
                    raise StepError(f"{self.url} answered from release {', '.join(sorted(others))}, too")
                taken[level] = turn
        return taken


def levels_of(rounds: Sequence[Mapping[int, Turn]]) -> list[dict[str, Any]]:
    """Sum the rounds of a server up, level by level."""
    return [{"concurrency": level, **summary([each[level] for each in rounds])} for level in rounds[0]]


# --- Both recipes, in turns


BASELINE, COMPARED = SOURCE.name, DEFAULT.name
_SWITCH_S = 60.0  # until every worker serves a release that has gone live
_ASKED = 32  # requests, over connections enough for every worker to get some

Rounds = list[dict[int, Turn]]  # of one recipe: requests in flight -> a turn, round by round


class Loaded(NamedTuple):
    """A release in the stores."""

    release: str
    recipe: str
    dataset: str


def loaded_releases(settings: Settings) -> tuple[list[Loaded], str | None]:
    """Releases in the stores, the newest activation first, and the live one. Raises StepError."""
    store = RedisStore(settings)
    manifests = [(release, store.published(release).manifest) for release in store.activated()]
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


def take_turns(recipes: Sequence[str], rounds: int, measured: Callable[[str], dict[int, Turn]]) -> dict[str, Rounds]:
    """Every recipe once a round, in the opposite order every other round."""
    taken: dict[str, Rounds] = {recipe: [] for recipe in recipes}
    for number in range(rounds):
        for recipe in recipes if number % 2 == 0 else reversed(recipes):
            taken[recipe].append(measured(recipe))
    return taken


def comparison(taken: Mapping[str, Rounds], releases: Mapping[str, str]) -> dict[str, Any]:
    """Every recipe's levels, with each round's p50, and how many times the baseline's p50 the other's is."""
    found: dict[str, Any] = {
        recipe: {
            "release": releases[recipe],
            "levels": [
                {**level, "p50_ms_of_rounds": [each[level["concurrency"]].p50_ms for each in rounds]}
                for level in levels_of(rounds)
            ],
        }
        for recipe, rounds in taken.items()
    }
    pairs = zip(found[BASELINE]["levels"], found[COMPARED]["levels"], strict=True)
    ratio = {str(base["concurrency"]): round(other["p50_ms"] / base["p50_ms"], 3) for base, other in pairs}
    return {"rounds": len(taken[BASELINE]), "recipes": found, "p50_ratio": ratio}


def measure_recipes(settings: Settings, load: Load, rounds: int, console: Console) -> dict[str, Any]:
    """Both recipes, in turns. Raises StepError."""
    loaded, live = loaded_releases(settings)
    releases = newest_releases(loaded, artifacts.DATASET.read(settings.exchange_dir)["name"])

    def measured(recipe: str) -> dict[int, Turn]:
        go_back(settings, releases[recipe])
        until_served(load.url, load.userids, releases[recipe])
        taken = load.measure(releases[recipe])
        console.print(f"{recipe}, release {releases[recipe]}", table(levels_of([taken])))
        return taken

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
            levels = levels_of([load.measure()])
            console.print(table(levels))
            measured = {"levels": levels}
    output = given.output or FIGURES / f"serving{'_recipes' if given.recipes else ''}.json"
    write_figure(output, {**about, **facts(settings, server["services"]), **measured}, CODE)


if __name__ == "__main__":
    steps.run(main)
