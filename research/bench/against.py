"""Compare this checkout's server with that of another commit, in one run on one machine.

The other commit gets a worktree and an environment of its own. Its server uses the same services and release if the
code that makes these is the same; otherwise it has services and a release of its own. Processes that only the other
server needs are paused (SIGSTOP). The turns alternate, over several rounds, so background load hits both.

Closed loop at several numbers of requests in flight, and a fixed rate (`research.bench.load`), of plain requests;
answered, degraded and refused ones are counted. Before the first turn both get requests until their Elasticsearch is
warm. A commit that cannot use this one's artifacts is trained with its own code first, unless --exchange names a folder
where that has been done.

Reads   data_exchange_center/offline/user_seen.parquet, users.parquet; both servers, over HTTP; /proc
Writes  pic/figures/serving_against.json
Run     make bench against=<commit> [exchange=<folder>] [keep=1], with the services up and a release live; or
        make bench gate=1, which fails where a request costs more than a tenth more, and names the stage that grew
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import signal
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from data_exchange_center import artifacts, steps
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from research import figures
from research.bench.load import (
    ANSWERED,
    Ask,
    Drawn,
    Loading,
    Run,
    becomes_ready,
    generator,
    in_turns,
    known_userids,
    ready,
    report,
    searches,
    summary,
    take_turn,
)
from research.bench.processes import Parts, held, on_free_ports, parts_of
from stack.service import environment_of

log = logging.getLogger(__name__)

OUTPUT: Final = figures.FIGURES / "serving_against.json"
THIS, OTHER = "this", "other"
_LEVELS, _RATES = [1, 4, 16, 64], [50.0]
_MIN_ANSWERED = 0.002  # share of a turn's requests: one; a commit that refuses most under load is a result, too
_WARM: Final = 20_000  # searches, after which Elasticsearch's JVM has compiled most of what a request runs
_GATED = [1, 4]  # where more is in flight, a request's time is mostly waiting


class Side(NamedTuple):
    """A server that is measured, and the processes of its stack."""

    url: str
    parts: Parts


def take_turns(
    ask: Ask,
    sides: Mapping[str, Side],
    loadings: Sequence[Loading],
    drawn: Drawn,
    requests: int,
    rounds: int,
) -> list[dict[str, list[Run]]]:
    """Level -> side -> its turns, one per round. Meanwhile processes that only the other side needs are paused."""
    taken: list[dict[str, list[Run]]] = [{name: [] for name in sides} for _ in loadings]
    for number in range(rounds):
        for loading, turns in in_turns(list(zip(loadings, taken, strict=True)), number):
            for name in in_turns(list(sides), number):
                url, parts = sides[name]
                others = {
                    part: of
                    for side in sides.values()
                    for part, of in side.parts.items()
                    if of != parts[part]
                }
                with held(others):
                    turns[name].append(
                        take_turn(
                            ask,
                            url,
                            parts,
                            loading,
                            drawn,
                            requests,
                            at_least=_MIN_ANSWERED,
                        )
                    )
    return taken


def warm_up(ask: Ask, url: str, settings: Settings, drawn: Drawn) -> None:
    """Send requests until Elasticsearch has answered `_WARM` searches: just started it is several times slower.

    Raises StepError where requests make it search nothing.
    """
    while (before := searches(settings)) < _WARM:
        ask(url, drawn.next(400), Loading(_GATED[-1]))
        if searches(settings) == before:
            raise StepError(
                f"{url} answers without a search of Elasticsearch: is it ready?"
            )


# --- Both sides' costs of a request, and their ratios


_COMPARED: Final[Mapping[str, Callable[[Run], float]]] = {
    "requests_per_s": lambda turn: turn.requests_per_s,
    "p50_ms": lambda turn: turn.percentile_ms(50),
    "processor_ms": lambda turn: turn.processor_ms,
    "p99_ms": lambda turn: turn.percentile_ms(99),
}


def ratios(this: Sequence[Run], other: Sequence[Run]) -> dict[str, Any]:
    """Ratio to the other side: the median over pairs of neighbouring turns, which background load hits alike.

    The 99th percentiles are those of all turns together. ``turns`` has the ratio of each pair.
    """
    pairs = list(zip(this, other, strict=True))
    turns = {
        name: [round(of(mine) / of(theirs), 3) for mine, theirs in pairs]
        for name, of in _COMPARED.items()
    }
    medians = {name: round(statistics.median(each), 3) for name, each in turns.items()}
    together = round(summary(this)["p99_ms"] / summary(other)["p99_ms"], 3)
    return {**medians, "p99_ms": together, "turns": turns}


def comparison(
    loadings: Sequence[Loading], taken: Sequence[Mapping[str, Sequence[Run]]]
) -> list[dict[str, Any]]:
    """Both sides at each level, and this one's ratios to the other. ``taken``: as `take_turns` gives it."""
    return [
        {
            "level": loading.name,
            **{side: summary(of) for side, of in turns.items()},
            "ratio": ratios(turns[THIS], turns[OTHER]),
        }
        for loading, turns in zip(loadings, taken, strict=True)
    ]


