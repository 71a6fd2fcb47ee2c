"""Draw blocks of figures: Markdown tables, a note, and where a figure comes from.

A function that draws a block registers itself by name with `block`, with the file of ``pic/figures`` that it reads.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from research.figure_files import FIGURES

Figure = dict[str, Any]
Draw = Callable[[Figure], str]

IN_BRACKETS: Final = "In brackets the lowest and the highest turn of this run."
BLOCKS: Final[dict[str, tuple[str, Draw]]] = {}


def block(name: str, file: str) -> Callable[[Draw], Draw]:
    """Register a function as the block ``name``, drawn from ``file``."""

    def register(draw: Draw) -> Draw:
        BLOCKS[name] = file, draw
        return draw

    return register


def drawn(name: str) -> str:
    """Draw a block; where its file is not there, a sentence says so."""
    file, draw = BLOCKS[name]
    return draw(read(file)) if (FIGURES / file).is_file() else not_measured(file)


def read(file: str) -> Figure:
    """Read a file that a command wrote into ``pic/figures``."""
    content: Figure = json.loads((FIGURES / file).read_text(encoding="utf-8"))
    return content


def not_measured(file: str) -> str:
    return f"Not measured yet: no command has written `pic/figures/{file}`."


def shown(figure: Figure, head: Sequence[str], rows: Iterable[Sequence[object]], note: str = "") -> str:
    """A table, a note, and the command and machine that measured it."""
    return f"{table(head, rows)}\n\n{note}{' ' if note else ''}{measured(figure)}"


def table(head: Sequence[str], rows: Iterable[Sequence[object]], *, words: bool = False) -> str:
    """A Markdown table, first column left, the others right; ``words``: all left."""
    lines = ["| " + " | ".join(head) + " |", "|---|" + ("---|" if words else "---:|") * (len(head) - 1)]
    lines += ["| " + " | ".join("-" if cell is None else str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def span(found: Figure) -> str | None:
    """A mean and its interval; None where there was nobody to measure."""
    if found["mean"] is None:
        return None
    return f"{found['mean']:.3f} ({found['low']:.3f}–{found['high']:.3f})"


def with_range(value: object, turns: Sequence[float]) -> object:
    """A value, and the lowest and the highest of one run's turns, where there are some."""
    return f"{value} ({min(turns):g}–{max(turns):g})" if turns else value


def mean_of(value: Any) -> float:
    """A metric's mean over users, or the metric itself if it is one number for all."""
    return float(value["mean"] if isinstance(value, dict) else value)


def measured(figure: Figure) -> str:
    """Name the command and the machine; data set, services' versions, version, commit and date where they are known."""
    machine = figure["machine"]
    where = f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB"
    data = f"; data: {figure['dataset']}" if "dataset" in figure else ""
    versions = ", ".join(f"{name} {version}" for name, version in figure.get("services", {}).items())
    services = f"; service versions: {versions}" if versions else ""
    warm = f"; by its end Elasticsearch had answered {figure['searches']:,} searches" if "searches" in figure else ""
    age = figure.get("measured")
    when = f"; version {age['version']}, commit {age['commit']}, {age['date']}" if age else ""
    return f"Measured by `{figure['command']}` on {where}{data}{services}{warm}{when}."
