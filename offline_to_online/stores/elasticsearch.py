"""The items' genres and vectors in Elasticsearch: an index a release, checked by the server's own queries.

An index holds an inverted index of genre codes, and a vector index a recall channel. It carries the mark ``complete``
in its mapping once everything is in it. One without the mark is the leftover of an interrupted load and is deleted; one
with the mark may be live and is never emptied: its documents are written over in place, under the same ids, and only
when they are not what they should be. The mark ``checked`` follows once all of it was compared with its source.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Final, NamedTuple

import numpy as np
from elasticsearch import Elasticsearch
from elasticsearch.helpers import bulk, scan
from numpy.typing import NDArray

from data_exchange_center import plugins, wire
from data_exchange_center.columns import vector_of
from data_exchange_center.dataset import OwnId
from data_exchange_center.features import Float32
from data_exchange_center.fusion import Hits
from data_exchange_center.recipes import RecallRecipe, VectorIndex, VectorRecipe
from data_exchange_center.release import Manifest
from data_exchange_center.settings import IN_MEMORY, Settings
from data_exchange_center.steps import CheckError, progress
from offline_to_online.rows import ItemRow, Search
from offline_to_online.stores.base import ReleaseStore, elastic_client
from online.clients.elastic import ItemQuery, channel_query, found, search_body, unseen_filter

log = logging.getLogger(__name__)
BULK: Final = 1_000  # documents a request
MGET: Final = 250  # documents a request
MSEARCH: Final = 250  # searches a request
COPIES_WITHIN: Final = "25s"  # less than a step's client waits
COMPLETE: Final = "complete"
CHECKED: Final = "checked"
MIN_OVERLAP: Final = 0.99  # mean share of the model's exact candidates that the approximate search must find
MIN_OF_ONE: Final = 0.95  # and the share of the user it serves worst
SELF_CANDIDATES: Final = 100  # breadth of the search in which an item must find itself: far less than users get
SAME_SCORE: Final = 1e-6  # relative, a few steps of float32; two products this close to each other are a tie
TOLERANCE: Final = 1e-5  # between the index's and the model's product, relative to the product or to 1
_NOTHING: Final = np.empty(0, dtype=np.int32)
_SHOWN_ONLY: Final = {"index": False, "doc_values": False}
_OPTIONS: Final[Mapping[VectorIndex, Mapping[str, Any]]] = {
    "hnsw": {"type": "hnsw", "m": 16, "ef_construction": 100},
    "flat": {"type": "flat"},
}
Ints = NDArray[np.integer]


class Shards(NamedTuple):
    """Into how many parts an index is cut, and how many more copies there are of each."""

    parts: int = 1
    replicas: int = 0


ONE: Final = Shards()


@dataclass(frozen=True)
class IndexContent:
    """Content of a release's index, and searches that it must answer."""

    items: Sequence[ItemRow]
    searches: Mapping[str, Sequence[Search]]  # channel name -> searches of some users


class SelfCheck(NamedTuple):
    """Outcome of searching with every item's own vector."""

    first: int  # items that their vector finds first
    tied: int  # items that tie with the one that is found first


@dataclass(frozen=True)
class VectorCheck:
    """Outcome of comparing a channel's candidates with the model's exact ones."""

    users: int
    candidates: int
    mean_overlap: float
    min_overlap: float
    worst: OwnId  # the user it serves worst
    exact: int  # users whose candidates are the model's exact ones
    gap: float  # largest difference between the index's and the model's inner product, relative

    def __str__(self) -> str:
        return (
            f"the index's {self.candidates} against the model's exact {self.candidates}, {self.users} users: "
            f"{self.mean_overlap:.4%} shared (worst user {self.min_overlap:.2%}, identical for {self.exact}), inner "
            f"products differ by at most {self.gap:.1e}; no seen item among them"
        )


@dataclass(frozen=True)
class IndexReport:
    """Findings of an index's checks."""

    genres: Mapping[int, int]  # genre code -> items
    channels: Mapping[str, tuple[SelfCheck, VectorCheck]]  # by channel name


