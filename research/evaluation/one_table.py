"""Evaluate recommendations: ``make evaluate-offline`` of the artifacts, ``make evaluate`` of the running server.

Recommends for every user at the moment of the user's first held-out event, and compares that with what the user liked
among the held-out ones: one table of recall and NDCG, of the most popular items, each recall channel, recall as a whole
and the served order. Where events have types, there is one more table for each type that is a target. The requests to a
server are in `research/evaluation/running_server.py`; `against=<recipe or release>` compares with an earlier evaluation
(`research/evaluation/against.py`).

Reads:  the artifacts of `make offline`
Writes: offline/evaluation/evaluation_offline.json in the exchange folder; in users/ every user's metrics, for later
        comparisons
Run:    python -m research.evaluation.one_table
Expect: two minutes on MovieLens-1M; with the default recipe recall@200 of about 0.75 (popularity: 0.39)
"""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from rich.console import Console
from rich.table import Column, Table

from data_exchange_center import artifacts, files, release_parts, steps
from data_exchange_center.columns import Columns, Split
from data_exchange_center.settings import Settings
from extras import replay
from extras.comparison import Floats
from extras.replay import SHOWN, Answerer, Answers, Holdout, Lists
from offline.data.sequences import Inputs
from offline.data.split import holdout_sizes
from offline.readers import read_with_holdout
from research.evaluation.baselines import POPULARITY, popularity
from research.evaluation.metrics import HEADLINES, per_user
from research.figures import plain

log = logging.getLogger(__name__)

RECIPE, HOLDOUT = ".recipe", ".holdout"  # next to kept metrics, whose names have no dot
RETURNING = "returning: recall@200"


def evaluate(
    settings: Settings, command: str, answerer: Answerer | None = None
) -> dict[str, Any]:
    """Means of the answers of the artifacts or, with ``answerer``, of the server that serves them, for JSON.

    ``command``: repeats the evaluation. Raises ArtifactError or StepError when `make offline` has not run, and what
    ``answerer`` raises.
    """
    opening, inputs = head(command, settings), read_with_holdout(settings)
    holdout = replay.hold_out(inputs.data, inputs.dataset.holdout)
    answers = answerer(holdout) if answerer else replay.answers(settings, holdout)
    lists = {
        POPULARITY: popularity(holdout, SHOWN),
        **systems(settings.recipe.name, answers),
    }
    path = kept(settings, opening["release"], server=answerer is not None)
    keep(
        path,
        opening["recipe"],
        holdout,
        per_user(holdout.relevance, holdout.judged(answers.ranked)),
    )
    judged = {name: holdout.judged(found) for name, found in lists.items()}
    of_types = {
        kind.name: {
            name: _means(per_user(of_type(inputs, holdout, code), found))
            for name, found in judged.items()
        }
        for code, kind in enumerate(inputs.dataset.types, start=1)
        if kind.target
    }
    return plain(opening | tables(holdout, judged) | {"types": of_types})


def of_type(inputs: Inputs, holdout: Holdout, code: int) -> sp.csr_matrix:
    """(users, items + 1) 1 where an event of the type with that code is held out, of an item that the user has not."""
    data = inputs.data
    future = data.last(holdout_sizes(inputs.dataset.holdout, data.lengths, data.newest))
    come = future.select(future.ratings == code).seen()
    has_past = holdout.known.lengths > 0
    new = replay.without(come, holdout.past.left_out())
    return replay.only(new, has_past[:, None])


def kept(settings: Settings, release: str, *, server: bool) -> Path:
    """Where a release's metrics of every user are kept; those of a server, whose lists differ, apart."""
    return (
        folder_of(settings)
        / ("server" if server else "offline")
        / "users"
        / f"{release}.npz"
    )


def keep(
    path: Path, recipe: str, holdout: Holdout, values: Mapping[str, Floats]
) -> None:
    """Write (users,) values of each metric, by name, the recipe, and a digest of targets and times."""
    targets = holdout.relevance.tocsr()
    parts = (
        holdout.past.user_numbers,
        holdout.past.item_numbers,
        targets.indptr,
        targets.indices,
        holdout.times,
    )
    same = hashlib.sha256(
        b"".join(np.ascontiguousarray(part, dtype=np.int64).tobytes() for part in parts)
    ).hexdigest()
    found: dict[str, Any] = {
        RECIPE: np.array(recipe),
        HOLDOUT: np.array(same),
        **values,
    }
    with files.written_in_place(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **found)


