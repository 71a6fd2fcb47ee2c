from __future__ import annotations

from importlib.util import find_spec

import pytest

from tests.cluster.needs_spark import missing
from tests.needs import not_tested


@pytest.mark.skipif(find_spec("pyspark") is None, reason=missing() or not_tested("pyspark", "make test-spark"))
def test_java_is_that_of_the_wheel(spark) -> None:
    assert spark.sparkContext._jvm.System.getProperty("java.version").startswith("17.")
