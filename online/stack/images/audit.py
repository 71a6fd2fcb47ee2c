"""Known holes of the Python packages, the jars and the images that are built here, and the Python packages' licences.

What a package carries as a binary (Valkey, Java, Triton) is known by the package's name and version alone.

Exit code 0: nothing known; 1: a hole, or a licence that is on no list; 2: neither, but a source could not be asked.
Reads   the lock files; the advisories of PyPI and OSV; Debian's security archive, from within the images
Run     make audit, or python -m online.stack.images.audit
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console
from rich.table import Column, Table

from data_exchange_center.settings import load_settings
from online.stack.elasticsearch.jars import locked_jars
from online.stack.images import engine
from online.stack.images.debian_holes import debian_holes
from online.stack.images.findings import Findings, Hole, together
from online.stack.images.jar_holes import jar_holes
from online.stack.images.licences import Licensed, installed, licences
from online.stack.images.locks import Pin, pins
from online.stack.images.python_holes import python_holes
from online.stack.service import StackError, run

NOTHING_KNOWN, FOUND, NOT_REACHED = range(3)


def images_findings() -> Findings:
    """Of the Debian packages in the images that are built here, of those that are there."""
    try:
        built = [image for image in engine.images() if image.built]
        here = [image for image in built if engine.is_present(image)]
    except StackError as error:
        return Findings(unreached=(f"The images could not be looked at: {error}",))
    missing = [image.name for image in built if image not in here]
    not_built = (f"Not built, so not looked at: {', '.join(missing)} (make docker-up builds them).",) if missing else ()
    return together([*map(debian_holes, here), Findings(unreached=not_built)])


def exit_code(findings: Findings, licensed: Iterable[Licensed]) -> int:
    if findings.holes or any(package.accepted is None for package in licensed):
        return FOUND
    return NOT_REACHED if findings.unreached else NOTHING_KNOWN


def drawn(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    table = Table(*(Column(name, overflow="fold") for name in head), title=title, title_justify="left", box=box.SIMPLE)
    for row in rows:
        table.add_row(*row)
    return table


def hole_rows(holes: Iterable[Hole]) -> list[tuple[str, ...]]:
    """One row for a hole that several places have."""
    where: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
    for hole in holes:
        where[hole.package, hole.version, hole.fixed_in or "no version yet", hole.advisory].append(hole.where)
    return [(*row, ", ".join(dict.fromkeys(places))) for row, places in sorted(where.items())]


def licence_rows(licensed: Iterable[Licensed]) -> list[tuple[str, ...]]:
    """One row for the packages of one licence; what is on no list comes first."""
    packages: defaultdict[tuple[bool, str, str], list[str]] = defaultdict(list)
    for package in licensed:
        key = (package.accepted is not None, package.licence, package.accepted or "ON NO LIST")
        packages[key].append(package.name)
    return [
        (licence, reason, ", ".join(dict.fromkeys(names))) for (_, licence, reason), names in sorted(packages.items())
    ]


def report(findings: Findings, licensed: Sequence[Licensed], console: Console) -> None:
    console.print(
        drawn("Licences of the Python packages", ("licence", "accepted as", "packages"), licence_rows(licensed))
    )
    if findings.holes:
        head = ("package", "version", "fixed in", "advisory", "where")
        console.print(drawn("Known holes", head, hole_rows(findings.holes)))
    for sentence in findings.unreached:
        console.print(sentence, soft_wrap=True, highlight=False, markup=False)
    foreign = sum(package.accepted is None for package in licensed)
    packages = len({(hole.package, hole.version) for hole in findings.holes})
    console.print(
        f"{len(licensed)} Python packages; licences on no list: {foreign}; packages with known holes: {packages}; "
        f"sources not reached: {len(findings.unreached)}.",
        soft_wrap=True,
    )


def main() -> None:
    """Raises StackError for a lock file that cannot be read."""
    pinned = pins()
    licensed, absent = licences(pinned, installed(load_settings()))
    findings = together([python_holes(pinned), jar_holes(locked_jars()), images_findings(), not_installed(absent)])
    report(findings, licensed, Console(width=None if sys.stdout.isatty() else 160))
    sys.exit(exit_code(findings, licensed))


def not_installed(absent: Sequence[Pin]) -> Findings:
    """Pins whose metadata is not on this machine."""
    names = ", ".join(f"{name} {version}" for name, version in absent)
    return Findings(unreached=(f"Not installed here, so of unknown licence: {names} (make setup).",) if absent else ())


if __name__ == "__main__":
    run(main, interrupted="interrupted")
