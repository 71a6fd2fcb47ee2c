"""Items' genres and vectors in Elasticsearch: an index a release, checked by searching it as the server does.

An index holds an inverted index of genre codes, and a vector index a recall channel. It carries the mark ``checked`` in
its mapping once everything is in it: false, and true once all of it was compared with its source. One without the mark
is the leftover of an interrupted first load and is deleted; one with the mark may be live and is never emptied: its
documents are written over in place, under the same ids, and only when they are not what they should be.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, ClassVar, Final

import numpy as np
from elasticsearch import Elasticsearch
from elasticsearch.helpers import bulk, scan
from numpy.typing import NDArray

from data_exchange_center import plugins, wire
from data_exchange_center.dataset import OwnId
from data_exchange_center.features import Float32
from data_exchange_center.fusion import Hits
from data_exchange_center.recipes import RecallRecipe, VectorIndex, VectorRecipe
from data_exchange_center.release import Manifest
from data_exchange_center.settings import IN_MEMORY
from data_exchange_center.steps import CheckError, progress
from data_exchange_center.wire import vector_of
from offline_to_online.rows import ItemRow, Search
from offline_to_online.stores.base import ReleaseStore, elastic_client
from online.clients.elastic import ItemQuery, channel_query, found, magnified, search_body, unseen_filter

log = logging.getLogger(__name__)
CHUNK: Final = 250  # documents, or searches, a request
COPIES_WITHIN: Final = "25s"  # less than a step's client waits
CHECKED: Final = "checked"
MIN_OVERLAP: Final = 0.99  # mean share of the model's exact candidates that the approximate search must find
MIN_OF_ONE: Final = 0.95  # and the share of the user it serves worst
SELF_CANDIDATES: Final = 100  # breadth of the search in which an item must find itself: far less than users get
SAME_SCORE: Final = 1e-6  # relative, a few steps of float32; two products this close to each other are a tie
SCORE_STEP: Final = 2.0**-23  # of float32 at 1, which a search adds to a magnified product: less is a tie, too
TOLERANCE: Final = 1e-5  # between the index's and the model's product, relative to the product or to 1
_GRAPH: Final = {"m": 16, "ef_construction": 100}
_RESCORED: Final = {"rescore_vector": {"oversample": 3.0}}  # times as many are scored again, by their floats
INDEX_OPTIONS: Final[Mapping[VectorIndex, Mapping[str, Any]]] = {
    "flat": {"type": "flat"},
    "hnsw": {"type": "hnsw", **_GRAPH},
    "int8_flat": {"type": "int8_flat", **_RESCORED},
    "int8_hnsw": {"type": "int8_hnsw", **_GRAPH, **_RESCORED},
    "bbq_flat": {"type": "bbq_flat", **_RESCORED},
    "bbq_hnsw": {"type": "bbq_hnsw", **_GRAPH, **_RESCORED},
}
Ints = NDArray[np.integer]
Put = Callable[[Elasticsearch, str, Sequence[ItemRow]], None]


class ElasticsearchStore(ReleaseStore):
    """The items' genres and vectors."""

    title: ClassVar[str] = "Elasticsearch"
    step: ClassVar[str] = "offline_to_online/recall/s2_item_to_es.py"

    @property
    def address(self) -> str:
        return ", ".join(self.settings.elasticsearch.urls)

    @contextmanager
    def client(self) -> Iterator[Elasticsearch]:
        with self.reaching(), elastic_client(self.settings) as client:
            yield client

    def load(self, manifest: Manifest, items: Sequence[ItemRow]) -> None:
        release = manifest.release
        with self.client() as client:
            if (checked := mark_of(client, release)) is not None:
                if checked:
                    mark(client, release, checked=False)
                try:
                    check_documents(client, release, items)
                except CheckError as error:
                    log.warning("%s: writing the release's items again", error)
                else:
                    return  # it is equal to its source, so nothing need be written
            place, kind = self.settings.elasticsearch, manifest.recipe.recall.index
            write_items(client, release, items, manifest.vector_dims, kind, place.shards, place.replicas, self.writer())

    def writer(self) -> Put:
        """This step's `put_documents`, or a plugin that RECSYS_ENGINE names. Raises PluginError where there is none."""
        if self.settings.engine == IN_MEMORY:
            return put_documents
        return partial(plugins.load("recsys.index", self.settings.engine), self.settings)

    def check(
        self, manifest: Manifest, items: Sequence[ItemRow], searches: Mapping[str, Sequence[Search]]
    ) -> tuple[dict[int, int], dict[str, tuple[int, str]]]:
        """Check a release by the items, and by users' searches of each channel, and mark it as checked.

        Returns genre code -> items; channel name -> items that tie with the one that is found by their own vector, and
        the outcome of the searches. Raises CheckError naming the row.
        """
        release, recall = manifest.release, manifest.recipe.recall
        with self.client() as client:
            check_documents(client, release, items)
            genres = check_genres(client, release, items)
            channels = {}
            for channel in recall.searched:
                index = ChannelIndex(client, release, items, recall, channel)
                channels[channel.name] = index.check_self_first(), index.check(searches[channel.name])
            mark(client, release, checked=True)
            if not client.indices.exists_alias(name=wire.ITEM_ALIAS):  # before the first release goes live
                _point_alias(client, release)
        return genres, channels

    def is_checked(self, release: str) -> bool:
        with self.client() as client:
            return bool(mark_of(client, release))

    def releases(self) -> set[str]:
        with self.client() as client:
            indices = client.indices.get(index=f"{wire.ITEM_ALIAS}-*", features="settings")
            return {name.removeprefix(f"{wire.ITEM_ALIAS}-") for name in indices}

    def activate(self, release: str) -> None:
        """Move the alias that people search."""
        with self.client() as client:
            _point_alias(client, release)

    def delete(self, releases: Collection[str]) -> None:
        with self.client() as client:
            for release in releases:
                delete_index(client, release)


