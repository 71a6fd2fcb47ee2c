"""Soak test: requests at a fixed rate, releases that take turns, and whether any process's memory grows (leaks).

Two releases of the same models take turns; where the stores hold only one, its twin is made first. The release that was
live is live again at the end. Every process of the stack is sampled every few seconds; one whose memory is, at the end,
more than 5 % above what it was after the warm-up (two switches at least, so that each release has been opened once)
fails the run. So does an alert on a target of service, from a Prometheus that scrapes the server meanwhile.

Reads   the live release; the server, over HTTP; /proc; the program `prometheus`
Writes  pic/figures/soak.json
Run     make soak minutes=60, with the services up, a release live, and the server running
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

import pandas as pd
import psutil
import requests

from data_exchange_center import artifacts, steps
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from extras.monitoring import __main__ as monitoring
from offline_to_online.releases import activate
from offline_to_online.stores.redis import RedisStore
from research import figures
from research.bench.load import (
    Answered,
    Ask,
    Drawn,
    Loading,
    generator,
    known_userids,
    percentile_ms,
    ready,
    report,
)
from research.bench.processes import Parts, of_each, parts_of
from stack.service import LOOPBACK

OUTPUT: Final = figures.FIGURES / "soak.json"
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
    """A run: the results of its requests, and samples of the processes."""

    def __init__(
        self, settings: Settings, releases: tuple[str, str], plan: Plan
    ) -> None:
        self._settings, self._releases, self._plan = settings, releases, plan
        self.answers: list[Answered] = []
        # of the requests between two switches, without those during one
        self.p99s_ms: list[float] = []
        self.samples: list[dict[str, Any]] = []
        self.switches = 0

    def run(self, ask: Ask, drawn: Drawn, parts: Parts) -> None:
        """Raises StepError when a process ends, or a release cannot go live."""
        url, per_s = self._settings.server.url, self._plan.per_s
        began = time.monotonic()
        with ThreadPoolExecutor(1) as asking:
            while (gone := time.monotonic() - began) < self._plan.seconds:
                switch_due = (self.switches + 1) * self._plan.switch_every_s
                until = min(switch_due, self._plan.seconds)
                users = drawn.next(max(1, int(per_s * (until - gone))))
                load = asking.submit(ask, url, users, Loading(per_s=per_s))
                while not load.done():
                    self.samples += sample(parts, time.monotonic() - began)
                    time.sleep(_LOOKS_EVERY_S)
                self.answers += load.result().answers
                if load.result().good:
                    self.p99s_ms.append(load.result().percentile_ms(99))
                if (
                    until == switch_due
                ):  # the other release goes live while requests go on coming
                    self.switches += 1
                    load = asking.submit(
                        ask, url, drawn.next(int(3 * per_s)), Loading(per_s=per_s)
                    )
                    activate(self._settings, self._releases[self.switches % 2])
                    self.answers += load.result().answers

    def figures(self, grows_at_most: float) -> dict[str, Any]:
        good = [answer for answer in self.answers if answer.ok]
        statuses = Counter(answer.status for answer in self.answers if not answer.ok)
        return {
            "minutes": round(self._plan.seconds / 60, 1),
            "requests_per_s": self._plan.per_s,
            "switches": self.switches,
            "requests": len(self.answers),
            "failed": sum(statuses.values()),
            "errors": {
                str(status): count for status, count in sorted(statuses.items())
            },
            "degraded": sum(bool(answer.degraded) for answer in good),
            "releases": dict(Counter(answer.release for answer in good)),
            "of_neither_release": sum(
                answer.release not in self._releases for answer in good
            ),
            "p50_ms": percentile_ms(good, 50),
            "p99_ms": percentile_ms(good, 99),
            "turns": {"p99_ms": self.p99s_ms},
            "warm_up_s": self._plan.warm_up_s,
            "processes": growth(self.samples, self._plan.warm_up_s),
            "grows_at_most": grows_at_most,
        }


def problems(measured: Mapping[str, Any]) -> list[str]:
    """Why the run fails: a sentence each."""
    found = [
        f"{each['process']} has grown from {each['rss_mb']:.1f} MB to {each['rss_mb_at_end']:.1f} MB"
        for each in measured["processes"]
        if each["times"] > measured["grows_at_most"]
    ]
    if measured["errors"]:
        found.append(
            f"some of {measured['requests']} requests failed; number by status: {measured['errors']}"
        )
    if measured["of_neither_release"]:
        found.append(
            f"{measured['of_neither_release']} answers come from neither release"
        )
    if measured["alerts"]:
        found.append(f"targets of service are missed: {', '.join(measured['alerts'])}")
    return found


# --- Alerts on targets of service


@contextmanager
def prometheus(settings: Settings) -> Iterator[str]:
    """A Prometheus with the project's alerts that scrapes the server; its URL. Raises StepError."""
    if shutil.which("prometheus") is None:
        raise StepError("Prometheus watches the soak: apt install prometheus")
    with TemporaryDirectory(prefix="recsys-soak-") as folder:
        own = settings.model_copy(update={"exchange_dir": Path(folder)})
        command = monitoring.command(own, monitoring.write(own))
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            port = monitoring.MonitoringSettings.load().prometheus_port
            yield f"http://{LOOPBACK}:{port}"
        finally:
            process.terminate()
            process.wait()