class ElasticsearchStore(ReleaseStore[IndexContent, IndexReport]):
    """The items' genres and vectors."""

    title: ClassVar[str] = "Elasticsearch"
    step: ClassVar[str] = "offline_to_online/recall/s2_item_to_es.py"

    @property
    def _shards(self) -> Shards:
        return Shards(self.settings.elasticsearch.shards, self.settings.elasticsearch.replicas)

    @property
    def address(self) -> str:
        return ", ".join(self.settings.elasticsearch.urls)

    def _load(self, manifest: Manifest, content: IndexContent) -> None:
        with elastic_client(self.settings) as client:
            if not holds(client, manifest.release, content.items):
                kind, put = manifest.recipe.recall.index, writer_of(self.settings)
                write_items(client, manifest.release, content.items, manifest.vector_dims, kind, self._shards, put)

    def _check(self, manifest: Manifest, content: IndexContent) -> IndexReport:
        release, recall, items = manifest.release, manifest.recipe.recall, content.items
        with elastic_client(self.settings) as client:
            check_documents(client, release, items)
            return IndexReport(
                genres=check_genres(client, release, items),
                channels={
                    channel.name: (
                        check_self_first(client, release, items, recall, channel),
                        check_candidates(client, release, content.searches[channel.name], items, recall, channel),
                    )
                    for channel in recall.searched
                },
            )

    def _mark(self, release: str) -> None:
        with elastic_client(self.settings) as client:
            put_marks(client, release, {**marks_of(client, release), CHECKED: True})
            if not client.indices.exists_alias(name=wire.ITEM_ALIAS):  # before the first release goes live
                point_alias(client, release)

    def _unmark(self, release: str) -> None:
        with elastic_client(self.settings) as client:
            marks = marks_of(client, release)
            if marks.get(CHECKED):
                put_marks(client, release, {**marks, CHECKED: False})

    def _is_checked(self, release: str) -> bool:
        with elastic_client(self.settings) as client:
            marks = marks_of(client, release)
            return bool(marks.get(COMPLETE) and marks.get(CHECKED))

    def _releases(self) -> set[str]:
        with elastic_client(self.settings) as client:
            indices = client.indices.get(index=f"{wire.ITEM_ALIAS}-*", features="settings")
            return {name.removeprefix(f"{wire.ITEM_ALIAS}-") for name in indices}

    def activate(self, release: str) -> None:
        """Move the alias that people search."""
        with self.reaching(), elastic_client(self.settings) as client:
            point_alias(client, release)

    def delete(self, releases: Collection[str]) -> None:
        with self.reaching(), elastic_client(self.settings) as client:
            for release in releases:
                delete_index(client, release)


# Load.


def writer_of(settings: Settings) -> Callable[[Elasticsearch, str, Sequence[ItemRow]], None]:
    """This step's `put_documents`, or a plugin that RECSYS_ENGINE names. Raises PluginError where there is none."""
    if settings.engine == IN_MEMORY:
        return put_documents
    return partial(plugins.load("recsys.index", settings.engine), settings)


def put_documents(client: Elasticsearch, release: str, rows: Sequence[ItemRow]) -> None:
    """Write the items over what there is of them."""
    bulk(client, _actions(wire.item_index(release), rows), chunk_size=BULK)


def write_items(
    client: Elasticsearch,
    release: str,
    rows: Sequence[ItemRow],
    dims: Mapping[str, int],
    kind: VectorIndex,
    shards: Shards = ONE,
    put: Callable[[Elasticsearch, str, Sequence[ItemRow]], None] = put_documents,
) -> None:
    """Load every item into the release's index, searchable on every copy when this returns, and mark it complete.

    ``put``: what writes the documents. Raises CheckError where not all copies come to be.
    """
    index = wire.item_index(release)
    if not marks_of(client, release).get(COMPLETE):
        delete_index(client, release)
        client.indices.create(index=index, **index_body(dims, kind, shards))
    put(client, release, rows)
    _delete_surplus(client, index, rows)
    client.indices.refresh(index=index)
    client.indices.forcemerge(index=index, max_num_segments=1)  # one graph a channel and shard: all are reached
    client.indices.put_settings(index=index, settings={"refresh_interval": "1s"})
    client.indices.refresh(index=index)
    _wait_for_copies(client, index)
    put_marks(client, release, {COMPLETE: True, "items": len(rows)})


