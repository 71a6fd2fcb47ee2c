"""Hours in minutes: requests at a fixed rate, releases that take turns, and whether any process grows.

Two releases of the same models take turns; where the stores hold only one, its twin is made first. The release that was
live is live again at the end. Every process of the stack is looked at every few seconds; one whose memory is, at the
end, more than 5 % above what it was after the warm-up (two switches at least, so that each release has been opened
once) fails the run.

Reads   the live release; the server, over HTTP; /proc
Writes  pic/figures/soak.json
Run     make soak minutes=60, with the services up, a release live, and the server running
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table

from data_exchange_center import steps
from data_exchange_center.figures import FIGURES
from data_exchange_center.files import write_json
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from offline_to_online.releases import go_back
from research.bench.asking import Drawn, facts, known_userids, reaching, ready
from research.bench.generator import Answered, Generator, Target, generator
from research.bench.growth import AT_MOST, Sample, grown, growth, sample
from research.bench.levels import percentile_ms
from research.bench.processes import Part, parts_of
from research.measure.twin_release import two_releases

OUTPUT: Final = FIGURES / "soak.json"
_LOOKS_EVERY_S: Final = 2.0
_WARM_UP: Final = 0.3  # of the run, or two switches if those take longer


class Plan(NamedTuple):
    """Plan of a soak: minutes, rate, switches."""

    seconds: float
    per_s: float
    switch_every_s: float

    @property
    def warm_up_s(self) -> float:
        return max(_WARM_UP * self.seconds, 2 * self.switch_every_s)


class Soak:
    """The run: what came of the requests, and what the processes used."""

    def __init__(self, settings: Settings, releases: tuple[str, str], plan: Plan) -> None:
        self._settings, self._releases, self._plan = settings, releases, plan
        self.answers: list[Answered] = []
        self.samples: list[Sample] = []
        self.switches = 0

    def run(self, ask: Generator, target: Target, drawn: Drawn, parts: Mapping[str, Part]) -> None:
        """Raises StepError when a process ends, or a release cannot go live."""
        began = time.monotonic()
        with ThreadPoolExecutor(1) as asking:
            while (gone := time.monotonic() - began) < self._plan.seconds:
                switch_due = (self.switches + 1) * self._plan.switch_every_s
                until = min(switch_due, self._plan.seconds)
                users = drawn.next(max(1, int(self._plan.per_s * (until - gone))))
                requests = asking.submit(ask.fixed_rate, target, users, self._plan.per_s)
                while not requests.done():
                    self.samples.append(sample(parts, time.monotonic() - began))
                    time.sleep(_LOOKS_EVERY_S)
                self.answers += requests.result().answers
                if until == switch_due:
                    self._switch(asking, ask, target, drawn)

    def _switch(self, asking: ThreadPoolExecutor, ask: Generator, target: Target, drawn: Drawn) -> None:
        """The other release goes live while requests go on coming."""
        self.switches += 1
        requests = asking.submit(ask.fixed_rate, target, drawn.next(int(3 * self._plan.per_s)), self._plan.per_s)
        go_back(self._settings, self._releases[self.switches % 2])
        self.answers += requests.result().answers

    def figures(self, grows_at_most: float) -> dict[str, Any]:
        good = [answer for answer in self.answers if answer.ok]
        statuses = Counter(answer.status for answer in self.answers if not answer.ok)
        processes = growth(self.samples, self._plan.warm_up_s)
        return {
            "minutes": round(self._plan.seconds / 60, 1),
            "requests_per_s": self._plan.per_s,
            "switches": self.switches,
            "requests": len(self.answers),
            "errors": {str(status): count for status, count in sorted(statuses.items())},
            "degraded": sum(bool(answer.degraded) for answer in good),
            "releases": dict(Counter(answer.release for answer in good)),
            "of_neither_release": sum(answer.release not in self._releases for answer in good),
            "p50_ms": percentile_ms(good, 50),
            "p99_ms": percentile_ms(good, 99),
            "warm_up_s": self._plan.warm_up_s,
            "processes": processes,
            "grows_at_most": grows_at_most,
        }


def problems(figures: Mapping[str, Any]) -> list[str]:
    """Why the run fails: a sentence each."""
    found = grown(figures["processes"], figures["grows_at_most"])
    if figures["errors"]:
        found.append(f"of {figures['requests']} requests, so many by status were not answered: {figures['errors']}")
    if figures["of_neither_release"]:
        found.append(f"{figures['of_neither_release']} answers are of neither release")
    return found


def table(figures: Mapping[str, Any]) -> Table:
    shown = Table(box=box.SIMPLE, pad_edge=False)
    keys = ("process", "rss_mb", "rss_mb_at_end", "times", "threads", "threads_at_most", "open_files_at_most")
    for name in keys:
        shown.add_column(name, justify="right")
    for process in figures["processes"]:
        shown.add_row(*(str(process[key]) for key in keys))
    return shown


def main(settings: Settings) -> None:
    parser = argparse.ArgumentParser(prog="python -m research.measure.soak", description="Does anything grow?")
    parser.add_argument("--minutes", type=float, default=60.0, help="default: %(default)s")
    parser.add_argument("--rate", type=float, default=50.0, help="requests a second; default: %(default)s")
    parser.add_argument("--switch-every", type=float, default=120.0, help="seconds; default: %(default)s")
    parser.add_argument(
        "--grows-at-most", type=float, default=AT_MOST, help="times its memory after the warm-up; default: %(default)s"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    given = parser.parse_args()
    plan = Plan(given.minutes * 60, given.rate, given.switch_every)
    if plan.warm_up_s >= plan.seconds:
        raise StepError(f"{given.minutes:g} minutes are all warm-up: make it longer, or switch more often")
    url = settings.server.url
    with reaching(url):
        server = ready(url)
    live, other = two_releases(settings)
    soak = Soak(settings, (live, other), plan)
    try:
        with generator() as ask:
            soak.run(ask, Target(url), Drawn(known_userids(settings), given.seed), parts_of(settings))
    finally:
        go_back(settings, live)
    figures = soak.figures(given.grows_at_most)
    Console().print(table(figures))
    about = {"command": f"make soak minutes={given.minutes:g}", "recipe": server["recipe"]}
    found = problems(figures)
    write_json(given.output, {**about, **facts(settings, server["services"]), **figures, "holds": not found})
    if found:
        raise StepError("; ".join(found))


if __name__ == "__main__":
    steps.run(main)
