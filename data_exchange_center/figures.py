"""Folders of measured figures and of pictures, file names by recipe, and one look for all plots."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from data_exchange_center.recipes import DEFAULT

PICTURES: Final = Path(__file__).resolve().parents[1] / "pic"
FIGURES: Final = PICTURES / "figures"
COLOURS: Final = ("#3b6fb6", "#d1622b", "#3a8f5c", "#8a5aa8", "#7a7a7a")
# matplotlib's rc parameters
STYLE: Any = {
    "font.size": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "axes.titlesize": 14,
    "axes.titlelocation": "left",
}


def named(kind: str, recipe: str) -> str:
    """``kind`` for the default recipe, ``kind_recipe`` for another."""
    return kind if recipe == DEFAULT.name else f"{kind}_{recipe}"