def fired(url: str, missed: Sequence[str]) -> list[str]:
    """Targets of service whose alert has fired, with its long window, but for those that are known to be missed.

    Raises StepError where none was watched.
    """

    def query(expression: str) -> list[dict[str, str]]:
        answer = requests.get(
            f"{url}/api/v1/query", params={"query": expression}, timeout=30
        )
        answer.raise_for_status()
        return [each["metric"] for each in answer.json()["data"]["result"]]

    if not query("recsys:bad_share:rate5m"):
        raise StepError("Prometheus has recorded nothing of the server")
    alerts = f'ALERTS{{alertname="{monitoring.BUDGET_ALERT}", alertstate="firing"}}'
    found = query(f"count_over_time({alerts}[1d])")
    return [
        f"{each['objective']} ({each['window']})"
        for each in found
        if each["objective"] not in missed
    ]


# --- Growth of processes: samples and the verdict


AT_MOST: Final = 1.05  # times what it was after the warm-up
_WINDOW: Final = 0.2  # of the samples after the warm-up: the first ones are compared with the last ones


def sample(parts: Parts, at_s: float) -> list[dict[str, Any]]:
    """Resources of every process, ``at_s`` seconds into the run. Raises StepError when a process has ended."""

    def use(process: psutil.Process) -> dict[str, Any]:
        with process.oneshot():
            rss_mb, threads = process.memory_info().rss / 2**20, process.num_threads()
            return {
                "at_s": at_s,
                "rss_mb": rss_mb,
                "threads": threads,
                "open_files": process.num_fds(),
            }

    uses = of_each(parts, use).items()
    return [
        {"process": f"{name} {number}", **one}
        for name, of in uses
        for number, one in enumerate(of, start=1)
    ]


def growth(
    samples: Sequence[Mapping[str, Any]], warm_up_s: float
) -> list[dict[str, Any]]:
    """Medians of each process's first samples after the warm-up, and of its last ones."""
    table = pd.DataFrame(samples)
    found = []
    for process, uses in table[table["at_s"] >= warm_up_s].groupby(
        "process", sort=False
    ):
        window = max(1, round(_WINDOW * len(uses)))
        first, last = (
            float(some.median())
            for some in (uses["rss_mb"][:window], uses["rss_mb"][-window:])
        )
        found.append(
            {
                "process": process,
                "rss_mb": round(first, 1),
                "rss_mb_at_end": round(last, 1),
                "times": round(last / first, 3),
                "threads": int(uses["threads"].iloc[0]),
                "threads_at_most": int(uses["threads"].max()),
                "open_files_at_most": int(uses["open_files"].max()),
            }
        )
    return found


