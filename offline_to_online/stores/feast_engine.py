"""What Feast's commands are run with: this Python and Feast's file store, or a plugin that RECSYS_ENGINE names."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

from data_exchange_center import plugins
from data_exchange_center.settings import IN_MEMORY, Settings


class Kind(NamedTuple):
    """An engine.

    Attributes:
        python: which one Feast's commands run in.
        job: the module that runs them.
        config: takes the place of what feature_store.yaml says; not for the feature server, which reads Redis alone.
        variables: of the process; FEAST_OFFLINE_STORE is for definitions.py.
    """

    python: Callable[[Settings], Path]
    job: str
    config: Mapping[str, Any]
    variables: Callable[[Settings], dict[str, str]]


OF_FILES: Final = Kind(
    lambda _: Path(sys.executable),
    "offline_to_online.stores.feast_job",
    {},
    lambda _: {"FEAST_OFFLINE_STORE": "file"},
)


def chosen(settings: Settings) -> Kind:
    """The engine that the settings name. Raises PluginError where there is none of that name."""
    return OF_FILES if settings.engine == IN_MEMORY else cast(Kind, plugins.load("recsys.feast", settings.engine))