def index_body(dims: Mapping[str, int], kind: VectorIndex, shards: Shards = ONE) -> dict[str, Any]:
    """Settings and mapping. ``dims``: width of each channel's vectors; ``kind``: how they are searched."""
    vectors = {
        vector_of(channel): {
            "type": "dense_vector",
            "dims": width,
            "index": True,
            # the metric the vectors were trained with, on floats: the default would round them to bytes
            "similarity": "max_inner_product",
            "index_options": _OPTIONS[kind],
        }
        for channel, width in dims.items()
    }
    return {
        "settings": {
            "number_of_shards": shards.parts,
            "number_of_replicas": shards.replicas,
            "refresh_interval": "-1",
        },
        "mappings": {
            "dynamic": "strict",
            "properties": {
                wire.ITEM_ID: {"type": "integer"},
                wire.ITEM_OWN_ID: {"type": "keyword", **_SHOWN_ONLY},
                wire.ITEM_TITLE: {"type": "keyword", **_SHOWN_ONLY},
                wire.ITEM_GENRES: {"type": "keyword"},  # codes are looked up, never compared by size
                wire.ITEM_ATTRIBUTES: {"type": "object", "enabled": False},  # kept as it is, whatever its names are
                **vectors,
            },
        },
    }


def _actions(index: str, rows: Sequence[ItemRow]) -> Iterator[dict[str, Any]]:
    for row in progress(rows, desc="items to Elasticsearch", unit="item", leave=False):
        yield {"_index": index, "_id": str(row.itemid), "_source": row.document()}


def _delete_surplus(client: Elasticsearch, index: str, rows: Sequence[ItemRow]) -> None:
    """Delete documents that are not of this release: only a hand could have put them there."""
    client.indices.refresh(index=index)
    if client.count(index=index)["count"] == len(rows):
        return
    wanted = {str(row.itemid) for row in rows}
    surplus = [hit["_id"] for hit in scan(client, index=index, _source=False) if hit["_id"] not in wanted]
    bulk(client, ({"_op_type": "delete", "_index": index, "_id": key} for key in surplus))


def _wait_for_copies(client: Elasticsearch, index: str) -> None:
    health = client.options(ignore_status=408).cluster.health(
        index=index, wait_for_status="green", timeout=COPIES_WITHIN
    )
    if health["timed_out"]:
        raise CheckError(
            f"{health['unassigned_shards']} copies of shards of {index} have no node to lie on: "
            "start more nodes, or set RECSYS_ELASTICSEARCH__REPLICAS to fewer, delete the index and sync again"
        )


def holds(client: Elasticsearch, release: str, rows: Sequence[ItemRow]) -> bool:
    """Whether the release's index is complete and equal to its source, so that nothing need be written."""
    if not marks_of(client, release).get(COMPLETE):
        return False
    try:
        check_documents(client, release, rows)
    except CheckError as error:
        log.warning("%s: writing the release's items again", error)
        return False
    return True


# Marks, the alias, deletion.


def marks_of(client: Elasticsearch, release: str) -> dict[str, Any]:
    index = wire.item_index(release)
    if not client.indices.exists(index=index):
        return {}
    marks: dict[str, Any] = client.indices.get_mapping(index=index)[index]["mappings"].get("_meta", {})
    return marks


def put_marks(client: Elasticsearch, release: str, marks: Mapping[str, Any]) -> None:
    client.indices.put_mapping(index=wire.item_index(release), meta=marks)


def point_alias(client: Elasticsearch, release: str) -> None:
    """In one step, so that no search finds nothing."""
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
    for start in range(0, len(rows), MGET):
        chunk = rows[start : start + MGET]
        answer = client.mget(index=index, ids=[str(row.itemid) for row in chunk])
        for row, doc in zip(chunk, answer["docs"], strict=True):
            _check_document(row, doc.get("_source"))


def _check_document(row: ItemRow, stored: Mapping[str, Any] | None) -> None:
    if stored is None:
        raise CheckError(f"item {row.own_id!r}: no document in Elasticsearch")
    wanted = row.document()
    for field in sorted(set(wanted) | set(stored)):
        got, source = stored.get(field), wanted.get(field)
        if field in row.vectors and got is not None:
            same = np.array_equal(np.asarray(got, dtype=np.float32), np.asarray(source, dtype=np.float32))
        else:
            same = got == source
        if not same:
            raise CheckError(
                f"item {row.own_id!r}, field {field!r}: Elasticsearch gave {got}, the source says {source}"
            )


