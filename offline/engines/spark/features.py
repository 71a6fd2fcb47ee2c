"""Features of users and of items as Spark jobs: no shuffle of users; of items, a shuffle of what adds up.

Run:    python -m offline.engines.spark.features lists|pairs
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.pandas.types import from_arrow_schema

from data_exchange_center import artifacts
from data_exchange_center.columns import Columns
from data_exchange_center.release_parts import read_dataset
from data_exchange_center.settings import Settings
from data_exchange_center.steps import run
from offline.data import overall, samples, statistics
from offline.data.overall import Overall
from offline.data.sequences import Ints, sequences
from offline.engines.spark.engine import SparkEngine, started, write_parts
from offline.engines.spark.pasts import Part, Pasts, all_parts, numbers
from offline.engines.spark.whole_users import BATCH

JOINED: Final = {"sum": np.add, "max": np.maximum, "min": np.minimum}
AT_ONCE: Final = 1 << 16  # items, handed on


def of_lists(engine: SparkEngine, exchange_dir: Path, rows: int = BATCH) -> None:
    """What a ranker of lists is told: `statistics.user_statistics` and `statistics.item_statistics`.

    ``rows``: of ratings, read at once.
    """
    dataset = read_dataset(exchange_dir)
    items = artifacts.ITEMS.read(exchange_dir).sort_values(Columns.ITEM)
    itemids = items[Columns.ITEM].to_numpy()
    pasts = Pasts(exchange_dir, itemids, dataset.positive_level, dataset.profile, rows)
    parts, _ = all_parts(exchange_dir)
    _write_users(engine, pasts, parts)
    known = _overall(engine, exchange_dir)
    counted = _items_counted(engine, pasts, parts, known)
    of_data = items[[number.column for number in dataset.numbers]].to_numpy(np.float64)
    artifacts.ITEM_FEATURES.write(exchange_dir, statistics.item_table(itemids, counted, known, dataset, of_data))


def _write_users(engine: SparkEngine, pasts: Pasts, parts: Sequence[Part]) -> None:
    kinds = artifacts.USERS.types(pasts.exchange_dir)
    profile = [(name, pa.string() if kinds[name] == pa.string() else pa.int64()) for name in pasts.profile]
    counts = [(name, pa.int64()) for name in statistics.user_columns()]
    schema = pa.schema([(Columns.USER, pa.int32()), *profile, *counts])

    def made(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for number in numbers(batches):
            for past, users in pasts.of(parts[number]):
                table = pa.Table.from_pandas(statistics.user_statistics(past, users), schema, preserve_index=False)
                yield from table.replace_schema_metadata(None).to_batches()

    each = engine.spark.range(0, len(parts), 1, len(parts))
    write_parts(artifacts.USER_FEATURES, pasts.exchange_dir, each.mapInArrow(made, from_arrow_schema(schema)))


def _overall(engine: SparkEngine, exchange_dir: Path) -> Overall:
    rated, read = artifacts.RATINGS, overall.READ
    eras = engine.counts(exchange_dir, rated, overall.by_era, overall.ERA_KEYS, columns=read)
    some = partial(overall.by_second, eras=overall.eras_of_recent(eras))
    seconds = engine.counts(exchange_dir, rated, some, overall.SECOND_KEYS, columns=read)
    return overall.overall(eras, seconds)


def _items_counted(engine: SparkEngine, pasts: Pasts, parts: Sequence[Part], known: Overall) -> list[Ints]:
    """`statistics.items_counted` of everybody: each task joins its users', then Spark joins the tasks'."""
    nobody = sequences(pa.schema(artifacts.RATINGS.columns).empty_table().to_pandas(), pasts.itemids, pasts.liked_above)
    of_nobody = statistics.items_counted(nobody, known)
    neutral = np.concatenate(of_nobody, axis=1)
    joined = [
        each.joined
        for each, counts in zip(statistics.of_items(), of_nobody, strict=True)
        for _ in range(counts.shape[1])
    ]
    names = [f"count{column}" for column in range(len(joined))]
    schema = pa.schema([("item", pa.int32()), *((name, pa.int64()) for name in names)])

    def made(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for number in numbers(batches):
            total, rated = neutral.copy(), np.zeros(len(neutral), np.bool_)
            for past, _ in replace(pasts, profile=()).of(parts[number]):
                some = np.concatenate(statistics.items_counted(past, known), axis=1)
                for column, name in enumerate(joined):
                    JOINED[name](total[:, column], some[:, column], out=total[:, column])
                rated |= past.rated()
            items = np.flatnonzero(rated).astype(np.int32)
            yield from pa.table([items, *total[items].T], schema=schema).to_batches(AT_ONCE)

    each = engine.spark.range(0, len(parts), 1, len(parts)).mapInArrow(made, from_arrow_schema(schema))
    of_items = each.groupBy("item").agg(
        *(getattr(F, of)(name).alias(name) for name, of in zip(names, joined, strict=True))
    )
    found, total = of_items.toPandas(), neutral.copy()  # a row an item
    total[found["item"]] = found[names]
    return np.split(total, np.cumsum([counts.shape[1] for counts in of_nobody])[:-1], axis=1)


def of_pairs(engine: SparkEngine, exchange_dir: Path) -> None:
    """What the source's ranker is told: `samples.user_features` and `samples.item_features`."""
    engine.of_users(
        exchange_dir,
        artifacts.USER_TERMS,
        statistics.whole_numbers,
        artifacts.USER_FEATURES,
        everybody=artifacts.USERS,
        beside=partial(samples.profiles, profile=read_dataset(exchange_dir).profile),
    )
    genres = artifacts.GENRES.read(exchange_dir)[Columns.GENRES]
    artifacts.ITEM_FEATURES.write(exchange_dir, samples.item_features(artifacts.ITEM_TERMS.read(exchange_dir), genres))


KINDS: Final = {"lists": of_lists, "pairs": of_pairs}


def main(settings: Settings) -> None:
    with started(settings) as engine:
        KINDS[sys.argv[1]](engine, settings.exchange_dir)


if __name__ == "__main__":
    run(main)