# Load.


def put_documents(client: Elasticsearch, release: str, rows: Sequence[ItemRow]) -> None:
    """Write the items over what there is of them."""
    documents = (
        {"_index": wire.item_index(release), "_id": str(row.itemid), "_source": row.document()}
        for row in progress(rows, desc="items to Elasticsearch", unit="item", leave=False)
    )
    bulk(client, documents)


def write_items(
    client: Elasticsearch,
    release: str,
    rows: Sequence[ItemRow],
    dims: Mapping[str, int],
    kind: VectorIndex,
    shards: int = 1,
    replicas: int = 0,
    put: Put = put_documents,
) -> None:
    """Load every item into the release's index, searchable on every copy when this returns, and mark it as unchecked.

    ``put``: what writes the documents. Raises CheckError where not all copies come to be.
    """
    index = wire.item_index(release)
    if mark_of(client, release) is None:
        delete_index(client, release)
        client.indices.create(
            index=index,
            settings={"number_of_shards": shards, "number_of_replicas": replicas, "refresh_interval": "-1"},
            mappings=item_mapping(dims, INDEX_OPTIONS[kind]),
        )
    put(client, release, rows)
    client.indices.refresh(index=index)
    if client.count(index=index)["count"] != len(rows):  # only a hand could have put others there
        wanted = {str(row.itemid) for row in rows}
        surplus = [hit["_id"] for hit in scan(client, index=index, _source=False) if hit["_id"] not in wanted]
        bulk(client, ({"_op_type": "delete", "_index": index, "_id": key} for key in surplus))
        client.indices.refresh(index=index)
    client.indices.forcemerge(index=index, max_num_segments=1)  # one graph a channel and shard: all are reached
    client.indices.put_settings(index=index, settings={"refresh_interval": "1s", "number_of_replicas": replicas})
    client.indices.refresh(index=index)
    patient = client.options(ignore_status=408)
    health = patient.cluster.health(index=index, wait_for_status="green", timeout=COPIES_WITHIN)
    if health["timed_out"]:
        raise CheckError(
            f"{health['unassigned_shards']} copies of shards of {index} have no node to lie on: "
            "start more nodes, or set RECSYS_ELASTICSEARCH__REPLICAS to fewer, and sync again"
        )
    mark(client, release, checked=False)


# The mark, the alias, deletion.


def item_mapping(dims: Mapping[str, int], options: Mapping[str, Any]) -> dict[str, Any]:
    """Mapping of an index of items. ``dims``: width of each channel's vectors; ``options``: how they are searched."""
    shown_only = {"type": "keyword", "index": False, "doc_values": False}
    # the metric the vectors were trained with, on floats: the default would round them to bytes
    vector = {"type": "dense_vector", "index": True, "similarity": "max_inner_product", "index_options": options}
    return {
        "dynamic": "strict",
        "properties": {
            wire.ITEM_ID: {"type": "integer"},
            wire.ITEM_OWN_ID: shown_only,
            wire.ITEM_TITLE: shown_only,
            wire.ITEM_GENRES: {"type": "keyword"},  # codes are looked up, never compared by size
            wire.ITEM_ATTRIBUTES: {"type": "object", "enabled": False},  # kept as it is, whatever its names are
            **{vector_of(channel): {**vector, "dims": width} for channel, width in dims.items()},
        },
    }


