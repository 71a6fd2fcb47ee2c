"""Compare an HNSW graph with an exhaustive vector search: ``make bench-index``.

The release's vectors go into an index of their own: as a flat list, as an HNSW graph (Malkov and Yashunin 2016), and as
a graph in each of several shards. All are searched with the vectors of the same users and compared with the model's
exact candidates.

Reads:  the artifacts of `make offline`; Elasticsearch
Writes: pic/figures/vector_index.json; the index ml_item-bench, deleted at the end
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from elasticsearch import Elasticsearch
from rich.console import Console
from rich.table import Table

from data_exchange_center import artifacts
from data_exchange_center.figures import FIGURES, machine
from data_exchange_center.files import write_json
from data_exchange_center.recipes import RecallRecipe, VectorIndex, VectorRecipe
from data_exchange_center.release import Manifest
from data_exchange_center.release_parts import release_of_artifacts
from data_exchange_center.settings import Settings
from data_exchange_center.steps import run
from offline_to_online.rows import ItemRow, Search, item_rows, sampled_searches
from offline_to_online.stores.base import elastic_client
from offline_to_online.stores.elasticsearch import ChannelIndex, ElasticsearchStore, delete_index, write_items

log = logging.getLogger(__name__)

OUTPUT: Final = FIGURES / "vector_index.json"
SCRATCH: Final = "bench"  # in place of a release's id
USERS: Final = 200
INDICES: Final[tuple[tuple[VectorIndex, int], ...]] = (("flat", 1), ("hnsw", 1), ("hnsw", 3))  # and their shards
BREADTHS: Final[dict[VectorIndex, tuple[int, ...]]] = {"flat": (256,), "hnsw": (256, 500, 1000, 2000)}


def measure(client: Elasticsearch, settings: Settings, manifest: Manifest) -> Iterator[dict[str, Any]]:
    """One row an index, number of shards, channel and breadth: share of the exact candidates that are found,
    milliseconds a search."""
    recall, rows = manifest.recipe.recall, item_rows(settings.exchange_dir)
    searches = sampled_searches(settings.exchange_dir, manifest, USERS)
    for kind, shards in INDICES:
        delete_index(client, SCRATCH)
        write_items(client, SCRATCH, rows, manifest.vector_dims, kind, shards)
        for channel in recall.searched:
            for breadth in BREADTHS[kind]:
                asked = recall.model_copy(update={"num_candidates": max(breadth, recall.candidates)})
                found = searched(client, searches[channel.name], rows, asked, channel)
                log.info("%s, %d shards, %s, breadth %d: %.4f", kind, shards, channel.name, breadth, found["found"])
                yield {"index": kind, "shards": shards, "channel": channel.name, **found}


def searched(
    client: Elasticsearch,
    searches: Sequence[Search],
    rows: Sequence[ItemRow],
    recall: RecallRecipe,
    channel: VectorRecipe,
) -> dict[str, Any]:
    """Share of a channel's exact candidates among ``rows`` that the index finds, and milliseconds a search."""
    index = ChannelIndex(client, SCRATCH, rows, recall, channel)
    outcome = index.compare(searches)  # also warms up
    took = milliseconds(index, searches)
    return {
        "num_candidates": recall.num_candidates,
        "found": round(outcome.mean_overlap, 4),
        "found by the worst served": round(outcome.min_overlap, 4),
        "p50_ms": round(float(np.median(took)), 2),
        "p99_ms": round(float(np.percentile(took, 99)), 2),
    }


def milliseconds(index: ChannelIndex, searches: Sequence[Search]) -> list[float]:
    """Milliseconds of each user's search, one after the other."""
    took = []
    for search in searches:
        begin = time.perf_counter()
        index.search([search])
        took.append((time.perf_counter() - begin) * 1e3)
    return took


def show(rows: Sequence[dict[str, Any]], console: Console) -> None:
    table = Table(title="vector search, against the model's exact candidates")
    for name in rows[0]:
        table.add_column(name, justify="left" if name in ("index", "channel") else "right")
    for row in rows:
        table.add_row(*map(str, row.values()))
    console.print(table)


def main(settings: Settings) -> None:
    manifest = release_of_artifacts(settings)
    with ElasticsearchStore(settings).reaching(), elastic_client(settings) as client:
        try:
            rows = list(measure(client, settings, manifest))
        finally:
            delete_index(client, SCRATCH)
    found = {
        "command": "make bench-index",
        "machine": machine(),
        "dataset": artifacts.DATASET.read(settings.exchange_dir)["name"],
        "recipe": manifest.recipe.name,
        "users": USERS,
        "candidates": manifest.recipe.recall.candidates,
        "rows": rows,
    }
    write_json(OUTPUT, found)
    show(rows, Console())


if __name__ == "__main__":
    run(main)
