from __future__ import annotations

from importlib.util import find_spec

import pytest


@pytest.mark.skipif(find_spec("pyspark") is None, reason="Spark's tests run in its environment: make test-spark")
def test_java_is_that_of_the_wheel(spark) -> None:
    assert spark.sparkContext._jvm.System.getProperty("java.version").startswith("17.")