def check_genres(client: Elasticsearch, release: str, rows: Sequence[ItemRow]) -> dict[int, int]:
    """For every genre code, the number of items a term query finds equals the truth's. Returns code -> items."""
    index = wire.item_index(release)
    truth: dict[int, int] = {}
    for row in rows:
        for code in row.genres:
            truth[code] = truth.get(code, 0) + 1
    for code, wanted in sorted(truth.items()):
        got = client.count(index=index, query={"term": {wire.ITEM_GENRES: code}})["count"]
        if got != wanted:
            raise CheckError(f"genre {code}: the index finds {got} items, the source has {wanted} of {len(rows)}")
    return dict(sorted(truth.items()))


# Check that the vector index ranks as the model does, channel by channel.


def check_self_first(
    client: Elasticsearch, release: str, rows: Sequence[ItemRow], recall: RecallRecipe, channel: VectorRecipe
) -> SelfCheck:
    """Every item's stored vector finds that item first.

    All item vectors have one length, so no other item can have a larger inner product with an item than the item
    itself; an item with (nearly) the very same vector can only tie. A tie within `SAME_SCORE` is counted apart.
    """
    itemids, vectors = _vectors(rows, channel)
    own_ids = _own_ids(rows)
    narrow = recall.model_copy(update={"num_candidates": SELF_CANDIDATES, "candidates": 10})
    searches = [Search(0, vector, _NOTHING) for vector in vectors]
    tied = 0
    answers = _msearch(client, release, searches, narrow, channel, "items find themselves")
    for itemid, vector, hits in zip(itemids.tolist(), vectors.astype(np.float64), answers, strict=True):
        if not len(hits.ids):
            raise CheckError(f"item {own_ids[itemid]!r}: its own vector of channel {channel.name} finds nothing")
        if hits.ids[0] == itemid:
            continue
        tied += 1
        own, best = vector @ vector, float(hits.scores[0])
        if not np.isclose(own, best, rtol=SAME_SCORE):
            raise CheckError(
                f"item {own_ids[itemid]!r}: its own vector of channel {channel.name} finds item "
                f"{own_ids[int(hits.ids[0])]!r} first, their inner product being {best:.6f}, its own with itself "
                f"{own:.6f}"
            )
    return SelfCheck(first=len(itemids) - tied, tied=tied)


def check_candidates(
    client: Elasticsearch,
    release: str,
    searches: Sequence[Search],
    rows: Sequence[ItemRow],
    recall: RecallRecipe,
    channel: VectorRecipe,
) -> VectorCheck:
    """`compare_candidates`, and enough of the exact candidates are found."""
    outcome = compare_candidates(client, release, searches, rows, recall, channel)
    if outcome.mean_overlap < MIN_OVERLAP or outcome.min_overlap < MIN_OF_ONE:
        raise CheckError(
            f"the index finds {outcome.mean_overlap:.4f} of the model's exact {recall.candidates} candidates of "
            f"channel {channel.name} over {outcome.users} users; at least {MIN_OVERLAP} is required (worst: user "
            f"{outcome.worst!r}, {outcome.min_overlap:.4f}; at least {MIN_OF_ONE}). "
            "Raise num_candidates in the recipe"
        )
    return outcome


def compare_candidates(
    client: Elasticsearch,
    release: str,
    searches: Sequence[Search],
    rows: Sequence[ItemRow],
    recall: RecallRecipe,
    channel: VectorRecipe,
) -> VectorCheck:
    """The index's candidates against the model's exact ones by inner product, seen items left out on both sides.

    Raises CheckError for a seen item, or a score that is not the inner product.
    """
    itemids, vectors = _vectors(rows, channel)
    own_ids, exact = _own_ids(rows), vectors.astype(np.float64)
    shares, gaps = [], []
    answers = _msearch(client, release, searches, recall, channel, "users' candidates")
    for search, hits in zip(searches, answers, strict=True):
        leaked = sorted({*hits.ids.tolist()} & {*search.seen.tolist()})
        if leaked:
            raise CheckError(
                f"user {search.userid!r}: the seen filter let items {[own_ids[item] for item in leaked[:5]]} through"
            )
        products = exact @ search.vector.astype(np.float64)
        shares.append(_overlap(itemids, products, search.seen, hits.ids, recall.candidates))
        gaps.append(_score_gap(search.userid, channel.name, itemids, products, hits, own_ids))
    share = np.asarray(shares)
    return VectorCheck(
        users=len(share),
        candidates=recall.candidates,
        mean_overlap=float(share.mean()),
        min_overlap=float(share.min()),
        worst=searches[int(share.argmin())].userid,
        exact=int((share == 1).sum()),
        gap=max(gaps),
    )


