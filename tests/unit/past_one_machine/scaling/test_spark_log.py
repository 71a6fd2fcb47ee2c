from __future__ import annotations

import json
from pathlib import Path

from past_one_machine.scaling import spark_log


def task(written: int, spilled: int) -> str:
    metrics = {"Shuffle Write Metrics": {"Shuffle Bytes Written": written}, "Disk Bytes Spilled": spilled}
    return json.dumps({"Event": "SparkListenerTaskEnd", "Task Metrics": metrics})


def test_the_bytes_of_all_tasks_of_all_runs_are_added(tmp_path: Path) -> None:
    spark_log.kept_in(tmp_path)
    other = json.dumps({"Event": "SparkListenerTaskEnd"})  # a task that was lost with its worker
    (tmp_path / "log" / "local-1").write_text("\n".join([json.dumps({"Event": "X"}), task(5, 0), task(7, 2), other]))
    (tmp_path / "log" / "local-2").write_text(task(1, 1))
    assert spark_log.shuffled(tmp_path) == spark_log.Shuffled(written=13, spilled=3)


def test_spark_is_told_where_and_speaks_as_it_does_otherwise(tmp_path: Path) -> None:
    folder = Path(spark_log.kept_in(tmp_path)["SPARK_CONF_DIR"])
    options = dict(line.split(" ") for line in (folder / "spark-defaults.conf").read_text().splitlines())
    assert options["spark.eventLog.enabled"] == "true"
    assert options["spark.eventLog.dir"] == (tmp_path / "log").as_uri()
    name = "log4j2.properties"
    assert (folder / name).read_text() == (spark_log.CONF / name).read_text()