def mark_of(client: Elasticsearch, release: str) -> bool | None:
    """Whether the release's index was checked; None where there is none, or not everything was ever in it."""
    index = wire.item_index(release)
    found = client.options(ignore_status=404).indices.get_mapping(index=index)
    meta: dict[str, bool] = found[index]["mappings"].get("_meta", {}) if index in found else {}
    return meta.get(CHECKED)


def mark(client: Elasticsearch, release: str, *, checked: bool) -> None:
    client.indices.put_mapping(index=wire.item_index(release), meta={CHECKED: checked})


def _point_alias(client: Elasticsearch, release: str) -> None:
    """Move the alias in one step, so that no search finds nothing."""
    actions: list[dict[str, Any]] = [
        {"remove": {"index": f"{wire.ITEM_ALIAS}-*", "alias": wire.ITEM_ALIAS, "must_exist": False}},
        {"add": {"index": wire.item_index(release), "alias": wire.ITEM_ALIAS}},
    ]
    client.indices.update_aliases(actions=actions)


def delete_index(client: Elasticsearch, release: str) -> None:
    client.options(ignore_status=404).indices.delete(index=wire.item_index(release))


# Check the documents: every check raises CheckError naming the row.


def check_documents(client: Elasticsearch, release: str, rows: Sequence[ItemRow]) -> None:
    """Every document, field by field, against its source."""
    index = wire.item_index(release)
    count = client.count(index=index)["count"]
    if count != len(rows):
        raise CheckError(f"index {index} holds {count} documents, the source {len(rows)} items")
    for start in range(0, len(rows), CHUNK):
        chunk = rows[start : start + CHUNK]
        answer = client.mget(index=index, ids=[str(row.itemid) for row in chunk])
        for row, doc in zip(chunk, answer["docs"], strict=True):
            check_document(row, doc.get("_source"))


def check_document(row: ItemRow, stored: Mapping[str, Any] | None) -> None:
    if stored is None:
        raise CheckError(f"item {row.own_id!r}: no document in Elasticsearch")
    wanted = row.document()
    for field in sorted(set(wanted) | set(stored)):
        got, source = stored.get(field), wanted.get(field)
        same = got == source
        if field in row.vectors and got is not None:
            same = np.array_equal(np.asarray(got, np.float32), row.vectors[field])
        if not same:
            raise CheckError(
                f"item {row.own_id!r}, field {field!r}: Elasticsearch gave {got}, the source says {source}"
            )


def check_genres(client: Elasticsearch, release: str, rows: Sequence[ItemRow]) -> dict[int, int]:
    """Check for every genre code that a term query finds the expected number of items. Returns code -> items."""
    truth = dict(sorted(Counter(code for row in rows for code in row.genres).items()))
    for code, wanted in truth.items():
        got = client.count(index=wire.item_index(release), query={"term": {wire.ITEM_GENRES: code}})["count"]
        if got != wanted:
            raise CheckError(f"genre {code}: the index finds {got} items, the source has {wanted} of {len(rows)}")
    return truth


# Check that the vector index ranks as the model does, channel by channel.


