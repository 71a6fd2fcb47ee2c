"""The mark of tests that start Spark from the project's own environment."""

from __future__ import annotations

import subprocess
import sys

import pytest

from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from past_one_machine.spark import environment
from tests.needs import not_tested


def missing() -> str:
    """The reason to skip such a test; empty where Spark's environment is there."""
    version = ".".join(map(str, environment.PYTHON))
    find = (sys.executable, "-m", "uv", "python", "find", "--no-python-downloads", version)
    if subprocess.run(find, check=False, capture_output=True).returncode:
        return not_tested(f"Python {version}", "install it, then make spark")
    try:
        environment.python(Settings())
    except StepError:
        return not_tested("Spark", "make spark")
    return ""


needs_spark = pytest.mark.skipif(bool(missing()), reason=missing() or "it is there")
