"""Compare vector indices with an exhaustive search by floats, also as a catalogue grows.

The release's vectors go into an index of their own: as a flat list, as an HNSW graph (Malkov and Yashunin 2016), as a
graph in each of several shards; as a catalogue grows, also quantized to bytes and bits. All are searched with the
vectors of the same users and compared with the model's exact candidates.

With --items the release's items are multiplied: a copy has the vectors of its original, plus noise of `APART` times the
channel's standard deviation per dimension, at equal length. Graphs are built of no more than `GRAPHS_TO` items, as one
of a million takes half an hour a channel. Written after each index, and resumed if interrupted.

Reads:  the artifacts of `make offline`; Elasticsearch
Writes: pic/figures/vector_index.json, or index_growth.json; the index ml_item-bench, deleted at the end
Run:    make bench-index, or make bench-index items=3883,60000,1000000
Expect: with --items five minutes for 60,000 items, a quarter of an hour for a million
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any, Final, get_args

import numpy as np
from elasticsearch import Elasticsearch

from data_exchange_center import artifacts, wire
from data_exchange_center.candidates import ItemQuery
from data_exchange_center.channels import index_vectors
from data_exchange_center.features import Float32
from data_exchange_center.manifest import Manifest
from data_exchange_center.recipes import RecallRecipe, VectorIndex, VectorRecipe
from data_exchange_center.release_parts import read_channels, read_users, release_of_artifacts
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError, run
from offline_to_online.parity import share_found
from offline_to_online.rows import ItemRow, item_rows, request_time, sampled_users
from offline_to_online.stores.base import elastic_client
from offline_to_online.stores.elasticsearch import ElasticsearchStore, delete_index, write_items
from online.clients.elastic import ElasticItems
from online.recommend.recall import query_vectors
from research.figure_files import FIGURES, write_figure
from research.figures import costs
from research.reports import publish, resumed, whole_numbers

log = logging.getLogger(__name__)

SCRATCH: Final = "bench"  # in place of a release's id
WAITS_S: Final = 3600.0  # a graph of 100,000 vectors takes its time
APART: Final = 0.5  # times the standard deviation of each dimension
USERS, GROWN_USERS = 200, 50
# index, shards
INDICES: Final[tuple[tuple[VectorIndex, int], ...]] = (("flat", 1), ("hnsw", 1), ("hnsw", 3))
GRAPH: Final = "hnsw"  # how the names of graphs end
GRAPHS_TO: Final = 100_000  # items
GROWN: Final[tuple[tuple[VectorIndex, int], ...]] = tuple((kind, 1) for kind in get_args(VectorIndex))
BREADTHS: Final = {"flat": (256,), "hnsw": (256, 500, 1000, 2000)}
GROWN_BREADTHS: Final = {"flat": (256, 1000), "hnsw": (256, 1000, 4000)}


def measure(
    client: Elasticsearch, settings: Settings, manifest: Manifest, sizes: Sequence[int], known: Sequence[dict[str, Any]]
) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows of each size, index and number of shards, one for each channel and breadth: share of the exact
    candidates that are found, milliseconds of a search, seconds to load, bytes of an item.

    Args:
        sizes: of the catalogue; empty: the release's own, with more users and breadths.
        known: rows of an interrupted run, whose indices are left out.
    """
    done = {(row["items"], row["index"], row["shards"]) for row in known}
    recall, rows = manifest.recipe.recall, item_rows(settings.exchange_dir)
    indices, breadths, users = (GROWN, GROWN_BREADTHS, GROWN_USERS) if sizes else (INDICES, BREADTHS, USERS)
    searches = user_searches(settings, manifest, users)
    for size in sizes or [len(rows)]:
        left = [
            (kind, shards)
            for kind, shards in indices
            if (size, kind, shards) not in done and not (kind.endswith(GRAPH) and size > GRAPHS_TO)
        ]
        grown = multiplied(rows, size) if left else []
        for kind, shards in left:
            delete_index(client, SCRATCH)
            began = time.monotonic()
            write_items(client, SCRATCH, grown, manifest.vector_dims, kind, shards)
            loaded_s = time.monotonic() - began
            costs = {"loaded_s": round(loaded_s, 1), "bytes_an_item": round(_stored_bytes(client) / size)}
            found = []
            for channel in recall.searched:
                for breadth in breadths[GRAPH if kind.endswith(GRAPH) else "flat"]:
                    requested = recall.model_copy(
                        update={"index": kind, "num_candidates": max(breadth, recall.candidates)}
                    )
                    row = searched(settings, searches, grown, requested, channel)
                    log.info(
                        "%d items, %s, %d shards, %s, %d: %.4f", size, kind, shards, channel.name, breadth, row["found"]
                    )
                    found.append(
                        {"items": size, "index": kind, "shards": shards, "channel": channel.name, **row, **costs}
                    )
            yield found


def _stored_bytes(client: Elasticsearch) -> int:
    index = wire.item_index(SCRATCH)
    found: int = client.indices.stats(index=index, metric="store")["_all"]["total"]["store"]["size_in_bytes"]
    return found


