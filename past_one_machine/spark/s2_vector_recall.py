"""Step 4 on Spark: offline/recall/s2_vector_recall.py, with pairs of items counted by Spark; models are fitted here.

Run:    RECSYS_ENGINE=spark make offline; alone: cd past_one_machine/spark && python s2_vector_recall.py
"""

from __future__ import annotations

from data_exchange_center.settings import Settings
from data_exchange_center.steps import run
from offline.recall import s2_vector_recall as step
from past_one_machine.spark.pairs import read_counted_on_spark


def main(settings: Settings) -> None:
    step.main(settings, read_counted_on_spark)


if __name__ == "__main__":
    run(main, about=__doc__)
