"""`feast_job` within a Spark session as the settings describe it, which Feast's Spark store and engine take for theirs.

In Spark's environment.
"""

from __future__ import annotations

import sys

from data_exchange_center.settings import load_settings
from offline_to_online.stores import feast_job
from past_one_machine.spark.session import session

if __name__ == "__main__":
    with session(load_settings().spark):
        feast_job.main(sys.argv[1])
