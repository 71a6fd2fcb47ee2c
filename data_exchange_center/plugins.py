"""Kinds of models and statistics, found by name among the entry points of all installed packages.

This project declares its own in pyproject.toml; another package brings more by declaring them in the same groups.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

RECIPES: Final = "recsys.recipes"  # kind -> settings of a channel or ranker; every process parses them: no torch
SERVED: Final = "recsys.served"  # form -> `channels.Channel` as a release holds it; the server imports it: numpy alone
MODELS: Final = "recsys.models"  # kind -> how it is trained: see `offline.models.kinds`
STATISTICS: Final = "recsys.statistics"  # column -> `offline.data.statistics.UserStatistic` or `ItemStatistic`
RECOUNTS: Final = "recsys.recounts"  # column -> its second count, of `offline_to_online.parity.recount.Served`


@cache
def declared(group: str) -> dict[str, EntryPoint]:
    """Entry points of a group by name; read once a process, as that takes some 30 ms."""
    return {each.name: each for each in sorted(entry_points(group=group), key=lambda each: each.name)}


def load(group: str, name: object) -> Any:
    """Import what is declared under ``name``. Raises ValueError, with the names that there are, when nothing is."""
    known = declared(group)
    if not isinstance(name, str) or name not in known:
        hint = "" if known else "none (`make setup` declares the project's own)"
        raise ValueError(f"{group}: none is called {name!r}; there are: {', '.join(known)}{hint}")
    return known[name].load()
