"""Step 6 on Spark: offline/rank/s2_model_train.py, with pairs of items counted by Spark; the ranker is trained here.

Run:    RECSYS_ENGINE=spark make offline; alone: cd past_one_machine/spark && python s2_model_train.py
"""

from __future__ import annotations

from data_exchange_center.settings import Settings
from data_exchange_center.steps import run
from offline.rank import s2_model_train as step
from past_one_machine.spark.pairs import read_counted_on_spark


def main(settings: Settings) -> None:
    step.main(settings, read_counted_on_spark)


if __name__ == "__main__":
    run(main, about=__doc__)
