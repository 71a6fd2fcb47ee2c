"""What the offline steps compute with, chosen by RECSYS_ENGINE: pandas on one machine, or Spark.

A step says ``with engines.chosen(settings) as engine`` and is run by `run`, which starts it in the environment that its
engine needs. `KINDS` is all that there is to know of an engine here.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Final, NamedTuple

from data_exchange_center import steps
from data_exchange_center.settings import Settings
from offline.engines.contract import BesideModels, Engine
from offline.engines.in_memory import PandasBeside, PandasEngine


def _pandas(settings: Settings) -> AbstractContextManager[Engine]:
    return nullcontext(PandasEngine(settings.pandas.memory_gb or _free_memory_gb()))


def _free_memory_gb() -> float:
    from data_exchange_center.machine import free_memory_gb  # with psutil, which Spark has no use for

    return free_memory_gb()


def _spark(settings: Settings) -> AbstractContextManager[Engine]:
    from offline.engines.spark.engine import started  # in Spark's environment

    return started(settings)


def _this_python(_: Settings) -> Path:
    return Path(sys.executable)


def _python_of_spark(settings: Settings) -> Path:
    from offline.engines.spark import environment

    return environment.python(settings)


def _pandas_beside(settings: Settings) -> BesideModels:
    return PandasBeside(settings.exchange_dir)


def _spark_beside(settings: Settings) -> BesideModels:
    from offline.engines.spark.beside import SparkBeside

    return SparkBeside(settings)


class Kind(NamedTuple):
    """An engine.

    Attributes:
        start: it is stopped when the block ends.
        python: which one a step needs that uses it.
        beside: what it does for steps that train models.
    """

    start: Callable[[Settings], AbstractContextManager[Engine]]
    python: Callable[[Settings], Path]
    beside: Callable[[Settings], BesideModels]


KINDS: Final = {
    "pandas": Kind(_pandas, _this_python, _pandas_beside),
    "spark": Kind(_spark, _python_of_spark, _spark_beside),
}


def chosen(settings: Settings) -> AbstractContextManager[Engine]:
    """The engine that the settings name."""
    return KINDS[settings.engine].start(settings)


def beside_models(settings: Settings) -> BesideModels:
    """What that engine does for a step that it does not run."""
    return KINDS[settings.engine].beside(settings)


def run(main: Callable[[Settings], None]) -> None:
    """`steps.run`, in the environment of the engine: where that is another one, this process becomes its Python."""

    def in_its_environment(settings: Settings) -> None:
        python = KINDS[settings.engine].python(settings)
        if python.absolute() != Path(sys.executable).absolute():
            sys.stdout.flush()
            os.execv(python, [str(python), *sys.argv])  # noqa: S606 (the same script, the same settings)
        main(settings)

    steps.run(in_its_environment)
