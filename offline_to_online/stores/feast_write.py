"""Rows of a feature view into the online store, by Feast's own API: ``python -m ... <view> <rows.parquet>``.

A process of its own, as the commands have (`feast_job`), and not the feature server's, whose one worker answers
requests. Run in the feature repository.
"""

from __future__ import annotations

import sys

import online.stack.feast.feature_repo.cli  # noqa: F401 (so that Feast is imported without PyTorch)

if __name__ == "__main__":
    import pandas as pd
    from feast import FeatureStore

    view, rows = sys.argv[1:]
    FeatureStore(repo_path=".").write_to_online_store(view, pd.read_parquet(rows))
