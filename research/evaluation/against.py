"""Evaluate, and compare with a release evaluated before: ``make evaluate against=<recipe or release>``.

An evaluation keeps every user's metrics of the served order, so a release can be compared with one that is gone, paired
user by user: difference, 95 % interval and p value are of Student's paired t-test. Both must have been judged on the
same held-out events, at the same times.

Reads, writes: as `one_table.py`, whose report gets the comparison as "against"
Run:    python -m research.evaluation.against <recipe or release> [--server]
Expect: as `one_table.py`, and one more table
"""

from __future__ import annotations

import argparse
import json
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
from data_exchange_center.steps import StepError, run
from extras.comparison import compare
from offline_to_online.releases import settings_of_live
from research.evaluation import one_table
from research.evaluation.metrics import HEADLINES
from research.evaluation.one_table import HOLDOUT, RECIPE
from research.evaluation.running_server import answers_of_server
from research.figures import plain


def compared(path: Path, other: Path) -> dict[str, Any]:
    """Compare each headline of one kept evaluation with those of another, user by user.

    Raises StepError when they are of other held-out events.
    """
    with np.load(path) as found, np.load(other) as earlier:
        if str(found[HOLDOUT]) != str(earlier[HOLDOUT]):
            raise StepError(
                f"{other.stem} was evaluated on other held-out events than release {path.stem}: the data, or the "
                "events of servers in it, have changed. Train and evaluate it again on these, then this one."
            )
        metrics = {
            name: compare(found[name], earlier[name])
            | {"baseline": float(np.nanmean(earlier[name]))}
            for name in HEADLINES
            if name in found and name in earlier
        }
        return plain(
            {"release": other.stem, "recipe": str(earlier[RECIPE]), "metrics": metrics}
        )


def find(path: Path, other: str, *, server: bool = False) -> Path:
    """The kept metrics of another release than that of ``path``, or of a recipe's that was evaluated last.

    Raises StepError when there are none.
    """
    if (of_release := path.parent / f"{other}.npz").is_file():
        return of_release
    evaluated = sorted(
        path.parent.glob("*.npz"), key=lambda each: each.stat().st_mtime, reverse=True
    )
    recipes = {each: str(np.load(each)[RECIPE]) for each in evaluated if each != path}
    for each, recipe in recipes.items():
        if recipe == other:
            return each
    known = (
        ", ".join(f"{each.stem} ({recipe})" for each, recipe in recipes.items())
        or "none"
    )
    raise StepError(
        f"neither a release nor a recipe {other!r} was evaluated here before (evaluated: {known})",
        f"Run RECSYS_RECIPE={other} make offline {'sync serve evaluate' if server else 'evaluate-offline'}, then the "
        "same with the recipe to compare.",
    )


def differences(other: Mapping[str, Any]) -> Table:
    """Paired differences from another release, with their intervals."""
    title = f"ranked, against release {other['release']} ({other['recipe']}): paired by user"
    columns = ("baseline", "difference", "95% interval", "p", "users")
    shown = Table(
        Column(""),
        *(Column(name, justify="right", no_wrap=True) for name in columns),
        title=title,
    )
    for name, row in other["metrics"].items():
        interval = f"{row['low']:+.4f} to {row['high']:+.4f}"
        values = (
            f"{row['baseline']:.4f}",
            f"{row['difference']:+.4f}",
            interval,
            f"{row['p_value']:.2g}",
        )
        shown.add_row(name, *values, f"{row['users']:,}")
    return shown


def main(settings: Settings, other: str, *, server: bool = False) -> None:
    if server:
        settings = settings_of_live(settings)
    path = one_table.kept(
        settings, release_of_artifacts(settings).release, server=server
    )
    before = find(path, other, server=server)  # before minutes are spent
    one_table.main(settings, answers_of_server(settings) if server else None)
    found = compared(path, before)
    report = (
        one_table.folder_of(settings) / f"evaluation{'' if server else '_offline'}.json"
    )
    write_json(
        report, json.loads(report.read_text(encoding="utf-8")) | {"against": found}
    )
    Console().print(differences(found))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("other", metavar="recipe or release")
    parser.add_argument(
        "--server", action="store_true", help="evaluate the running server"
    )
    given = parser.parse_args()
    run(partial(main, other=given.other, server=given.server))
