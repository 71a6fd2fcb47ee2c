"""What steps 0 and 1 read a data set with."""

from __future__ import annotations

from contextlib import nullcontext

from data_exchange_center import steps
from data_exchange_center.machine import free_memory_gb
from data_exchange_center.settings import Settings
from offline.engines.in_memory import PandasEngine

run = steps.run


def chosen(settings: Settings) -> nullcontext[PandasEngine]:
    """Pandas, with the memory that the settings allow."""
    return nullcontext(PandasEngine(settings.pandas.memory_gb or free_memory_gb()))
