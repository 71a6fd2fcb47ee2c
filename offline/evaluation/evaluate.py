"""Evaluate recommendations: ``make evaluate`` of the running server, ``make evaluate-offline`` of the artifacts.

Recommends for every user at the moment of the user's first held-out event, and compares that with what the user liked
among the held-out ones: one table of recall and NDCG, of the most popular items, each recall channel, recall as a whole
and the served order. With --against, the served order's difference from that of another evaluated release, paired user
by user, with a 95 % interval.

Reads:  the artifacts of `make offline`; with --server the server that serves them (`make up sync serve`)
Writes: offline/evaluation/evaluation.json in the exchange folder; without --server evaluation_offline.json; in users/
        every user's metrics, for later comparisons
Run:    python -m offline.evaluation.evaluate [--server] [--against <recipe or release>]
Expect: two minutes on MovieLens-1M; with the default recipe recall@200 of about 0.75 (popularity: 0.39)
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Column, Table

from data_exchange_center.files import write_json
from data_exchange_center.release_parts import release_of_artifacts
from data_exchange_center.settings import Settings
from data_exchange_center.steps import run
from offline.evaluation import against, replay, served
from offline.evaluation.metrics import HEADLINES, Floats, Lists, per_user, plain
from offline.evaluation.replay import SHOWN, Answers, Holdout
from offline.evaluation.running_server import Answerer, answers_of_server
from offline.readers import read_with_holdout, recorded_rows

log = logging.getLogger(__name__)

POPULARITY = "popularity"


def evaluate(settings: Settings, command: str, answerer: Answerer | None = None, other: str = "") -> dict[str, Any]:
    """Means of the answers of the artifacts or, with ``answerer``, of the server that serves them, for JSON.

    Args:
        command: repeats the evaluation.
        other: a recipe or release that was evaluated before, to be compared with.

    Raises ArtifactError or StepError when `make offline` has not run, and what ``answerer`` and `against` raise.
    """
    folder = folder_of(settings) / ("server" if answerer else "offline")  # whose lists differ: compared apart
    opening = head(command, settings)
    if other:
        against.find(folder, other, opening["release"])  # before minutes are spent
    inputs = read_with_holdout(settings)
    holdout = replay.hold_out(inputs.data, inputs.dataset.holdout)
    answers = answerer(holdout) if answerer else served.answers(settings, holdout)
    lists = {POPULARITY: served.popularity(holdout, SHOWN), **systems(settings.recipe.name, answers)}
    values = per_user(holdout.relevance, holdout.judged(answers.ranked))
    against.keep(folder, opening["release"], opening["recipe"], holdout, values)
    found = opening | tables(holdout, {name: holdout.judged(found) for name, found in lists.items()})
    if other:
        found["against"] = against.against(folder, other, opening["release"], holdout, values)
    return plain(found)


def folder_of(settings: Settings) -> Path:
    """Where evaluations are written: with the artifacts."""
    return settings.offline_dir / "evaluation"


def head(command: str, settings: Settings) -> dict[str, Any]:
    """Head of a report: command, data set, recipe, release; how many events of servers were trained on, if any."""
    manifest = release_of_artifacts(settings)
    opening: dict[str, Any] = {"command": command, "dataset": manifest.dataset.name, "recipe": settings.recipe.name}
    opening["release"] = manifest.release
    recorded = recorded_rows(settings)
    if recorded:
        log.warning(
            "%d events of servers were trained on, and most came after the held-out ones: these metrics are "
            "better than without them. RECSYS_TRAIN_ON_EVENTS=false make offline trains without them.",
            recorded,
        )
        opening["trained on events of servers"] = recorded
    return opening


def systems(recipe: str, answers: Answers) -> dict[str, Lists]:
    """Name -> (users, k) lists of each stage: every channel, recall, the served order."""
    found = {f"{recipe}: channel {channel}": lists for channel, lists in answers.channels.items()}
    return found | {f"{recipe}: recall": answers.fused, f"{recipe}: ranked": answers.ranked}


def tables(holdout: Holdout, lists: Mapping[str, Lists]) -> dict[str, Any]:
    """Number of users and headline means by system, of `Holdout.judged` lists; the same of users without a past."""
    cold = int(np.count_nonzero(np.diff(holdout.cold.indptr)))
    of_cold = {name: _means(per_user(holdout.cold, found)) for name, found in (lists if cold else {}).items()}
    return {
        "users": int(np.count_nonzero(np.diff(holdout.relevance.indptr))),
        "table": {name: summary(holdout, found) for name, found in lists.items()},
        "without a past": {"users": cold, "table": of_cold},
    }


def summary(holdout: Holdout, lists: Lists) -> dict[str, float]:
    """The headline means, and recall@200 of users who come back after an hour or more; of `Holdout.judged` lists."""
    values = per_user(holdout.relevance, holdout.judged(lists))
    returning = np.where(holdout.slices["returning"], values.get("recall@200", np.nan), np.nan)
    return {**_means(values), "returning: recall@200": _mean(returning)}


def _means(values: Mapping[str, Floats]) -> dict[str, float]:
    return {name: _mean(values[name]) for name in HEADLINES if name in values}


def _mean(values: Floats) -> float:
    there = values[~np.isnan(values)]
    return float(there.mean()) if len(there) else float("nan")


def show(found: Mapping[str, Any], console: Console) -> None:
    """Print the headline metrics as tables: all users, then users without a past."""
    console.print(table(f"{found['users']:,} users of {found['dataset']}", found["table"]))
    cold = found.get("without a past", {})
    if cold.get("users"):
        console.print(table(f"{cold['users']:,} users more, without a past, who are in no mean above", cold["table"]))
    if other := found.get("against"):
        console.print(differences(other))


def differences(other: Mapping[str, Any]) -> Table:
    """Paired differences from another release, with their intervals."""
    title = f"ranked, against release {other['release']} ({other['recipe']}): paired by user"
    columns = ("it", "difference", "95% interval", "p", "users")
    shown = Table(Column(""), *(Column(name, justify="right", no_wrap=True) for name in columns), title=title)
    for name, row in other["metrics"].items():
        interval = f"{row['low']:+.4f} to {row['high']:+.4f}"
        values = f"{row['before']:.4f}", f"{row['difference']:+.4f}", interval, f"{row['p_value']:.2g}"
        shown.add_row(name, *values, f"{row['users']:,}")
    return shown


def table(title: str, rows: Mapping[str, Mapping[str, float | None]]) -> Table:
    """Rows of means, ``-`` where there is none; long headings are broken, never cut."""
    names = list(next(iter(rows.values())))
    headings = (Column(name.replace(": ", ":\n"), justify="right", no_wrap=True) for name in names)
    shown = Table(Column("", overflow="fold"), *headings, title=title)
    for system, row in rows.items():
        values = (row.get(name) for name in names)
        shown.add_row(system, *("-" if value is None else f"{value:.4f}" for value in values))
    return shown


def main(settings: Settings, *, server: bool = False, other: str = "") -> None:
    answerer = answers_of_server(settings) if server else None  # before minutes are spent
    command = f"make evaluate{'' if server else '-offline'}{f' against={other}' if other else ''}"
    found = evaluate(settings, command, answerer, other)
    path = folder_of(settings) / f"evaluation{'' if server else '_offline'}.json"
    write_json(path, found)
    show(found, Console())
    log.info("written: %s", path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", action="store_true", help="evaluate the running server")
    parser.add_argument("--against", default="", metavar="recipe or release", help="compare with one evaluated before")
    given = parser.parse_args()
    run(partial(main, server=given.server, other=given.against))
