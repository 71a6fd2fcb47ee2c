"""Find plugins: classes and functions that other folders and installed packages provide as entry points.

Built-in ones are declared in this repository's pyproject.toml, others in their own package's, in the same groups:

    [project.entry-points."recsys.recipes"]
    mine = "my_package.my_channel:MyRecipe"

The core never imports code that depends on it: it looks up a group. An entry point whose folder is gone is skipped.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from typing import Any, Final

from data_exchange_center.errors import RecsysError

# Groups of models and features; examples/ holds a package that brings some.
RECIPES: Final = "recsys.recipes"  # kind -> settings of a channel or ranker; the server imports a channel's: no torch
SERVED: Final = "recsys.served"  # form -> `channels.Channel` as a release holds it; the server imports it: numpy alone
NAMED_RECIPES: Final = "recsys.named_recipes"  # name in RECSYS_RECIPE -> a recipe, besides those of `recipes`
MODELS: Final = "recsys.models"  # kind -> how it is trained: see `offline.models.kinds`
STATISTICS: Final = "recsys.statistics"  # column -> `offline.data.statistics.UserStatistic` or `ItemStatistic`
# Feedback received by servers: "unpack" and "apply" it to a user's state, "collect" (step 0) and "merge" (step 1) it
# into a data set; `extras.events` provides them
FEEDBACK: Final = "recsys.feedback"
FETCHED: Final = "recsys.fetched"  # data set's name, for RECSYS_DATA -> a function like `offline.movielens.download`
RELEASED: Final = "recsys.released"  # called with settings and deleted releases after one has gone live
RECOUNTS: Final = "recsys.recounts"  # column -> function that counts it a second time, for the parity check


class PluginError(RecsysError, ValueError):
    """No plugin of that name is installed. The message lists those that are."""


@cache
def find(group: str) -> Mapping[str, EntryPoint]:
    """Return the entry points of a group by name, without importing them; read once a process, in some 30 ms.

    A package cannot replace a built-in plugin: of two with the same name, the first that Python finds counts.
    """
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=group):
        if _is_there(point.module):
            found.setdefault(point.name, point)
    return found


def load(group: str, name: object) -> Any:
    """Import one plugin. Raises PluginError, listing what there is, when the group has none of that name."""
    found = find(group)
    if not isinstance(name, str) or name not in found:
        there = ", ".join(sorted(found)) or "none"
        raise PluginError(
            f"No {name!r} among the plugins of {group!r}; there are: {there}. A package brings one by an entry point "
            f'in its pyproject.toml: [project.entry-points."{group}"].'
        )
    return found[name].load()


def _is_there(module: str) -> bool:
    """Tell whether a module can be imported, without importing it (its packages are)."""
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of a parent package
        return False