def multiplied(rows: Sequence[ItemRow], items: int, seed: int = 0) -> list[ItemRow]:
    """Multiply rows to ``items``: the originals, and copies with vectors nearby and numbers of their own.

    Raises StepError for fewer items than there are.
    """
    if items < len(rows):
        raise StepError(f"items={items}: the release has {len(rows):,} items, and none is left out.")
    rng = np.random.default_rng(seed)
    of = np.concatenate([np.arange(len(rows)), rng.integers(len(rows), size=items - len(rows))])
    first = max(row.number for row in rows) + 1 - len(rows)
    channels = {channel for row in rows for channel in row.vectors}
    vectors = {channel: _moved(rows, channel, of, rng) for channel in sorted(channels)}
    found = []
    for place, original in enumerate(of.tolist()):
        row = rows[original]
        own = {channel: vectors[channel][place] for channel in row.vectors}
        number = row.number if place < len(rows) else first + place
        found.append(replace(row, number=number, own_id=number, vectors=own))
    return found


def _moved(rows: Sequence[ItemRow], channel: str, of: Any, rng: np.random.Generator) -> Float32:
    """(items, width) vectors of one channel; the originals' own where nothing is moved."""
    width = max(len(row.vectors[channel]) for row in rows if channel in row.vectors)
    nothing = np.zeros(width, np.float32)
    known = np.stack([row.vectors.get(channel, nothing) for row in rows])[:, :-1]  # without the filler
    apart = APART * known.std(axis=0)
    moved = known[of]
    moved[len(rows) :] += rng.normal(size=(len(of) - len(rows), known.shape[1])).astype(np.float32) * apart
    return index_vectors(moved[:, :-1], moved[:, -1])


def user_searches(settings: Settings, manifest: Manifest, size: int) -> list[ItemQuery]:
    """The server's searches for the users of parity's sample, without preferred genres."""
    channels, recall = read_channels(settings.exchange_dir), manifest.recipe.recall
    return [
        ItemQuery(SCRATCH, recall, query_vectors(manifest, channels, row, request_time(row)), seen=row.seen)
        for row in sampled_users(read_users(settings.exchange_dir), size)
    ]


def searched(
    settings: Settings,
    searches: Sequence[ItemQuery],
    rows: Sequence[ItemRow],
    recall: RecallRecipe,
    channel: VectorRecipe,
) -> dict[str, Any]:
    """Share of a channel's exact candidates among ``rows`` that the index finds, and milliseconds a search."""
    name = channel.name
    known = [row for row in rows if name in row.vectors]
    numbers = np.array([row.number for row in known])
    vectors = np.stack([row.vectors[name] for row in known]).astype(np.float64)
    alone = recall.model_copy(update={"channels": (channel,)})
    queries = [
        replace(query, recall=alone, vectors={name: query.vectors[name]}) for query in searches if name in query.vectors
    ]
    found, took = [], []
    with closing(ElasticItems(settings.elasticsearch.model_copy(update={"timeout_s": WAITS_S}))) as client:
        for query in queries:
            (hits,) = client.call(query)  # also warms up
            unseen = ~np.isin(numbers, query.seen)
            products = vectors @ query.vectors[name].astype(np.float64)
            found.append(share_found(hits.ids, numbers[unseen], products[unseen], recall))
        for query in queries:  # one after the other
            begin = time.perf_counter()
            client.call(query)
            took.append((time.perf_counter() - begin) * 1e3)
    shares = np.array(found)
    return {
        "num_candidates": recall.num_candidates,
        "found": round(float(shares.mean()), 4),
        "found by the worst served": round(float(shares.min()), 4),
        "p50_ms": round(float(np.median(took)), 2),
        "p99_ms": round(float(np.percentile(took, 99)), 2),
    }


def main(settings: Settings, sizes: Sequence[int]) -> None:
    manifest = release_of_artifacts(settings)
    name, users = ("index_growth", GROWN_USERS) if sizes else ("vector_index", USERS)
    items = f" items={','.join(map(str, sizes))}" if sizes else ""
    path = FIGURES / f"{name}.json"
    head = {
        "command": f"make bench-index{items}",
        "dataset": artifacts.DATASET.read(settings.exchange_dir)["name"],
        "recipe": manifest.recipe.name,
        "release": manifest.release,
        "users": users,
        "candidates": manifest.recipe.recall.candidates,
    }
    found = resumed(path, head, {"rows": []}) if sizes else {**head, "rows": []}
    with ElasticsearchStore(settings).translate_errors(), elastic_client(settings, WAITS_S) as client:
        try:
            for rows in measure(client, settings, manifest, sizes, found["rows"]):
                found["rows"] += rows
                write_figure(path, found, finished=False)
        finally:
            delete_index(client, SCRATCH)
    publish(path, found, costs.index_growth if sizes else costs.index)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=whole_numbers, default=[], help="sizes of the catalogue, with commas between")
    given = parser.parse_args()
    run(lambda settings: main(settings, given.items))
