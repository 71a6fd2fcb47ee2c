"""Compare this checkout's server with that of another commit, in one run on one machine.

The other commit gets a worktree and an environment of its own. Its server uses the same services, for the same release,
where it differs from this checkout in nothing that these are made of; otherwise it has services and a release of its
own. What only the other one needs is held (SIGSTOP). The turns alternate, over several rounds, so background load hits
both.
Closed loop at several numbers of requests in flight, and a fixed rate (`research.bench.generator`), of plain requests:
what is answered, degraded and refused is counted. A commit that cannot use this one's artifacts is trained with its
own code first, unless --exchange names a folder where that has been done.

Reads   data_exchange_center/offline/user_seen.parquet, users.parquet; both servers, over HTTP; /proc
Writes  pic/figures/serving_against.json
Run     make bench against=<commit> [exchange=<folder>] [keep=1], with the services up and a release live; or
        make bench-gate, which fails where a request costs more than a tenth more, and names the stage that grew
"""

from __future__ import annotations

import argparse
import subprocess
from collections.abc import Mapping, Sequence
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
from research.bench.asking import Drawn, facts, known_userids, ready
from research.bench.compare import Loading, Turn, comparison
from research.bench.gate import AT_MOST, grown, unanswered
from research.bench.generator import Generator, Target, expect_answers, generator
from research.bench.processes import Part, held, parts_of, used_s
from research.measure.other_checkout import (
    ROOT,
    OtherCheckout,
    before_this_branch,
    commit_of,
    running,
    same_services,
)

OUTPUT: Final = FIGURES / "serving_against.json"
THIS, OTHER = "this", "other"
COUNTS: Final = ("answered", "degraded", "refused")
_LEVELS, _RATES = [1, 4, 16, 64], [50.0]
_GATED = [1, 4]  # where more is in flight, a request's time is mostly waiting
_WARM_UP = 100  # requests before each level of each turn


class Side(NamedTuple):
    """A server that is measured, and the processes of its stack."""

    target: Target
    parts: dict[str, Part]


def one_turn(ask: Generator, side: Side, loading: Loading, drawn: Drawn, requests: int) -> Turn:
    """Raises StepError where fewer than half of the requests are answered."""
    loading.ask(ask, side.target, drawn.next(_WARM_UP))
    before = used_s(side.parts)
    run = loading.ask(ask, side.target, drawn.next(requests))
    after = used_s(side.parts)
    expect_answers(side.target, run, at_least=0.5)
    return Turn(run, {name: after[name] - before[name] for name in after})


def idle_parts(sides: Mapping[str, Side], active: str) -> dict[str, Part]:
    """Processes that are not needed while it is ``active``'s turn."""
    needed = sides[active].parts.values()
    (idle,) = (side for name, side in sides.items() if name != active)
    return {name: part for name, part in idle.parts.items() if part not in needed}


def take_turns(
    ask: Generator, sides: dict[str, Side], loadings: Sequence[Loading], drawn: Drawn, requests: int, rounds: int
) -> dict[str, dict[str, list[Turn]]]:
    """Every side once a round and level, in the opposite order every other round."""
    taken: dict[str, dict[str, list[Turn]]] = {name: {each.name: [] for each in loadings} for name in sides}
    for turn in range(rounds):
        for loading in loadings:
            for name in sides if turn % 2 == 0 else reversed(sides):
                with held(idle_parts(sides, name)):
                    taken[name][loading.name].append(one_turn(ask, sides[name], loading, drawn, requests))
    return taken