# --- The gate: requests that cost more than before


AT_MOST: Final = 1.1  # times the other's p50 and processor time
MORE: Final = 0.01  # share of requests that may be degraded beyond the other's
_JUDGED: Final = {
    "p50_ms": ("p50", "stage_p50_ms"),
    "processor_ms": ("processor time", "processor_ms"),
}
_SUMS: Final = ("all", "total")


def grown(
    levels: Sequence[Mapping[str, Any]], this: str, other: str, at_most: float = AT_MOST
) -> list[str]:
    """A sentence for each level and each figure that is more than ``at_most`` times the other's: empty, if none is.

    Each names the stage, or the process, that grew most in milliseconds.
    """
    found = []
    for level in levels:
        for key, (name, by_stage) in _JUDGED.items():
            ratio = level["ratio"][key]
            if ratio > at_most:
                stage, before, after = _most_grown(
                    level[other][by_stage], level[this][by_stage]
                )
                found.append(
                    f"{level['level']}: {name} is {ratio:.2f} times what it was (at most {at_most:g}); most of it: "
                    f"{stage}, {before:.2f} ms before, {after:.2f} ms now"
                )
        mine, theirs = _share_degraded(level[this]), _share_degraded(level[other])
        if mine > theirs + MORE:
            found.append(
                f"{level['level']}: {mine:.1%} of the answers are degraded, {theirs:.1%} were"
            )
    return found


def unanswered(levels: Sequence[Mapping[str, Any]], this: str) -> list[str]:
    """A sentence for each level at which less than `ANSWERED` of the requests was answered: that is no result."""
    return [
        f"{level['level']}: {of['refused']} requests were refused and {of['failed']} failed, {of['answered']} answered"
        for level in levels
        if (of := level[this])["answered"]
        < ANSWERED * (of["answered"] + of["refused"] + of["failed"])
    ]


def _share_degraded(side: Mapping[str, Any]) -> float:
    return float(side["degraded"] / side["answered"])


def _most_grown(
    before: Mapping[str, float], after: Mapping[str, float]
) -> tuple[str, float, float]:
    """The stage that grew most; the sum, if both sides share no stage."""
    known = [stage for stage in after if stage in before and stage not in _SUMS] or [
        s for s in _SUMS if s in after
    ]
    stage = max(known, key=lambda name: after[name] - before.get(name, 0.0))
    return stage, before.get(stage, 0.0), after[stage]


# --- Another commit, run next to this checkout


_READY_WITHIN_S: Final = 60.0  # beyond what its own command waits
# Code that the services run, or that writes what they hold; not the server's own.
_OF_THE_SERVICES: Final = (
    "data_exchange_center",
    "offline_to_online/onnx_export.py",
    "offline_to_online/rows.py",
    "offline_to_online/stores",
    "offline_to_online/releases.py",
    "stack",
    "requirements.txt",
    ":(exclude)*.md",
)
# Variables that an outer make passes on, or that let Python find other code before the checkout's.
_NOT_PASSED_ON: Final = (
    "MAKEFLAGS",
    "MFLAGS",
    "MAKELEVEL",
    "MAKEOVERRIDES",
    "PYTHONPATH",
    "VIRTUAL_ENV",
)


def commit_of(ref: str) -> str:
    """Raises StepError for a ref that git does not know."""
    done = _git("rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}")
    if done.returncode:
        raise StepError(
            f"git knows no commit {ref!r} here: name a branch, a tag or a commit, or fetch it first"
        )
    return done.stdout.strip()


