"""Compare the server's speed with one recipe and with the other, in one run: the releases take turns.

The newest release of each recipe that stands in the stores is put live (`make releases` lists them), measured as
`make bench` measures, and exchanged for the other, several times over; so background load affects both equally.
Whatever was live before is live again at the end.

Reads   the releases in the stores; data_exchange_center/offline/user_seen.parquet; the server, over HTTP
Writes  pic/figures/serving_recipes.json
Run     make bench-recipes, or python -m research.measure.recipes [--rounds 3] [--requests 1000] ...
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from tenacity import Retrying, TryAgain, retry_if_exception_type, stop_after_delay, wait_fixed

from data_exchange_center import artifacts, steps
from data_exchange_center.dataset import OwnId
from data_exchange_center.figures import FIGURES
from data_exchange_center.files import write_json
from data_exchange_center.recipes import DEFAULT, SOURCE
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from offline_to_online.releases import go_back
from offline_to_online.stores.redis import RedisStore
from research.bench.asking import facts, parse_load, reaching, ready
from research.bench.generator import Target, expect_answers, generate
from research.bench.levels import Level, table

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


def main(settings: Settings) -> None:
    parser = argparse.ArgumentParser(prog="python -m research.measure.recipes", description="Both recipes, in turns.")
    parser.add_argument("--rounds", type=int, default=3, help="of both recipes; default: %(default)s")
    parser.add_argument("--output", type=Path, default=FIGURES / "serving_recipes.json")
    arguments, asking = parse_load(settings, parser)
    loaded, live = loaded_releases(settings)
    releases = newest_releases(loaded, artifacts.DATASET.read(settings.exchange_dir)["name"])
    console = Console()

    def measured(recipe: str) -> list[Level]:
        go_back(settings, releases[recipe])
        until_served(asking.url, asking.userids, releases[recipe])
        levels = asking.measure(releases[recipe])
        console.print(f"{recipe}, release {releases[recipe]}", table(levels))
        return levels

    with reaching(asking.url):
        about = facts(settings, ready(asking.url)["services"])
        try:
            taken = take_turns((BASELINE, COMPARED), arguments.rounds, measured)
        finally:
            go_back(settings, live or releases[COMPARED])
    figures = comparison(taken, releases)
    console.print(f"{COMPARED}'s p50 over {BASELINE}'s, by requests in flight: {figures['p50_ratio']}")
    write_json(arguments.output, {"command": "make bench-recipes", **about, **figures})


if __name__ == "__main__":
    steps.run(main)
