"""A larger data set out of the one at hand: ``make synthesise factor=16``, and what it keeps of its structure.

Reads:  RECSYS_DATA, or what the first step has put into offline/raw
Writes: folder=, or offline/synthetic/<name>-x<factor> in the exchange folder: what step 0 writes, in its place.
        With --figures, expansions in a folder that is removed, and pic/figures/synthesis.json
Run:    make synthesise factor=16, then make offline RECSYS_DATA=<the folder that it prints>
Expect: 16,003,344 events of 96,640 users for 15,532 items (MovieLens-1M)
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from data_exchange_center.figures import FIGURES
from data_exchange_center.files import write_json
from data_exchange_center.machine import machine
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError, run
from past_one_machine.synthesis.expansion import SEED, Factors, Source, expand
from past_one_machine.synthesis.structure import differences, of_source

MEASURED: Final = (4, 16)  # factors of the figures


def main(settings: Settings, factors: Factors, folder: Path | None, seed: int) -> None:
    path = at_hand(settings)
    source = Source.of(path)
    name = f"{source.dataset.base_name}-x{factors.users}"
    target = (folder or settings.offline_dir / "synthetic" / name).absolute()
    if target.is_relative_to(path.absolute()):
        raise StepError(f"{target} lies in the data set's own folder: name another folder=.")
    expand(source, factors, target, name, seed)
    show({"source": of_source(source), f"x {factors.users}": of_source(Source.of(target))}, Console())
    print(f"Written: {target}. To train on it: make offline RECSYS_DATA={target}")  # noqa: T201


def figures(settings: Settings) -> None:
    """Measure what expansions keep, and write it."""
    source = Source.of(at_hand(settings))
    with tempfile.TemporaryDirectory() as scratch:
        found = {"source": of_source(source)}
        for factor in MEASURED:
            found[f"x {factor}"] = _measured(source, factor, Path(scratch) / f"x{factor}")
    show(found, Console())
    report = {"command": "make synthesise figures=1", "dataset": settings.data and settings.data.stem}
    write_json(FIGURES / "synthesis.json", {**report, "machine": machine(), "seed": SEED, "rows": found})


def _measured(source: Source, factor: int, folder: Path) -> dict[str, Any]:
    expand(source, Factors.of(factor), folder, source.dataset.name)
    return of_source(Source.of(folder))


def at_hand(settings: Settings) -> Path:
    """Where the data set is. Raises StepError where there is none."""
    path = settings.data or settings.offline_dir / "raw"
    if settings.data is None and not path.is_dir():
        raise StepError(
            f"no data set is at hand: name one in RECSYS_DATA, or run offline/preprocess/s0_get_data.py, which puts "
            f"one into {path}."
        )
    return path


def show(found: Mapping[str, Mapping[str, Any]], console: Console) -> None:
    """A column for each data set."""
    table = Table("", *found, title="What an expansion keeps")
    first = next(iter(found.values()))
    for name in ("events", "users", "items"):
        table.add_row(name, *(f"{each[name]:,}" for each in found.values()))
    for name in first["popularity"]:
        table.add_row(f"popularity: {name}", *(f"{each['popularity'][name]:.3f}" for each in found.values()))
    for name in ("events of a user", "events of a session"):
        quantiles = (", ".join(f"{q} {n:,}" for q, n in each[name].items()) for each in found.values())
        table.add_row(name, *quantiles)
    table.add_row("sessions of a user", *(f"{each['sessions of a user']:.2f}" for each in found.values()))
    if first["terms"]:
        most = (max(map(abs, differences(first, each).values())) for each in found.values())
        table.add_row("a term's share differs by at most", *(f"{each:.4f}" for each in most))
    console.print(table)


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"a whole number is expected, found {text!r}") from None


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--factor", type=_whole, help="so many times the users and the events")
    parser.add_argument("--items", type=_whole, help="so many times the items; left out: the root of the factor")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--seed", type=_whole, default=SEED)
    parser.add_argument("--figures", action="store_true")
    given = parser.parse_args()
    if given.figures:
        run(figures)
    elif given.factor is None:
        parser.error("name a factor: make synthesise factor=16")
    else:
        run(lambda settings: main(settings, Factors.of(given.factor, given.items), given.folder, given.seed))
