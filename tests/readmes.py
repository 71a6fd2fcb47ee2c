"""The commands that the READMEs show, and how each is tested.

A ```bash block's commands are run by ``tests/e2e/full/test_readmes.py``, literally, unless a comment right before the
block says otherwise: ``<!-- not run: why -->``, or ``<!-- run by: name -->`` for the test or fixture that runs them.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
ENGLISH, CHINESE = "README.md", "README.zh-CN.md"

_NOTE = r"(?:<!-- (?P<how>not run|run by): (?P<note>[^\n]+?) -->\n)?"
_BLOCK = re.compile(rf"{_NOTE}```bash\n(?P<body>.*?)```", re.DOTALL)
_PYTHON = re.compile(rf"{_NOTE}```python\n(?P<body>.*?)```", re.DOTALL)
_COMMENT = re.compile(r"\s+# .*$")


@dataclass(frozen=True)
class Command:
    """One command as a person types it, without the comment behind it."""

    readme: str
    text: str
    not_run: str | None = None
    run_by: str | None = None

    @property
    def steps(self) -> list[str]:
        """``(cd a/b && python s1.py && python s2.py)`` -> a/b/s1.py, a/b/s2.py."""
        folder = re.search(r"cd (\S+)", self.text)
        return (
            [
                f"{folder[1]}/{name}"
                for name in re.findall(r"python (s\d_\w+\.py)", self.text)
            ]
            if folder
            else []
        )


def commands(readme: str) -> list[Command]:
    """The commands of a README, in order; a line that ends in a backslash goes on in the next."""
    found = []
    for block in _BLOCK.finditer((ROOT / readme).read_text(encoding="utf-8")):
        notes = {"not run": "not_run", "run by": "run_by"}
        note = {notes[block["how"]]: block["note"]} if block["how"] else {}
        for line in block["body"].replace("\\\n", " ").splitlines():
            if text := _COMMENT.sub("", line).strip():
                found.append(Command(readme, re.sub(r"\s+", " ", text), **note))
    return found


def readmes(name: str = ENGLISH) -> list[str]:
    """Paths of the READMEs of that name; with the English ones, the other pages of the site."""
    others = ["docs/*.md", "docs/**/*.md", "CONTRIBUTING.md", "SECURITY.md"]
    return tracked(name, f"**/{name}", *(others if name == ENGLISH else []))


def tracked(*patterns: str) -> list[str]:
    """Paths of the files of these names that git knows."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(
        [*command, *patterns], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split()
    return [path for path in dict.fromkeys(listed) if (ROOT / path).is_file()]


def python_blocks(readme: str) -> list[str]:
    """The Python examples of a README, but for those that say why they are not run."""
    found = _PYTHON.finditer((ROOT / readme).read_text(encoding="utf-8"))
    return [block["body"] for block in found if block["how"] != "not run"]


def to_run() -> list[Command]:
    """Commands that the test runs, in the order of the READMEs."""
    return [
        c
        for readme in readmes()
        for c in commands(readme)
        if not c.not_run and not c.run_by
    ]
