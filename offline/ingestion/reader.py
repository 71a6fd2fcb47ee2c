"""Data sets that a dataset.toml declares, for step 0."""

from __future__ import annotations

import shlex
from functools import partial
from pathlib import Path
from typing import Final

from data_exchange_center import artifacts
from data_exchange_center.dataset import Dataset
from data_exchange_center.steps import StepError
from offline.ingestion import sources
from offline.ingestion.declaration import DECLARATION, INTERACTIONS
from offline.ingestion.folders import _opened
from offline.ingestion.ingest import ingest
from offline.ingestion.tables import ENDINGS
from offline.ingestion.times import expect_recent
from offline.movielens import Files

EXPECTED: Final = f"{DECLARATION} and the files that it names (make new-data folder=... proposes one)"


def read(files: Files, where: Path, exchange_dir: Path) -> Dataset | None:
    """See `offline.movielens.read`."""
    if DECLARATION not in files:
        if any(f"{INTERACTIONS}{ending}" in files for ending in ENDINGS):
            raise StepError(
                f"{where} holds {INTERACTIONS} and no {DECLARATION} that says what its columns mean: "
                f"make new-data folder={shlex.quote(str(where))} proposes one."
            )
        return None
    source = sources.declared(where, {name: partial(_opened, path) for name, path in files.items()})
    data = ingest(source.declaration, source.tables)
    of = source.declaration.interactions
    times = data.ratings["timestamp"].to_numpy()
    expect_recent(times, f"{source.tables[INTERACTIONS].name}, column {of.time!r}", of.time_unit)
    for table, frame in zip(artifacts.RAW, (data.ratings, data.users, data.items), strict=True):
        table.write(exchange_dir, frame)
    return data.dataset
