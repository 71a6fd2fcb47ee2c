"""The mark of tests that start Spark from the project's own environment."""

from __future__ import annotations

import pytest

from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from past_one_machine.spark import environment
from tests.needs import not_tested


def missing() -> str:
    """The reason to skip such a test; empty where Spark's environment is there."""
    try:
        environment.python(Settings())
    except StepError:
        return not_tested("Spark", "make spark, which needs Python 3.11")
    return ""


needs_spark = pytest.mark.skipif(bool(missing()), reason=missing() or "it is there")
