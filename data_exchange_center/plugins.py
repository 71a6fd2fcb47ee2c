"""Find plugins: classes and functions that other folders and installed packages provide as entry points.

Built-in ones are declared in this repository's pyproject.toml, others in their own package's, in the same groups:

    [project.entry-points."recsys.models"]
    mine = "my_package.my_channel:MyRecipe"

The core never imports code that depends on it: it looks up a group. An entry point whose folder is gone is skipped.
"""

from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pkgutil import resolve_name
from typing import Any, Final

from data_exchange_center.errors import RecsysError

# The groups; examples/ holds a package that brings models and a statistic.
SERVER: Final = "recsys.server"  # extensions of the server: `register(app, parts)`, see `online.web.parts`
# kind -> settings of a channel or a ranker, besides `recipes.KINDS`; the server imports them
MODELS: Final = "recsys.models"
# name in RECSYS_RECIPE -> a recipe, besides those of `recipes`
RECIPES: Final = "recsys.recipes"
# column, as a recipe of a ranker of lists names it -> `offline.data.statistics.UserStatistic` or `ItemStatistic`
STATISTICS: Final = "recsys.statistics"
# Modules that `read` files of a kind, as `offline.movielens.read`, and say in `EXPECTED` which; or that `fetch` the
# data set whose name is in RECSYS_DATA, as `extras.movielens.published`
DATASETS: Final = "recsys.datasets"
# What works in place of one process. RECSYS_ENGINE names one with `TWINS` (step -> the script that runs instead);
# redis_cluster: a client; nodes: starts a service's nodes; catalogues: models of many items, in place of the full ones
ENGINES: Final = "recsys.engines"


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
            f'in its pyproject.toml: [project.entry-points."{group}"]; after a change of this one\'s, run make setup.'
        )
    return found[name].load()


def part(plugin: Any, name: str) -> Any:
    """Import a part of a plugin: what its attribute ``name`` says as "module:object".

    So a plugin is imported without what its parts need: PyTorch, Spark. Raises PluginError where it has no such part.
    """
    if (place := getattr(plugin, name, None)) is None:
        raise PluginError(
            f"{getattr(plugin, '__name__', plugin)} has no {name}; it must name one as 'module:object'."
        )
    return resolve_name(place)


def engine(name: str) -> Any:
    """Import what RECSYS_ENGINE names. Raises PluginError where it has no `TWINS`."""
    if not hasattr(found := load(ENGINES, name), "TWINS"):
        raise PluginError(
            f"RECSYS_ENGINE={name} brings no steps; name pandas or spark."
        )
    return found


def _is_there(module: str) -> bool:
    """Tell whether a module can be imported, without importing it (its packages are)."""
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of a parent package
        return False
