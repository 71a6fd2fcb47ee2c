from importlib.util import find_spec

import pytest

from tests.needs import not_tested


@pytest.mark.skipif(
    find_spec("pyspark") is None, reason=not_tested("pyspark", "make spark")
)
def test_java_is_that_of_the_wheel(spark) -> None:
    assert spark.sparkContext._jvm.System.getProperty("java.version").startswith("17.")
