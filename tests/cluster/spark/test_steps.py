"""The steps as a person runs them, with settings alone, on a driver and two executors."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pandas as pd

from data_exchange_center import artifacts
from data_exchange_center.settings import PandasSettings, Settings
from offline.preprocess import s0_get_data, s1_data_split, s2_term_trans
from offline.recall import s1_term_recall
from tests.cluster.needs_spark import needs_spark
from tests.made_up_data import half_stars

ROOT = Path(s0_get_data.__file__).parents[2]
PYTHON = ROOT / ".venv" / "bin" / "python"  # the project's, which becomes Spark's


STEPS = (s0_get_data, s1_data_split, s2_term_trans, s1_term_recall)
TABLES = (
    artifacts.RATINGS,
    artifacts.USERS,
    artifacts.ITEMS,
    artifacts.IMPRESSION_TERMS,
    artifacts.USER_TERMS,
    artifacts.ITEM_TERMS,
    artifacts.USER_PREFERENCES,
    artifacts.USER_SEEN,
    artifacts.USER_STATE,
    artifacts.POPULAR,
)


@needs_spark
def test_the_steps_leave_what_they_leave_without_spark(tmp_path: Path) -> None:
    data = half_stars(tmp_path / "data")
    settings = Settings(data=data, exchange_dir=tmp_path / "pandas", pandas=PandasSettings(memory_gb=1))
    for step in STEPS:
        step.main(settings)
    variables = {
        "RECSYS_ENGINE": "spark",
        "RECSYS_SPARK__MASTER": "local-cluster[2,1,1024]",
        "RECSYS_SPARK__PARTITIONS": "2",
        "RECSYS_DATA": str(data),
        "RECSYS_EXCHANGE_DIR": str(tmp_path / "spark"),
    }
    for step in STEPS:
        done = subprocess.run(
            [str(PYTHON), Path(step.__file__).name],
            cwd=Path(step.__file__).parent,
            env=os.environ | variables,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    assert artifacts.DATASET.read(tmp_path / "spark") == artifacts.DATASET.read(tmp_path / "pandas")
    for table in TABLES:
        pd.testing.assert_frame_equal(table.read(tmp_path / "spark"), table.read(tmp_path / "pandas"))
    assert artifacts.RATINGS.at(tmp_path / "spark").is_dir()
