"""Count the code: lines and files of each package, what the server and each step import, the change since a ref.

Reads   the tracked Python files; for the change, those of a git ref
Run     make size              (against=<ref>: compared with that commit)
Expect  one table of packages, one of entry points
"""

from __future__ import annotations

import argparse
import ast
import io
import subprocess
import sys
import tarfile
import tokenize
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

ROOT: Final = Path(__file__).resolve().parents[1]
CORE: Final = ("data_exchange_center", "offline", "offline_to_online", "online")
PACKAGES: Final = (*CORE, "extras", "past_one_machine", "research", "examples", "pic", "tests")
ENTRY_POINTS: Final = (
    "online.main.s1_server",
    "offline.preprocess.s0_get_data",
    "offline.preprocess.s1_data_split",
    "offline.preprocess.s2_term_trans",
    "offline.recall.s1_term_recall",
    "offline.recall.s2_vector_recall",
    "offline.rank.s1_feature_engi",
    "offline.rank.s2_model_train",
)
# Modules of this repository that a fresh interpreter has loaded after one import, as paths.
LOADED: Final = """
import importlib, pathlib, sys
importlib.import_module(sys.argv[1])
root = pathlib.Path(sys.argv[2])
for module in list(sys.modules.values()):
    file = getattr(module, "__file__", None)
    if file and pathlib.Path(file).is_relative_to(root) and ".venv" not in file:
        print(pathlib.Path(file).relative_to(root))
"""


Size = Counter[str]  # files, lines, comments (lines that are a comment alone), imports (their lines)


def measure(source: str) -> Size:
    """Count one file."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comments = sum(token.type == tokenize.COMMENT and not token.line[: token.start[1]].strip() for token in tokens)
    statements = (node for node in ast.parse(source).body if isinstance(node, ast.Import | ast.ImportFrom))
    imports = sum((node.end_lineno or node.lineno) - node.lineno + 1 for node in statements)
    return Counter(files=1, lines=len(source.splitlines()), comments=comments, imports=imports)


def sizes(sources: Iterable[tuple[str, str]]) -> dict[str, Size]:
    """Add up (path, source) by package; those without Python are left out."""
    found: dict[str, Size] = defaultdict(Counter)
    for path, source in sources:
        if (package := path.split("/")[0]) in PACKAGES:
            found[package] += measure(source)
    return found


def here() -> Iterator[tuple[str, str]]:
    """Path and source of every Python file that git tracks, as it is on disk."""
    for path in _git("ls-files", "*.py").decode().splitlines():
        if (ROOT / path).is_file():
            yield path, (ROOT / path).read_text(encoding="utf-8")


def at(ref: str) -> Iterator[tuple[str, str]]:
    """Path and source of every Python file of a commit."""
    with tarfile.open(fileobj=io.BytesIO(_git("archive", ref))) as archive:
        for member in archive:
            if member.name.endswith(".py") and (file := archive.extractfile(member)):
                yield member.name, file.read().decode()


def _git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True).stdout


def packages_table(now: Mapping[str, Size], before: Mapping[str, Size] | None) -> Table:
    table = _table(
        "package", "files", "lines", "comment lines", "imports, %", *(("lines before", "change") if before else ())
    )
    rows = {package: (package,) for package in PACKAGES if package in now or package in (before or ())}
    table.title = "Python files that git tracks"
    sums = {"core": CORE, "core and extras": (*CORE, "extras"), "all without tests": PACKAGES[:-1]}
    for name, packages in {**rows, **sums}.items():
        size, old = (
            sum((of[package] for package in packages if package in of), Counter[str]()) for of in (now, before or {})
        )
        share = f"{100 * size['imports'] / max(size['lines'], 1):.1f}"
        change = (f"{old['lines']:,}", f"{size['lines'] - old['lines']:+,}") if before else ()
        counts = (f"{size[each]:,}" for each in ("files", "lines", "comments"))
        table.add_row(name, *counts, share, *change, end_section=name == [*rows][-1])
    return table


def loaded_table() -> Table:
    """Modules of this repository that a fresh Python loads by one import."""
    table = _table("importing", "files", "lines")
    for module in ENTRY_POINTS:
        command = [sys.executable, "-c", LOADED, module, str(ROOT)]
        paths = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
        size = sum((measure((ROOT / path).read_text(encoding="utf-8")) for path in paths), Counter[str]())
        table.add_row(module, f"{size['files']:,}", f"{size['lines']:,}")
    return table


def _table(first: str, *numbers: str) -> Table:
    table = Table(first)
    for name in numbers:
        table.add_column(name, justify="right")
    return table


def main(against: str | None) -> None:
    console = Console(width=max(Console().width, 110))
    console.print(packages_table(sizes(here()), sizes(at(against)) if against else None))
    console.print(loaded_table())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Count the code by package.")
    parser.add_argument("--against", help="a git ref to compare with")
    main(parser.parse_args().against)