def before_this_branch() -> str:
    """The commit at which this branch left ``origin/main``; on that branch, or without it, the previous commit."""
    left = _git("merge-base", "origin/main", "HEAD").stdout.strip()
    return left if left and left != commit_of("HEAD") else commit_of("HEAD~1")


def same_services(commit: str) -> bool:
    """Whether the commit's server can use the services that run here: nothing they are made of has changed since."""
    return _git("diff", "--quiet", commit, "--", *_OF_THE_SERVICES).returncode == 0


def _git(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ("git", *arguments),
        cwd=figures.ROOT,
        check=False,
        capture_output=True,
        text=True,
    )


class OtherCheckout:
    """A commit in a git worktree, run by its own code with settings of its own.

    Args:
        exchange: its exchange folder, where it has been trained or even loaded before. None: a new one, with a copy of
            this checkout's artifacts.
        shares_services: its server uses the services that run here, for the release that is live in them.
    """

    def __init__(
        self,
        commit: str,
        settings: Settings,
        exchange: Path | None,
        *,
        shares_services: bool,
    ) -> None:
        self._commit, self._shares_services = commit, shares_services
        self._folder = settings.services_dir / "bench" / commit[:12]
        self._checkout = self._folder / "checkout"
        self._ours = settings.artifacts_dir
        self._artifacts = None if exchange else self._ours / "offline"
        own = {
            "exchange_dir": exchange or self._folder / "exchange",
            "services_dir": self._checkout / ".services",
        }
        moved = on_free_ports(settings)
        ports = (
            settings.model_copy(update={"server": moved.server})
            if shares_services
            else moved
        )
        self.settings = ports.model_copy(update=own)

    @contextmanager
    def running(self, *, keep: bool) -> Iterator[None]:
        """Run its server and services inside the block. ``keep``: its files stay for next time. Raises StepError."""
        if not self._checkout.exists():
            self._folder.mkdir(parents=True, exist_ok=True)
            done = _git(
                "worktree", "add", "--detach", str(self._checkout), self._commit
            )
            if done.returncode:
                raise StepError(
                    f"git could not check {self._commit[:12]} out: {done.stderr.strip()}"
                )
        try:
            if not (
                self._serve_alone() if self._shares_services else self._serve_all()
            ):
                raise StepError(
                    f"the server of {self._commit[:12]} did not become ready: see above"
                )
            if not self._shares_services:
                self._require_the_same_data()
            yield
        finally:
            if self._shares_services:
                self._stack("down")
            else:
                self._run("make", "down")
            if not keep:
                _git("worktree", "remove", "--force", str(self._checkout))
                shutil.rmtree(self._folder, ignore_errors=True)

    def _serve_alone(self) -> bool:
        """Start its server without installing the services' software, as ``make`` would."""
        self._make(".venv/.ready")
        return self._stack("serve")

    def _serve_all(self) -> bool:
        """Set up its environment, start its services, load its release, start its server.

        It is trained with its own code if it cannot use this checkout's artifacts.
        """
        offline = self.settings.offline_dir
        if self._artifacts is not None and not offline.exists():
            shutil.copytree(self._artifacts, offline)
        loaded = self.settings.service_dir("redis").exists()
        self._make("setup", "up")
        if loaded and self._serves():
            return True
        if self._artifacts is None:
            self._make("sync")
        elif not self._run("make", "sync"):
            log.warning(
                "%s cannot use this checkout's artifacts: it makes its own",
                self._commit[:12],
            )
            shutil.rmtree(offline)
            self._make("offline", "sync")
        return self._serves()

    def _require_the_same_data(self) -> None:
        """Raises StepError where it was trained on another data set: most users would be unknown users to it."""
        folders = self._ours, self.settings.exchange_dir
        ours, theirs = (artifacts.DATASET.read(folder)["name"] for folder in folders)
        if ours != theirs:
            raise StepError(
                f"{self._commit[:12]} was trained on {theirs}, this checkout's release on {ours}: delete "
                f"{self.settings.exchange_dir}, set RECSYS_DATA as it was for this release, and run this again"
            )

    def _serves(self) -> bool:
        return self._run("make", "serve") or becomes_ready(
            self.settings.server.url, _READY_WITHIN_S
        )

    def _stack(self, command: str) -> bool:
        return self._run(".venv/bin/python", "-m", "stack", command)

    def _make(self, *targets: str) -> None:
        if not self._run("make", *targets):
            raise StepError(
                f"`make {' '.join(targets)}` failed in {self._checkout}: see above"
            )

    def _run(self, *command: str) -> bool:
        """Run a command in its checkout. Returns whether it succeeded."""
        inherited = {
            name: value
            for name, value in os.environ.items()
            if name not in _NOT_PASSED_ON
        }
        environment = {**inherited, **environment_of(self.settings)}
        return (
            subprocess.run(
                command, cwd=self._checkout, env=environment, check=False
            ).returncode
            == 0
        )


