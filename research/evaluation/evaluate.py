"""Evaluate in full: baselines, slices, comparisons, protocols, thresholds, figures: ``make evaluate-full``.

Lists come from exact search over the artifacts or, with --server, from requests to the server, which are then compared
with exact search. The baselines are fitted; with --with-source the source's recipe too: its steps are run on the same
data once, and their artifacts are kept. Two more protocols (`protocols.py`), next session and one moment for all, need
models that know less; these are fitted once for each release.

Reads:  the artifacts of `make offline`; with --server the server that serves them (`make up sync serve`)
Writes: pic/figures/evaluation_offline.json, or evaluation.json (another recipe's or published data set's: with its
        name); of your own data offline/evaluation/ in the exchange folder, with the data set's name
Run:    python -m research.evaluation.evaluate [--server] [--with-source]
Expect: a quarter of an hour on MovieLens-1M, a few minutes when the same release is evaluated again; with the default
        recipe recall@200 of at least 0.735 (popularity: 0.395), and in no protocol an order that is worse than
        recall's, or it fails
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
from rich.console import Console

from data_exchange_center import artifacts
from data_exchange_center.artifacts import ArtifactError
from data_exchange_center.recipes import SOURCE
from data_exchange_center.release_parts import read_dataset, release_of_artifacts
from data_exchange_center.settings import Settings
from data_exchange_center.steps import run
from extras import replay
from extras.replay import SHOWN, Answerer, Answers, Holdout, Lists
from offline.readers import read_with_holdout
from offline.step_runner import run_steps
from offline_to_online.releases import settings_of_live
from research import figures
from research.evaluation import one_table, protocols
from research.evaluation.baselines import EASE, POPULARITY, baselines
from research.evaluation.metrics import HEADLINES, per_user
from research.evaluation.report import check, report
from research.evaluation.running_server import answers_of_server
from research.figures import plain

log = logging.getLogger(__name__)


def evaluate(
    settings: Settings,
    command: str,
    answerer: Answerer | None = None,
    source: Settings | None = None,
) -> dict[str, Any]:
    """Report on the answers of the artifacts or, with ``answerer``, of the server that serves them.

    Args:
        command: repeats the evaluation; for the report.
        answerer: the running server, to be compared with exact search over the same artifacts.
        source: settings of the source's artifacts on the same data, as a baseline.

    Raises ArtifactError or StepError when `make offline` has not run, and what ``answerer`` raises.
    """
    opening = one_table.head(command, settings)
    seconds: dict[str, float] = {}
    inputs, name = read_with_holdout(settings), settings.recipe.name
    holdout = replay.hold_out(inputs.data, inputs.dataset.holdout)
    with timed("answers of exact search", seconds):
        answers = exact = replay.answers(settings, holdout)
    if answerer:
        with timed("answers of the server", seconds):
            answers = answerer(holdout)
    with timed("baselines", seconds):
        systems = baselines(holdout, SHOWN)
    if source and name != SOURCE.name:
        with timed("the source's recipe", seconds):
            other = replay.answers(source, holdout)
        systems |= {
            f"{SOURCE.name}: recall": other.fused,
            f"{SOURCE.name}: ranked": other.ranked,
        }
    systems |= one_table.systems(name, answers)

    def answers_to(requested: Holdout) -> tuple[Lists, Lists]:
        if requested is holdout:
            return answers.fused, answers.ranked
        found = answerer(requested) if answerer else replay.answers(settings, requested)
        return found.fused, found.ranked

    with timed("the same requests as of now", seconds):
        in_session = protocols.compared(holdout, answers_to)
    log.info("metrics of %d systems", len(systems))
    found = report(
        holdout,
        systems,
        answers,
        inputs.genres.astype("float64"),
        (POPULARITY, EASE),
    )
    opening |= {"seconds": seconds, "protocols": {protocols.IN_SESSION: in_session}}
    if answerer:
        opening["live against exact"] = live_against_exact(holdout, answers, exact)
    return plain(opening | found)


def live_against_exact(
    holdout: Holdout, live: Answers, exact: Answers
) -> dict[str, Any]:
    """Compare the running server with exact search over the artifacts.

    Per stage: share of exact search's items that the server returns too (mean over users), number of users whose lists
    are identical, and the mean difference of every headline metric.
    """
    live, exact = live.shown(), exact.shown()
    stages = {"fused": (live.fused, exact.fused), "ranked": (live.ranked, exact.ranked)}
    stages |= {
        f"channel {name}": (lists, exact.channels[name])
        for name, lists in live.channels.items()
    }
    found = {}
    for stage, pair in stages.items():
        one, other = (
            per_user(holdout.relevance, holdout.judged(lists)) for lists in pair
        )
        found[stage] = {
            "shared": shared(*pair),
            "users with the same list": int((pair[0] == pair[1]).all(axis=1).sum()),
            "users": len(pair[0]),
            **{
                name: float(np.nanmean(one[name] - other[name]))
                for name in HEADLINES
                if name in one and name in other
            },
        }
    return found


def shared(first: Lists, second: Lists) -> float:
    """Share of the items of ``second`` that are on ``first`` too, mean over users who have some."""
    shares = [
        np.isin(other[other > 0], one[one > 0]).mean()
        for one, other in zip(first, second, strict=True)
        if other.any()
    ]
    return float(np.mean(shares)) if shares else float("nan")


@contextmanager
def timed(what: str, seconds: dict[str, float]) -> Iterator[None]:
    """Log how long the block took and note it in ``seconds``."""
    log.info("%s", what)
    begin = time.perf_counter()
    yield
    seconds[what] = round(time.perf_counter() - begin, 1)
    log.info("%s: %.1f s", what, seconds[what])


def show(found: Mapping[str, Any], console: Console) -> None:
    """Print the headline metrics as tables: all users, users without a past, each protocol."""
    one_table.show(
        {name: part for name, part in found.items() if name != "against"}, console
    )
    for name, by_time in found.get("protocols", {}).items():
        rows = {
            f"{when}, {users} ({row['users']:,}): {order}": row[order]
            for when, groups in by_time.items()
            for users, row in groups.items()
            for order in ("recall", "ranked")
        }
        console.print(one_table.table(name, rows))


# --- the source's recipe on the same data ---


def source_artifacts(settings: Settings) -> Settings:
    """Settings of the artifacts of the source's recipe on the same data.

    Runs the steps, for some minutes, unless artifacts of this recipe and data are there already; after a change of the
    steps' code remove the folder.
    """
    name = read_dataset(settings.artifacts_dir).base_name
    source = settings.made_of(name, SOURCE).model_copy(
        update={
            "recipe_name": SOURCE.name,
            "data": settings.artifacts_dir / "offline" / "raw",
        }
    )
    try:
        release_of_artifacts(source)  # whether they are of one run
        data, same = (
            artifacts.DATASET.read(each.artifacts_dir)["sha256"]
            for each in (settings, source)
        )
        current = bool(data == same)
    except ArtifactError:
        current = False
    if current:
        log.info("the source's artifacts are those in %s", source.artifacts_dir)
        return source
    for step in run_steps(source, source.exchange_dir):
        log.info("%s: %.1f s", step["step"], step["seconds"])
    return source


# --- the command ---


def main(
    settings: Settings, *, server: bool = False, with_source: bool = False
) -> None:
    if server:
        settings = settings_of_live(settings)
    # before minutes are spent
    answerer = answers_of_server(settings) if server else None
    source = source_artifacts(settings) if with_source else None
    command = f"make evaluate-full{' server=1' if server else ''}{' with_source=1' if source else ''}"
    found = evaluate(settings, command, answerer, source)
    with timed("protocols with fits of their own", found["seconds"]):
        found["protocols"] |= protocols.fitted(settings, found["release"])
    figures.write(
        figures.path_of(
            found, settings, "evaluation" if server else "evaluation_offline"
        ),
        found,
    )
    show(found, Console())
    check(found)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--server", action="store_true", help="evaluate the running server"
    )
    parser.add_argument(
        "--with-source", action="store_true", help="evaluate the source's recipe too"
    )
    given = parser.parse_args()
    run(partial(main, server=given.server, with_source=given.with_source))
