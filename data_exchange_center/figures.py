"""Where figures and pictures lie, and how those of another recipe are called."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from data_exchange_center.recipes import DEFAULT

PICTURES: Final = Path(__file__).resolve().parents[1] / "pic"
FIGURES: Final = PICTURES / "figures"


def named(kind: str, recipe: str) -> str:
    """``kind`` for the default recipe, ``kind_recipe`` for another."""
    return kind if recipe == DEFAULT.name else f"{kind}_{recipe}"
