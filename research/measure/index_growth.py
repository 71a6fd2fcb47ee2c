"""Measure a vector search as a catalogue grows: ``make bench-index items=3883,60000,1000000``.

The release's items are multiplied: a copy has the vectors of its original, moved at random by a part of what the
channel's vectors differ among themselves, made equally long again. Real users' vectors then search them, exactly (flat)
and along an HNSW graph, and what comes back is compared with the model's exact candidates. Written after every size.

Reads:  the artifacts of `make offline`; Elasticsearch
Writes: pic/figures/index_growth.json; the index ml_item-bench, deleted at the end
Expect: a minute for 60,000 items; half an hour for a million
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from elasticsearch import Elasticsearch
from rich.console import Console

from data_exchange_center import artifacts, wire
from data_exchange_center.channels import index_vectors
from data_exchange_center.features import Float32
from data_exchange_center.figures import FIGURES, machine
from data_exchange_center.files import write_json
from data_exchange_center.recipes import VectorIndex
from data_exchange_center.release import Manifest
from data_exchange_center.release_parts import release_of_artifacts
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError, run, whole_numbers
from offline_to_online.rows import ItemRow, item_rows, sampled_searches
from offline_to_online.stores.base import elastic_client
from offline_to_online.stores.elasticsearch import ElasticsearchStore, delete_index, write_items
from research.measure.index import SCRATCH, searched, show

log = logging.getLogger(__name__)

OUTPUT: Final = FIGURES / "index_growth.json"
USERS: Final = 50
WAITS_S: Final = 3600.0  # one graph of a million vectors takes its time
APART: Final = 0.5  # times the standard deviation of each dimension
BREADTHS: Final[Mapping[VectorIndex, tuple[int, ...]]] = {"flat": (256,), "hnsw": (256, 1000, 4000)}


def multiplied(rows: Sequence[ItemRow], items: int, seed: int = 0) -> list[ItemRow]:
    """``items`` rows: those that there are, and copies of them with vectors nearby, under numbers of their own.

    Raises StepError for fewer items than there are.
    """
    if items < len(rows):
        raise StepError(f"items={items}: the release has {len(rows):,} items, and none is left out.")
    rng = np.random.default_rng(seed)
    of = np.concatenate([np.arange(len(rows)), rng.integers(len(rows), size=items - len(rows))])
    first = max(row.itemid for row in rows) + 1 - len(rows)
    fields = {field for row in rows for field in row.vectors}
    vectors = {field: _moved(rows, field, of, rng) for field in sorted(fields)}
    found = []
    for number, original in enumerate(of.tolist()):
        row = rows[original]
        own = {field: vectors[field][number] for field in row.vectors}
        itemid = row.itemid if number < len(rows) else first + number
        found.append(replace(row, itemid=itemid, own_id=itemid, vectors=own))
    return found


def _moved(rows: Sequence[ItemRow], field: str, of: Any, rng: np.random.Generator) -> Float32:
    """(items, width) vectors of one channel; the originals' own where nothing is moved."""
    width = max(len(row.vectors[field]) for row in rows if field in row.vectors)
    nothing = np.zeros(width, np.float32)
    known = np.stack([row.vectors.get(field, nothing) for row in rows])[:, :-1]  # without the filler
    apart = APART * known.std(axis=0)
    moved = known[of]
    moved[len(rows) :] += rng.normal(size=(len(of) - len(rows), known.shape[1])).astype(np.float32) * apart
    return index_vectors(moved[:, :-1], moved[:, -1])


def measure(
    client: Elasticsearch, settings: Settings, manifest: Manifest, sizes: Sequence[int]
) -> Iterator[dict[str, Any]]:
    """One row a size, index, channel and breadth."""
    recall, rows = manifest.recipe.recall, item_rows(settings.exchange_dir)
    searches = sampled_searches(settings.exchange_dir, manifest, USERS)
    for size in sizes:
        grown = multiplied(rows, size)
        for kind, breadths in BREADTHS.items():
            delete_index(client, SCRATCH)
            began = time.monotonic()
            write_items(client, SCRATCH, grown, manifest.vector_dims, kind)
            loaded_s = time.monotonic() - began
            bytes_an_item = _stored_bytes(client) / size
            for channel in recall.searched:
                for breadth in breadths:
                    asked = recall.model_copy(update={"num_candidates": breadth})
                    row = searched(client, searches[channel.name], grown, asked, channel)
                    log.info("%d items, %s, %s, %d: %.4f", size, kind, channel.name, breadth, row["found"])
                    yield {
                        "items": size,
                        "index": kind,
                        "channel": channel.name,
                        **row,
                        "loaded_s": round(loaded_s, 1),
                        "bytes_an_item": round(bytes_an_item),
                    }


def _stored_bytes(client: Elasticsearch) -> int:
    index = wire.item_index(SCRATCH)
    found: int = client.indices.stats(index=index, metric="store")["_all"]["total"]["store"]["size_in_bytes"]
    return found


def main(settings: Settings, sizes: Sequence[int]) -> None:
    manifest = release_of_artifacts(settings)
    found: dict[str, Any] = {
        "command": f"make bench-index items={','.join(map(str, sizes))}",
        "machine": machine(),
        "dataset": artifacts.DATASET.read(settings.exchange_dir)["name"],
        "recipe": manifest.recipe.name,
        "users": USERS,
        "candidates": manifest.recipe.recall.candidates,
        "rows": [],
    }
    with ElasticsearchStore(settings).reaching(), elastic_client(settings, WAITS_S) as client:
        try:
            for row in measure(client, settings, manifest, sizes):
                found["rows"].append(row)
                write_json(OUTPUT, found)
        finally:
            delete_index(client, SCRATCH)
    show(found["rows"], Console())
    log.info("written: %s", OUTPUT)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("items", type=whole_numbers, help="sizes of the catalogue, with commas between")
    sizes = parser.parse_args().items
    run(lambda settings: main(settings, sizes))
