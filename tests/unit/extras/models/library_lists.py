"""The steps' lists of an imported model, compared with those of its library."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from data_exchange_center import artifacts
from data_exchange_center.columns import Columns
from data_exchange_center.settings import Settings
from offline.evaluation import replay, served
from offline.readers import read_with_holdout


def expect_lists_of_the_library(settings: Settings, bundle: Path) -> None:
    """Assert that the lists of the holdout's requests are the first 20 of the bundle's own."""
    inputs = read_with_holdout(settings)
    holdout = replay.hold_out(inputs.data, inputs.dataset.holdout)
    found = served.answers(settings, holdout).ranked
    expected = pd.read_parquet(bundle / "expected.parquet").set_index("id")["items"]
    exchange = settings.artifacts_dir
    users = artifacts.USERS.read(exchange).sort_values(Columns.USER)[Columns.OWN_ID]
    items = (
        artifacts.ITEMS.read(exchange)
        .sort_values(Columns.ITEM)[Columns.OWN_ID]
        .tolist()
    )
    # a request does not know the events of its own second
    whole = holdout.known.lengths == holdout.past.lengths
    assert whole.sum() > 40
    for user, codes in zip(users[whole], found[whole], strict=True):
        # a user of a single event has none; some end in equal scores
        wanted = list(expected.get(user, ()))[:20]
        assert [items[code - 1] for code in codes[: len(wanted)]] == wanted
