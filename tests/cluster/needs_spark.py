"""The mark of tests that start Spark from the project's own environment."""

from __future__ import annotations

import pytest
from past_one_machine.spark import environment

from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError


def ready() -> bool:
    try:
        return environment.python(Settings()).is_file()
    except StepError:
        return False


needs_spark = pytest.mark.skipif(not ready(), reason="Spark's environment is not there: make spark")
