"""What Feast loads a release with, chosen by RECSYS_ENGINE: `KINDS` is all that there is to know of an engine here.

With pandas it is Feast's file store, in one process. With Spark it is Feast's Spark store and compute engine: executors
read the release's files and write its rows to Redis themselves.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from data_exchange_center.settings import Settings
from offline.engines.spark import environment


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


def _this_python(_: Settings) -> Path:
    return Path(sys.executable)


def _python_of_spark(settings: Settings) -> Path:
    return environment.python(settings)


def _of_files(_: Settings) -> dict[str, str]:
    return {"FEAST_OFFLINE_STORE": "file"}


def _of_spark(settings: Settings) -> dict[str, str]:
    return {"FEAST_OFFLINE_STORE": "spark", **environment.variables(settings)}


KINDS: Final = {
    "pandas": Kind(_this_python, "offline_to_online.stores.feast_job", {}, _of_files),
    "spark": Kind(
        _python_of_spark,
        "offline_to_online.stores.feast_job_on_spark",
        {"offline_store": {"type": "spark"}, "batch_engine": {"type": "spark.engine"}},
        _of_spark,
    ),
}


def chosen(settings: Settings) -> Kind:
    """The engine that the settings name."""
    return KINDS[settings.engine]