# --- The command


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m research.bench.against",
        description="This server against another commit's, in turns.",
    )
    parser.add_argument(
        "commit",
        nargs="?",
        help="what git calls it; default: where this branch left origin/main",
    )
    parser.add_argument(
        "--exchange",
        type=Path,
        help="that commit's exchange folder, trained with its own code",
    )
    parser.add_argument(
        "--own-services",
        action="store_true",
        help="services for each server, whatever has changed",
    )
    parser.add_argument(
        "--keep",
        action="store_true",
        help="keep its worktree and its data for the next time",
    )
    parser.add_argument(
        "--levels",
        type=int,
        nargs="*",
        help=f"requests in flight; default: {_LEVELS}, {_GATED} as a gate",
    )
    parser.add_argument(
        "--rates",
        type=float,
        nargs="*",
        help=f"requests a second; default: {_RATES}, none as a gate",
    )
    parser.add_argument(
        "--requests",
        type=int,
        default=400,
        help="of a level's turn; default: %(default)s",
    )
    parser.add_argument("--rounds", type=int, default=4, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--gate",
        action="store_true",
        help=f"fail where something is over {AT_MOST:g} times its",
    )
    parser.add_argument(
        "--output", type=Path, help=f"default: {OUTPUT}; none as a gate"
    )
    given = parser.parse_args()
    given.commit = given.commit or before_this_branch()
    given.levels = given.levels or (_GATED if given.gate else _LEVELS)
    given.rates = given.rates or ([] if given.gate else _RATES)
    given.output = given.output or (None if given.gate else OUTPUT)
    return given


def main(settings: Settings) -> None:
    given = _arguments()
    # what is paused resumes, what was started stops
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    commit = commit_of(given.commit)
    loadings = [
        *(Loading(in_flight=level) for level in given.levels),
        *(Loading(per_s=rate) for rate in given.rates),
    ]
    drawn = Drawn(known_userids(settings), given.seed)
    shared = not given.own_services and given.exchange is None and same_services(commit)
    exchange = given.exchange.resolve() if given.exchange else None
    other = OtherCheckout(commit, settings, exchange, shares_services=shared)
    with other.running(keep=given.keep), generator() as ask:
        # This checkout's stack starts again, so that its own code answers, and as both have to be of one age: processes
        # that had run for half an hour took up to 1.4 times the processor time of new ones.
        if subprocess.run(
            ("make", *(() if shared else ("down", "up")), "serve"),
            cwd=figures.ROOT,
            check=False,
        ).returncode:
            raise StepError("this checkout's server did not start: see above")
        sides = {
            name: Side(of.server.url, parts_of(of))
            for name, of in ((THIS, settings), (OTHER, other.settings))
        }
        server = ready(settings.server.url)
        for of in (settings, other.settings):
            warm_up(ask, of.server.url, of, drawn)
        taken = take_turns(ask, sides, loadings, drawn, given.requests, given.rounds)
        warm = searches(other.settings)
    levels = comparison(loadings, taken)
    about = {
        "command": f"make bench against={given.commit}",
        "against": commit,
        "recipe": server["recipe"],
    }
    turns = {"rounds": given.rounds, "requests": given.requests, "levels": levels}
    measured = {"same_services": shared, "other_searches": warm, **turns}
    found = report(settings, server, about, measured)
    for side in (THIS, OTHER):
        figures.show({level["level"]: level[side] for level in levels}, side)
    figures.show(
        {level["level"]: level["ratio"] for level in levels}, "this, times the other"
    )
    if none := unanswered(levels, THIS):
        raise StepError("\n".join(("this is no result:", *none)))
    if given.output:
        figures.write(given.output, found)
    if given.gate and (problems := grown(levels, THIS, OTHER)):
        raise StepError("\n".join((f"dearer than {given.commit}:", *problems)))


if __name__ == "__main__":
    steps.run(main)
