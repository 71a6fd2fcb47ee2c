"""Mutation testing: small faults planted by mutmut, one at a time, that a file's nearest tests must detect.

A mutant that no test detects is a survivor: a test is missing, or the mutant is equivalent (`MEANS_NOTHING`). Each file
is mutated in a clone of the committed state, below build/mutants; results are kept there, so an interrupted run
resumes.

Reads   the committed state of this checkout
Writes  research/MUTANTS.md, with what was found so far of every file
Run     make mutants [only="data_exchange_center/fusion.py ..."] [part=7: a tenth of them]
Expect  minutes to an hour a file, on one core; not in the gate
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final, NamedTuple

from research.figure_files import ROOT

CLONES: Final = ROOT / "build" / "mutants"
REPORT: Final = ROOT / "research" / "MUTANTS.md"
CORE, EVENTS, RELEASE = "tests/unit/data_exchange_center", "tests/unit/extras/events", "tests/unit/online/recommend"
# File -> the tests that have to notice its faults.
TARGETS: Final = {
    "data_exchange_center/fusion.py": (f"{CORE}/test_fusion.py",),
    "data_exchange_center/features.py": (f"{CORE}/test_features.py",),
    "data_exchange_center/history.py": (f"{CORE}/test_history.py",),
    "offline/evaluation/metrics.py": ("tests/unit/offline/evaluation/test_metrics.py",),
    "extras/events/log.py": (EVENTS,),
    "extras/events/events.py": (EVENTS,),
    "extras/events/feedback.py": (EVENTS,),
    "online/recommend/loaded_release.py": (RELEASE,),
    "online/recommend/releases.py": (RELEASE, "tests/unit/extras/experiments/test_hook.py"),
}
# Pattern of a mutated line -> why the mutant is equivalent, so that no test can detect it.
MEANS_NOTHING: Final = {
    r"zip\(.*(strict=(None|False)|, )\)": "lengths that the line before made equal",
    r"dtype=None|(asarray|array|empty|zeros|ones)\(.*, \)|(to_numpy|scores\.astype)\(None\)": "the same type of values",
    r"(indptr\)|, values\))\.astype\(None\)": "64 bits, as without it",
    r'kind="STABLE"|\.all\(\)\) and False|\.any\(\)\) or True': "the same by a longer way",
    r"copy=True|, -2\)(\.T)?$|rpartition": "the same by another way",
    r'discount = 2 /|lists >= 0\]|"NAN"': "what falls out again: a factor of both sides, padding, capitals",
    r"(counts == 0|liked_counts\(relevance\)\))\] = None$|np\.nan\), (where=\w+ >= 0)?\)|if n >= 1:": (
        "NaN by another way, as None or with a warning of NumPy's"
    ),
    r"< before\), (key=None)?\)$": "no two events have one place in the log",
    r"(Error|error)\(|raise |log\.": "words for a person",
}
KILLED, NO_TEST = {1, 3, 24, 36, 152, 255, -24, -11, -9}, {5, 33}  # exit codes of a mutant's tests, as mutmut has them

_MUTMUT: Final = (sys.executable, "-m", "mutmut")
SETTINGS: Final = """
[tool.mutmut]
source_paths = ["{package}"]
also_copy = {others}
only_mutate = ["{file}"]
pytest_add_cli_args = ["-p", "no:cacheprovider", "--hypothesis-seed=0", "-n", "0"]
pytest_add_cli_args_test_selection = {tests}
process_isolation = "forkserver"
"""


class Survivor(NamedTuple):
    """A change that no test noticed."""

    function: str
    before: str
    after: str

    @property
    def reason(self) -> str:
        return next((why for pattern, why in MEANS_NOTHING.items() if re.search(pattern, self.after)), "")


class Found(NamedTuple):
    """Results of a file's mutants."""

    file: str
    killed: int
    untested: int  # in functions that none of the tests calls
    left: int  # not run yet
    survivors: list[Survivor]


def clone_of(file: str) -> Path:
    """The folder for one file's mutants, named by the committed state of the file and of its tests."""
    names = [f"HEAD:{name}" for name in (file, *TARGETS[file])]
    said = subprocess.run(("git", "rev-parse", *names), cwd=ROOT, check=True, capture_output=True).stdout
    return CLONES / f"{file.replace('/', '.').removesuffix('.py')}-{hashlib.sha256(said).hexdigest()[:8]}"