# --- A second release that can take turns with the live one


@contextmanager
def one_user_changed(settings: Settings) -> Iterator[Settings]:
    """Settings with an exchange folder whose artifacts are these, except for one user's preferred genres.

    It is a temporary folder of links: what is written for the services lands where they read it, and of the artifacts
    only the table that differs is new.
    """
    with TemporaryDirectory(prefix="recsys-soak-") as folder:
        twin = settings.model_copy(update={"exchange_dir": Path(folder)})
        twin.release_dir.symlink_to(settings.release_dir)
        twin.service_dir("").symlink_to(settings.service_dir(""))
        twin.offline_dir.mkdir()
        for path in (settings.artifacts_dir / "offline").iterdir():
            (twin.offline_dir / path.name).symlink_to(path)
        preferences = artifacts.USER_PREFERENCES.read(settings.artifacts_dir)
        genres = [[], *preferences["genres"].iloc[1:]]
        artifacts.USER_PREFERENCES.write(
            twin.exchange_dir, preferences.assign(genres=genres)
        )
        yield twin


def two_releases(settings: Settings) -> tuple[str, str]:
    """The live release and another one in the stores. Where there is none, it is made, checked and published like any.

    Raises StepError.
    """
    store = RedisStore(settings)
    live, published = store.listed()
    if live is None:
        raise StepError("no release is live: run `make sync` first")
    others = [release for release in published if release != live]
    if not others:
        with one_user_changed(settings) as twin:
            environment = {**os.environ, "RECSYS_EXCHANGE_DIR": str(twin.exchange_dir)}
            if subprocess.run(
                ("make", "publish"), cwd=figures.ROOT, env=environment, check=False
            ).returncode:
                raise StepError("the second release could not be loaded: see above")
        others = store.listed()[1][:1]
    return live, others[0]


# --- The command


def main(settings: Settings) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m research.bench.soak", description="Does anything grow?"
    )
    parser.add_argument(
        "--minutes", type=float, default=60.0, help="default: %(default)s"
    )
    parser.add_argument(
        "--rate",
        type=float,
        default=50.0,
        help="requests a second; default: %(default)s",
    )
    parser.add_argument(
        "--switch-every",
        type=float,
        default=120.0,
        help="seconds; default: %(default)s",
    )
    parser.add_argument(
        "--grows-at-most",
        type=float,
        default=AT_MOST,
        help="times its memory after the warm-up; default: %(default)s",
    )
    parser.add_argument(
        "--slow",
        action="store_true",
        help="a busy machine, which misses the target of latency",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    given = parser.parse_args()
    plan = Plan(given.minutes * 60, given.rate, given.switch_every)
    if plan.warm_up_s >= plan.seconds:
        raise StepError(
            f"{given.minutes:g} minutes are all warm-up: make it longer, or switch more often"
        )
    server = ready(settings.server.url)
    live, other = two_releases(settings)
    soak = Soak(settings, (live, other), plan)
    drawn = Drawn(known_userids(settings), given.seed)
    try:
        with generator() as ask, prometheus(settings) as watching:
            soak.run(ask, drawn, parts_of(settings))
            alerts = fired(watching, ["latency"] if given.slow else [])
    finally:
        activate(settings, live)
    measured = {**soak.figures(given.grows_at_most), "alerts": alerts}
    about = {
        "command": f"make soak minutes={given.minutes:g}",
        "recipe": server["recipe"],
    }
    found = problems(measured)
    figures.write(
        given.output, report(settings, server, about, {**measured, "holds": not found})
    )
    figures.show(measured["processes"])
    if found:
        raise StepError("; ".join(found))


if __name__ == "__main__":
    steps.run(main)
