"""What every block of figures is drawn with: Markdown tables, and where a figure comes from."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from data_exchange_center.figures import FIGURES

Words = Callable[[str], str]  # English -> the README's language
Figure = dict[str, Any]

NOT_MEASURED = "Not measured yet: no command has written `{file}`."

CHINESE = {
    NOT_MEASURED: "还没有测：还没有命令写出 `{file}`。",
    "Measured by": "由", "on": "测于", "service versions": "服务版本", "cores": "核", "data": "数据",
}  # fmt: skip


def read(name: str) -> Figure:
    """A file that a command wrote into ``pic/figures``."""
    content: Figure = json.loads((FIGURES / name).read_text(encoding="utf-8"))
    return content


def not_measured(name: str, word: Words) -> str:
    """In place of what is drawn from a file of ``pic/figures`` that is not there."""
    return word(NOT_MEASURED).format(file=f"pic/figures/{name}")


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table, first column left, the others right."""
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    lines += ["| " + " | ".join("-" if cell is None else str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def span(found: Figure) -> str | None:
    """A mean and its interval; None where there was nobody to measure."""
    if found["mean"] is None:
        return None
    return f"{found['mean']:.3f} ({found['low']:.3f}–{found['high']:.3f})"


def measured(figure: Figure, word: Words) -> str:
    """Where a figure comes from: the command, the machine and, where there is one, the data set."""
    machine = figure["machine"]
    where = f"{machine['cpu']}, {machine['cores']} {word('cores')}, {machine['memory_gb']} GB"
    data = f"; {word('data')}: {figure['dataset']}" if "dataset" in figure else ""
    versions = ", ".join(f"{name} {version}" for name, version in figure.get("services", {}).items())
    services = f"; {word('service versions')}: {versions}" if versions else ""
    return f"{word('Measured by')} `{figure['command']}` {word('on')} {where}{data}{services}."