def mutate(file: str, part: str) -> None:
    """Run mutmut on one file, with one process; ``part``: only the mutants whose number ends with it.

    Exits when the file's tests fail without a mutant.
    """
    folder, package = clone_of(file), file.partition("/")[0]
    if not folder.exists():
        subprocess.run(("git", "clone", "--quiet", "--no-hardlinks", ROOT, folder), check=True)
        packages = sorted(path.parent.name for path in ROOT.glob("*/__init__.py"))
        others = [*(each for each in packages if each not in (package, "tests")), "pic", "Makefile", "README.md"]
        tests = json.dumps(list(TARGETS[file]))
        with (folder / "pyproject.toml").open("a", encoding="utf-8") as end:
            end.write(SETTINGS.format(package=package, others=json.dumps(others), file=file, tests=tests))
    command = [*_MUTMUT, "run", "--max-children", "1", *([f"*{part}"] if part else [])]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if subprocess.run(("nice", "-n", "10", *command), cwd=folder, env=environment, check=False).returncode:
        sys.exit(f"mutmut failed on {file}, in {folder}: see above")


def found(file: str) -> Found | None:
    """Read what mutmut has kept of a file; None where it has not been run."""
    folder = clone_of(file)
    kept = folder / "mutants" / f"{file}.meta"
    if not kept.is_file():
        return None
    codes: dict[str, int | None] = json.loads(kept.read_text(encoding="utf-8"))["exit_code_by_key"]
    return Found(
        file,
        killed=sum(code in KILLED for code in codes.values()),
        untested=sum(code in NO_TEST for code in codes.values()),
        left=sum(code is None for code in codes.values()),
        survivors=[_survivor(folder, name) for name, code in codes.items() if code == 0],
    )


def _survivor(folder: Path, name: str) -> Survivor:
    """Ask mutmut for the changed lines of a mutant."""
    shown = subprocess.run((*_MUTMUT, "show", name), cwd=folder, check=True, capture_output=True, text=True).stdout
    lines = [line for line in shown.splitlines() if line[:1] in ("-", "+") and line[1:2] not in ("-", "+")]
    before, after = ("; ".join(line[1:].strip() for line in lines if line[0] == sign) for sign in "-+")
    return Survivor(re.sub(r"__mutmut_\d+$|^.*\.xǁ?_?", "", name).replace("ǁ", "."), before, after)


def report(files: list[Found]) -> str:
    """The Markdown page: a table of files, then the survivors that nothing explains."""
    lines = [
        "# Mutants",
        "",
        "Written by `make mutants` ([mutants.py](mutants.py)): small faults, one at a time, and whether the",
        "nearest tests notice them. A survivor is explained where its change means nothing; the others are below.",
        "",
        "| file | mutants | killed | survive | of them explained | in functions without a test here | not run |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for each in files:
        explained = sum(bool(one.reason) for one in each.survivors)
        total = each.killed + each.untested + each.left + len(each.survivors)
        counts = (total, each.killed, len(each.survivors), explained, each.untested, each.left)
        lines.append(f"| `{each.file}` | {' | '.join(map(str, counts))} |")
    for reason in MEANS_NOTHING.values():
        count = sum(one.reason == reason for each in files for one in each.survivors)
        lines += ["", f"Explained, {count}: {reason}."]
    for each in files:
        if rows := [one for one in each.survivors if not one.reason]:
            lines += ["", f"## {each.file}", "", "| function | line | survives as |", "|---|---|---|"]
            lines += [f"| `{one.function}` | {_code(one.before)} | {_code(one.after)} |" for one in rows]
    return "\n".join(lines) + "\n"


def _code(text: str) -> str:
    return "`" + text.replace("|", "\\|").replace("`", "'") + "`"


def main(only: list[str], part: str) -> None:
    for file in only or TARGETS:
        mutate(file, part)
        there = [each for each in map(found, TARGETS) if each and each.killed]
        REPORT.write_text(report(there), encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=[], choices=TARGETS, metavar="FILE")
    parser.add_argument("--part", default="", help="run a tenth: the mutants whose number ends with this digit")
    given = parser.parse_args()
    main(given.only, given.part)