def folder_of(settings: Settings) -> Path:
    """Where evaluations are written: with the artifacts."""
    return settings.offline_dir / "evaluation"


def head(command: str, settings: Settings) -> dict[str, Any]:
    """Head of a report: command, data set, recipe, release; how many events of servers were trained on, if any."""
    manifest = release_parts.release_of_artifacts(settings)
    opening: dict[str, Any] = {
        "command": command,
        "dataset": manifest.dataset.name,
        "recipe": settings.recipe.name,
    }
    opening["release"] = manifest.release
    rows = artifacts.RATINGS.read(settings.artifacts_dir, [Columns.SPLIT])
    recorded = int((rows[Columns.SPLIT] == Split.RECORDED).sum())
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
    found = {
        f"{recipe}: channel {channel}": lists
        for channel, lists in answers.channels.items()
    }
    return found | {
        f"{recipe}: recall": answers.fused,
        f"{recipe}: ranked": answers.ranked,
    }


def tables(holdout: Holdout, lists: Mapping[str, Lists]) -> dict[str, Any]:
    """Number of users and headline means by system, of `Holdout.judged` lists; the same of users without a past."""
    cold = int(np.count_nonzero(np.diff(holdout.cold.indptr)))
    of_cold = {
        name: _means(per_user(holdout.cold, found))
        for name, found in (lists if cold else {}).items()
    }
    return {
        "users": int(np.count_nonzero(np.diff(holdout.relevance.indptr))),
        "table": {name: summary(holdout, found) for name, found in lists.items()},
        "without a past": {"users": cold, "table": of_cold},
    }


def summary(holdout: Holdout, lists: Lists) -> dict[str, float]:
    """The headline means, and recall@200 of users who come back after an hour or more; of `Holdout.judged` lists."""
    values = per_user(holdout.relevance, holdout.judged(lists))
    returning = np.where(holdout.returning, values.get("recall@200", np.nan), np.nan)
    return _means(values) | _means({RETURNING: returning}, (RETURNING,))


def _means(
    values: Mapping[str, Floats], names: Sequence[str] = HEADLINES
) -> dict[str, float]:
    """Means over the users who have each metric; NaN where nobody has."""
    found = {}
    for name in names:
        if name in values:
            there = values[name][~np.isnan(values[name])]
            found[name] = float(there.mean()) if len(there) else float("nan")
    return found


def show(found: Mapping[str, Any], console: Console) -> None:
    """Print the headline metrics as tables: all users, then users without a past."""
    console.print(
        table(f"{found['users']:,} users of {found['dataset']}", found["table"])
    )
    for kind, rows in found.get("types", {}).items():
        console.print(table(f"events of type {kind} alone", rows))
    cold = found.get("without a past", {})
    if cold.get("users"):
        console.print(
            table(
                f"{cold['users']:,} users more, without a past, who are in no mean above",
                cold["table"],
            )
        )


def table(title: str, rows: Mapping[str, Mapping[str, float | None]]) -> Table:
    """Rows of means, ``-`` where there is none; long headings are broken, never cut."""
    names = list(next(iter(rows.values())))
    headings = (
        Column(name.replace(": ", ":\n"), justify="right", no_wrap=True)
        for name in names
    )
    shown = Table(Column("", overflow="fold"), *headings, title=title)
    for system, row in rows.items():
        values = (row.get(name) for name in names)
        shown.add_row(
            system, *("-" if value is None else f"{value:.4f}" for value in values)
        )
    return shown


def main(settings: Settings, answerer: Answerer | None = None) -> None:
    found = evaluate(
        settings, f"make evaluate{'' if answerer else '-offline'}", answerer
    )
    path = folder_of(settings) / f"evaluation{'' if answerer else '_offline'}.json"
    files.write_json(path, found)
    show(found, Console())
    log.info("written: %s", path)


if __name__ == "__main__":
    steps.run(main, about=__doc__)