@dataclass(frozen=True)
class ChannelIndex:
    """A channel's vectors in a release's index, and those of the source."""

    client: Elasticsearch
    release: str
    rows: Sequence[ItemRow]  # by number
    recall: RecallRecipe
    channel: VectorRecipe

    @cached_property
    def own_ids(self) -> dict[int, OwnId]:
        return {row.itemid: row.own_id for row in self.rows}

    @cached_property
    def vectors(self) -> tuple[Ints, Float32]:
        """Numbers (n,), ascending, and vectors (n, dim) of the items that the channel knows."""
        field = vector_of(self.channel.name)
        known = [(row.itemid, row.vectors[field]) for row in self.rows if field in row.vectors]
        return np.array([itemid for itemid, _ in known], dtype=np.int64), np.stack([vector for _, vector in known])

    def search(self, searches: Sequence[Search]) -> list[Hits]:
        """The server's own searches, with no genres in them: the vector alone; scores as inner products."""
        name, recall, answers = self.channel.name, self.recall, []
        batches = range(0, len(searches), CHUNK)
        for start in progress(batches, desc=f"searches, {name}", unit="batch", leave=False):
            parts: list[Mapping[str, Any]] = []
            for each in searches[start : start + CHUNK]:
                query = ItemQuery(self.release, recall, {name: each.vector}, seen=each.seen)
                body = channel_query(self.channel, query, unseen_filter(each.seen))
                assert body is not None  # noqa: S101
                parts += [{}, search_body(body, recall.candidates)]
            for answer in self.client.msearch(index=wire.item_index(self.release), searches=parts)["responses"]:
                if "error" in answer:
                    reason = answer["error"].get("reason", answer["error"])
                    raise CheckError(f"Elasticsearch refused a search: {reason}")
                answers.append(found(answer, self.channel, recall, by_vector_alone=True))
        return answers

    def check_self_first(self) -> int:
        """Search with each item's own vector: it finds that item first, or its equal. Returns how many tie.

        All item vectors have one length, so none has a larger product with an item than the item itself.
        """
        (itemids, vectors), nothing = self.vectors, np.empty(0, np.int32)
        narrow = self.recall.model_copy(update={"num_candidates": SELF_CANDIDATES, "candidates": 1})
        answers = replace(self, recall=narrow).search([Search(0, vector, nothing) for vector in vectors])
        tied = 0
        for itemid, vector, hits in zip(itemids.tolist(), vectors.astype(np.float64), answers, strict=True):
            first, best = (int(hits.ids[0]), float(hits.scores[0])) if len(hits.ids) else (0, -np.inf)
            if first != itemid and not np.isclose(own := vector @ vector, best, rtol=SAME_SCORE):
                what = f"item {self.own_ids[first]!r} first, by {best:.6f}" if first else "nothing"
                raise CheckError(
                    f"item {self.own_ids[itemid]!r}: its own vector of channel {self.channel.name} finds {what}; its "
                    f"inner product with itself is {own:.6f}"
                )
            tied += first != itemid
        return tied

    def check(self, searches: Sequence[Search]) -> str:
        """`compare`, and enough of the exact candidates are found. Returns the outcome in a sentence."""
        shares, gaps = self.compare(searches)
        candidates, worst = self.recall.candidates, int(shares.argmin())
        if shares.mean() < MIN_OVERLAP or shares[worst] < MIN_OF_ONE:
            raise CheckError(
                f"the index finds {shares.mean():.4f} of the model's exact {candidates} candidates of channel "
                f"{self.channel.name} over {len(shares)} users; at least {MIN_OVERLAP} is required (worst: user "
                f"{searches[worst].userid!r}, {shares[worst]:.4f}; at least {MIN_OF_ONE}). "
                "Raise num_candidates in the recipe"
            )
        return (
            f"the index's {candidates} against the model's exact {candidates}, {len(shares)} users: "
            f"{shares.mean():.4%} shared (worst user {shares[worst]:.2%}, identical for {(shares == 1).sum()}), inner "
            f"products differ by at most {gaps.max():.1e}; no seen item among them"
        )

    def compare(self, searches: Sequence[Search]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The index's candidates against the model's exact ones by inner product, seen items left out on both sides.

        Returns (users,) shares of the exact candidates that were found, and the largest differences between the index's
        and the model's inner products, relative. Raises CheckError for a seen item, or a score that is no product.
        """
        (itemids, vectors), candidates = self.vectors, self.recall.candidates
        exact, shares, gaps = vectors.astype(np.float64), np.ones(len(searches)), np.zeros(len(searches))
        step = SCORE_STEP / float(magnified(self.recall))
        for user, (search, hits) in enumerate(zip(searches, self.search(searches), strict=True)):
            if leaked := sorted({*hits.ids.tolist()} & {*search.seen.tolist()}):
                names = [self.own_ids[item] for item in leaked[:5]]
                raise CheckError(f"user {search.userid!r}: the seen filter let items {names} through")
            products = exact @ search.vector.astype(np.float64)  # (items,)
            shares[user] = _overlap(itemids, products, search.seen, hits.ids, candidates, step)
            wanted = products[np.searchsorted(itemids, hits.ids)]  # (found,)
            apart = np.abs(hits.scores - wanted) / np.maximum(1, np.abs(wanted))
            if len(apart) and not apart.max() <= TOLERANCE:
                worst = int(apart.argmax())
                raise CheckError(
                    f"user {search.userid!r}, item {self.own_ids[int(hits.ids[worst])]!r}, channel "
                    f"{self.channel.name}: the index ranks by {hits.scores[worst]:.6f}, the model's inner product is "
                    f"{wanted[worst]:.6f}"
                )
            gaps[user] = apart.max(initial=0.0)
        return shares, gaps


def _overlap(
    itemids: Ints, products: NDArray[np.float64], seen: Ints, found: Ints, candidates: int, step: float
) -> float:
    """Share of the exact top that was found; what ties with its last place, or is within ``step``, is as good."""
    open_ = ~np.isin(itemids, seen)  # included: unseen items only
    wanted = min(candidates, int(open_.sum()))
    if wanted == 0:
        return 1.0
    last = np.partition(products[open_], -wanted)[-wanted]
    good = itemids[open_ & (products >= last - max(SAME_SCORE * abs(last), step))]
    return int(np.isin(found, good).sum()) / wanted
