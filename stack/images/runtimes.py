"""Compare the programs inside packages (tritonserver, Java, Valkey, Elasticsearch) with the advisories on them.

An audit of Python packages knows the wheels, not what is in them, and no jars. No database is queried: the list of
what is known here is kept by hand.
Reads   stack/images/advisories.toml, the lock files that it names
Run     make audit-runtimes, or python -m stack.images.runtimes
Expect  a line a program, a line an advisory that applies to it; exit code 1 for one that nobody has accepted
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, Final

from stack.service import ROOT, StackError, run

ADVISORIES: Final = Path(__file__).with_name("advisories.toml")


def numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def applies(advisory: dict[str, Any], runtime: dict[str, Any]) -> bool:
    """Whether a runtime's version has the fault; where nobody knows since when it is fixed, it has."""
    if advisory["runtime"] != runtime["name"]:
        return False
    return "fixed_in" not in advisory or numbers(runtime["version"]) < numbers(advisory["fixed_in"])


def report(known: dict[str, Any], root: Path) -> tuple[list[str], list[str]]:
    """Lines to print, and the ids that apply and are not accepted.

    Raises StackError when a lock file has another version of a package than the one that the list describes.
    """
    lines: list[str] = []
    open_ids: list[str] = []
    for runtime in known["runtime"]:
        lock = (root / runtime["lock"]).read_text(encoding="utf-8")
        (locked,) = re.findall(rf"^{re.escape(runtime['package'])}(?:==|:)(\S+)", lock, re.MULTILINE)  # wheels, jars
        if locked != runtime["package_version"]:
            raise StackError(
                f"{runtime['lock']} has {runtime['package']} {locked}, {ADVISORIES.name} describes "
                f"{runtime['package_version']}: read {runtime['source']} and update {ADVISORIES.name}."
            )
        found = [each for each in known["advisory"] if applies(each, runtime)]
        lines.append(f"{runtime['name']} {runtime['version']} ({runtime['package']} {locked}): {len(found)} apply")
        for each in found:
            fixed = f"fixed in {each['fixed_in']}" if "fixed_in" in each else "unknown where it is fixed"
            lines.append(f"    {', '.join(each['ids'])}: {each['about']}; {fixed}. {each.get('accepted', 'OPEN')}")
            open_ids += [] if "accepted" in each else each["ids"]
    lines.append(
        f"Compared with {ADVISORIES.name} of {known['read']}, which is kept by hand: what was published later, or is "
        "missing from it, is not known here."
    )
    return lines, open_ids


def main() -> None:
    """Raises StackError for advisories that apply and are not accepted."""
    lines, open_ids = report(tomllib.loads(ADVISORIES.read_text(encoding="utf-8")), ROOT)
    print("\n".join(lines))  # noqa: T201
    if open_ids:
        raise StackError(f"{', '.join(open_ids)}: update the package, or say in {ADVISORIES.name} why it is accepted.")


if __name__ == "__main__":
    run(main, interrupted="interrupted")