def _score_gap(
    userid: OwnId,
    channel: str,
    itemids: Ints,
    products: NDArray[np.float64],
    hits: Hits,
    own_ids: Mapping[int, OwnId],
) -> float:
    """Largest relative difference of a search's scores from the model's products. Raises CheckError beyond what
    float32 explains.
    """
    wanted = products[np.searchsorted(itemids, hits.ids)]
    gaps = np.abs(hits.scores - wanted) / np.maximum(1, np.abs(wanted))
    if len(gaps) and not gaps.max() <= TOLERANCE:
        worst = int(gaps.argmax())
        raise CheckError(
            f"user {userid!r}, item {own_ids[int(hits.ids[worst])]!r}, channel {channel}: the index ranks by "
            f"{hits.scores[worst]:.6f}, the model's inner product is {wanted[worst]:.6f}"
        )
    return float(gaps.max(initial=0.0))


def _overlap(itemids: Ints, products: NDArray[np.float64], seen: Ints, found: Ints, candidates: int) -> float:
    """Share of the exact top that was found; whatever ties with the exact top's last place is as good as it."""
    open_ = ~np.isin(itemids, seen)  # included: unseen items only
    wanted = min(candidates, int(open_.sum()))
    if wanted == 0:
        return 1.0
    last = np.partition(products[open_], -wanted)[-wanted]
    good = itemids[open_ & (products >= last - SAME_SCORE * abs(last))]
    return int(np.isin(found, good).sum()) / wanted


def _own_ids(rows: Sequence[ItemRow]) -> dict[int, OwnId]:
    return {row.itemid: row.own_id for row in rows}


def _vectors(rows: Sequence[ItemRow], channel: VectorRecipe) -> tuple[Ints, Float32]:
    """Items' numbers, ascending, and vectors (n, dim) of the items that the channel knows."""
    field = vector_of(channel.name)
    known = [(row.itemid, row.vectors[field]) for row in rows if field in row.vectors]
    return np.array([itemid for itemid, _ in known], dtype=np.int64), np.stack([vector for _, vector in known])


def _msearch(
    client: Elasticsearch,
    release: str,
    searches: Sequence[Search],
    recall: RecallRecipe,
    channel: VectorRecipe,
    what: str,
) -> list[Hits]:
    """`search`, `MSEARCH` of them a request."""
    label = f"{what}, {channel.name}"
    starts = progress(range(0, len(searches), MSEARCH), desc=label, unit="batch", leave=False)
    chunks = (searches[start : start + MSEARCH] for start in starts)
    return [hits for chunk in chunks for hits in search(client, release, chunk, recall, channel)]


def search(
    client: Elasticsearch, release: str, searches: Sequence[Search], recall: RecallRecipe, channel: VectorRecipe
) -> list[Hits]:
    """The server's own search in one request, with no genres in it: the vector alone; scores as inner products."""
    header = {"index": wire.item_index(release)}
    parts = [part for one in searches for part in (header, _body(release, one, recall, channel))]
    answers = []
    for answer in client.msearch(searches=parts)["responses"]:
        if "error" in answer:
            raise CheckError(f"Elasticsearch refused a search: {answer['error'].get('reason', answer['error'])}")
        answers.append(found(answer, channel, by_vector_alone=True))
    return answers


def _body(release: str, search: Search, recall: RecallRecipe, channel: VectorRecipe) -> dict[str, Any]:
    query = ItemQuery(release, recall, {channel.name: search.vector}, seen=search.seen)
    body = channel_query(channel, query, unseen_filter(search.seen))
    assert body is not None  # noqa: S101
    return search_body(body, recall.candidates)
