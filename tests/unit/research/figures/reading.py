"""What tests read of drawn blocks."""

from __future__ import annotations

BASE = {"machine": {"cpu": "a cpu", "cores": 2, "memory_gb": 8}, "command": "make it", "dataset": "ml-1m"}
MEANS = {"recall@200": 0.7, "recall@50": 0.4, "ndcg@50": 0.3, "returning: recall@200": 0.5}


def word(text: str) -> str:
    """A README's word, untranslated."""
    return text


def cells(block: str) -> list[list[str]]:
    """Rows of a Markdown table, the head first, the line below it left out."""
    lines = [line for line in block.split("\n") if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in (lines[0], *lines[2:])]