def table(levels: Sequence[dict[str, Any]]) -> Table:
    """Both sides of each level, and the ratio below. Times in ms; processor time is a request's, of every process."""
    shown = Table(box=box.SIMPLE, pad_edge=False)
    parts = ("server", "redis", "elasticsearch", "feast", "triton")
    for name in ("level", "", "answered", "degraded", "refused", "requests/s", "p50", "p99", "processor", *parts):
        shown.add_column(name, justify="right", overflow="fold")
    for level in levels:
        for name in (THIS, OTHER):
            of = level[name]
            figures = (*(of[key] for key in COUNTS), of["requests_per_s"], of["p50_ms"], of["p99_ms"])
            used = (of["processor_ms"][part] for part in ("all", *parts))
            shown.add_row(level["level"] if name == THIS else "", name, *map(str, (*figures, *used)))
        ratio = level["ratio"]
        shown.add_row(
            "", "ratio", *("" for _ in COUNTS), *(str(ratio[key]) for key in ("requests_per_s", "p50_ms", "p99_ms")),
            str(ratio["processor_ms"]), *("" for _ in parts), end_section=True,
        )  # fmt: skip
    return shown


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m research.measure.against", description="This server against another commit's, in turns."
    )
    parser.add_argument("commit", nargs="?", help="what git calls it; default: where this branch left origin/main")
    parser.add_argument("--exchange", type=Path, help="that commit's exchange folder, trained with its own code")
    parser.add_argument("--own-services", action="store_true", help="services for each server, whatever has changed")
    parser.add_argument("--keep", action="store_true", help="keep its worktree and its data for the next time")
    parser.add_argument(
        "--levels", type=int, nargs="*", help=f"requests in flight; default: {_LEVELS}, {_GATED} as a gate"
    )
    parser.add_argument("--rates", type=float, nargs="*", help=f"requests a second; default: {_RATES}, none as a gate")
    parser.add_argument("--requests", type=int, default=400, help="of a level's turn; default: %(default)s")
    parser.add_argument("--rounds", type=int, default=4, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--gate", action="store_true", help=f"fail where something is over {AT_MOST:g} times its")
    parser.add_argument("--output", type=Path, help=f"default: {OUTPUT}; none as a gate")
    given = parser.parse_args()
    given.commit = given.commit or before_this_branch()
    given.levels = given.levels or (_GATED if given.gate else _LEVELS)
    given.rates = given.rates or ([] if given.gate else _RATES)
    given.output = given.output or (None if given.gate else OUTPUT)
    return given


def main(settings: Settings) -> None:
    given = _arguments()
    commit = commit_of(given.commit)
    loadings = [*(Loading(in_flight=level) for level in given.levels), *(Loading(per_s=rate) for rate in given.rates)]
    userids = known_userids(settings)
    if subprocess.run(("make", "serve"), cwd=ROOT, check=False).returncode:  # else it may be other code that answers
        raise StepError("this checkout's server did not start: see above")
    shared = not given.own_services and given.exchange is None and same_services(commit)
    exchange = given.exchange.resolve() if given.exchange else None
    other = OtherCheckout(commit, settings, exchange, shares_services=shared)
    with running(other, keep=given.keep), generator() as ask:
        sides = {
            name: Side(Target(s.server.url), parts_of(s)) for name, s in ((THIS, settings), (OTHER, other.settings))
        }
        server = ready(settings.server.url)
        taken = take_turns(ask, sides, loadings, Drawn(userids, given.seed), given.requests, given.rounds)
    levels = comparison(taken)
    console = Console()
    console.print(table(levels))
    console.print("both servers used the same services" if shared else "each server had services of its own")
    about = {"command": f"make bench against={given.commit}", "against": commit, "recipe": server["recipe"]}
    measured = {"same_services": shared, "rounds": given.rounds, "requests": given.requests, "levels": levels}
    if none := unanswered(levels, THIS):
        raise StepError("\n".join(("this is no result:", *none)))
    if given.output:
        write_json(given.output, {**about, **facts(settings, server["services"]), **measured})
    if given.gate and (problems := grown(levels, THIS, OTHER)):
        raise StepError("\n".join((f"dearer than {given.commit}:", *problems)))


if __name__ == "__main__":
    steps.run(main)
