"""Check that this checkout is a version, and make its archive and its notes: ``make release version=1.0.0``.

Refused unless: the code has that version, the tree is clean and the tag is not another commit's; CHANGELOG.md has a
section of it, with a date, and CITATION.cff both; every figure of `make figures` is there, finished and measured by it,
all on one machine, and the documents show them; licences and known vulnerabilities pass (`make licences`,
`vulnerabilities`, `audit-runtimes`). All that is wrong is listed at once.

Reads   the commit that is checked out
Writes  build/release/<version>/: the archive (.tar.gz), notes.md, CycloneDX documents (sbom/), SHA256SUMS
Run     make release version=<version>     without="vulnerabilities machine": leave checks out, and the notes say so
Expect  minutes; "Now tag it", with the commands. Nothing is tagged or pushed
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, Final

from data_exchange_center import VERSION
from research.figure_files import FIGURES, ROOT, is_finished
from research.figures.measure_all import PLAN

NAME: Final = "recsys_pipeline"
CHANGELOG: Final = ROOT / "CHANGELOG.md"
CITATION: Final = ROOT / "CITATION.cff"
Check = Callable[[str], Iterator[str]]


def git(*arguments: str) -> str:
    """What a command of git prints; empty where it fails."""
    done = subprocess.run(("git", *arguments), cwd=ROOT, check=False, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else ""


def runs(*command: str) -> bool:
    """Run a command in the repository's root, with its output. Returns whether it succeeded."""
    return subprocess.run(command, cwd=ROOT, check=False).returncode == 0


def checkout(version: str) -> Iterator[str]:
    """Problems of version, tree and tag."""
    if version != VERSION:
        yield f"the code has version {VERSION}: set VERSION in data_exchange_center/__init__.py"
    if changed := git("status", "--porcelain"):
        yield f"the tree is not clean: commit or remove {', '.join(line[3:] for line in changed.splitlines())}"
    tagged = git("rev-parse", "--verify", "--quiet", f"v{version}^{{commit}}")
    if tagged and tagged != git("rev-parse", "HEAD"):
        yield f"the tag v{version} is on another commit, {tagged[:12]}"


def section(version: str) -> tuple[str, str]:
    """Date and text of a version's section in CHANGELOG.md; both empty where there is none with a date."""
    heading = rf"^## \[{re.escape(version)}\] - (\d{{4}}-\d\d-\d\d)\n"
    found = re.search(rf"{heading}(.*?)(?=^## |\Z)", CHANGELOG.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return (found[1], found[2].strip()) if found else ("", "")


def changes(version: str) -> str:
    """The section of a version in CHANGELOG.md, without its heading; empty where there is none with a date."""
    return section(version)[1]


def changelog(version: str) -> Iterator[str]:
    date, text = section(version)
    if not text:
        yield f"CHANGELOG.md has no section '## [{version}] - <date>' with an entry"
    cited = CITATION.read_text(encoding="utf-8").splitlines()
    if date and not {f"version: {version}", f"date-released: {date}"} <= set(cited):
        yield f"CITATION.cff is of another version or date: set version: {version} and date-released: {date}"


def measured_figures() -> dict[str, dict[str, Any]]:
    """Figures that commands of this repository measure, by file name."""
    found = {path.name: json.loads(path.read_text(encoding="utf-8")) for path in sorted(FIGURES.glob("*.json"))}
    return {name: each for name, each in found.items() if "command" in each}


def figures(version: str) -> Iterator[str]:
    """Problems of figures that commands measure."""
    measured = measured_figures()
    of_others = [name for name, each in measured.items() if each["measured"]["version"] != version]
    if of_others:
        yield f"figures of another version: {', '.join(of_others)}; run make figures"
    if unfinished := [name for name, each in measured.items() if not is_finished(each)]:
        yield f"figures of studies that are not finished: {', '.join(unfinished)}; run make figures"
    if absent := [each.file for each in PLAN if each.file not in measured]:
        yield f"figures that are not there: {', '.join(absent)}; run make figures"
    if not runs("make", "readme", "check=1"):
        yield "the documents do not show the figures: run make readme"


def machine(_: str) -> Iterator[str]:
    """Which figures are not of the machine that measured most of them."""
    by_machine: dict[str, list[str]] = {}
    for name, each in measured_figures().items():
        by_machine.setdefault(json.dumps(each["machine"], sort_keys=True), []).append(name)
    most, *others = sorted(by_machine.values(), key=len, reverse=True) or [[]]
    if others:
        names = ", ".join(name for each in others for name in each)
        yield f"figures of {len(by_machine)} machines, {len(most)} of one, the others {names}: run make figures on one"


def passes(target: str) -> Check:
    """A check that runs a target of make."""

    def check(_: str) -> Iterator[str]:
        if not runs("make", target):
            yield f"make {target} has failed: see above"

    return check


# Name -> what the notes of a release that leaves it out say, and the check
CHECKS: Final[dict[str, tuple[str, Check]]] = {
    "checkout": ("version, tree and tag", checkout),
    "changelog": ("the changelog", changelog),
    "figures": ("the figures' versions", figures),
    "machine": ("that all figures are of one machine", machine),
    "licences": ("licences", passes("licences")),
    "vulnerabilities": ("known vulnerabilities of packages", passes("vulnerabilities")),
    "runtimes": ("known vulnerabilities of bundled programs", passes("audit-runtimes")),
}


def problems(version: str, without: Collection[str]) -> list[str]:
    return [found for name, (_, check) in CHECKS.items() if name not in without for found in check(version)]


def notes(version: str, without: Collection[str]) -> str:
    """The notes of a release: what changed, what was not checked, what the archive is for."""
    unchecked = (
        f"Not checked for this release: {'; '.join(CHECKS[each][0] for each in sorted(without))}.\n\n"
        if without
        else ""
    )
    archive = "The archive is for running it (`make demo`); `make test` and `make lint` need a clone."
    return f"# {NAME} {version}\n\n{changes(version)}\n\n{unchecked}{archive}\n"


def make(version: str, without: Collection[str], folder: Path) -> None:
    """Write the archive of HEAD, the notes, the bills of materials and their sums. Raises CalledProcessError."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "notes.md").write_text(notes(version, without), encoding="utf-8")
    name = f"{NAME}-{version}"
    archive = ("git", "archive", f"--prefix={name}/", f"--output={folder / f'{name}.tar.gz'}", "HEAD")
    subprocess.run(archive, cwd=ROOT, check=True)
    subprocess.run(("make", "sbom"), cwd=ROOT, check=True)
    shutil.copytree(ROOT / "sbom", folder / "sbom")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    sums = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder)}\n" for path in files]
    (folder / "SHA256SUMS").write_text("".join(sums), encoding="utf-8")


def main(version: str, without: Collection[str]) -> None:
    if found := problems(version, without):
        sys.exit("\n".join((f"{version} cannot be released:", *(f"- {each}" for each in found))))
    folder = ROOT / "build" / "release" / version
    make(version, without, folder)
    tag = f"git tag --annotate v{version} --file {(folder / 'notes.md').relative_to(ROOT)} --cleanup=verbatim"
    print(f"Written: {folder}. Now tag it:\n  {tag}\n  git push origin v{version}")  # noqa: T201


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("version")
    parser.add_argument("--without", nargs="*", default=[], choices=[name for name in CHECKS if name != "checkout"])
    given = parser.parse_args()
    main(given.version, given.without)
