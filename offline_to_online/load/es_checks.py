"""What the item index must prove before it may be served. Every check raises CheckError naming the row."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from elasticsearch import Elasticsearch
from numpy.typing import NDArray
from tqdm import tqdm

from data_exchange_center import wire
from data_exchange_center.recipes import RecallRecipe
from offline_to_online.load.es_index import ItemRow, is_complete
from offline_to_online.load.redis_rows import UserRow
from offline_to_online.load.services import CheckError
from online.clients.elastic import ItemQuery, hybrid_query

log = logging.getLogger(__name__)

MSEARCH: Final = 250  # searches a request
MIN_OVERLAP: Final = 0.99  # mean share of the model's exact candidates that the approximate search must find
MIN_OF_ONE: Final = 0.95  # and the share of the user it serves worst
SELF_CANDIDATES: Final = 100  # breadth of the search in which an item must find itself: far less than users get
SAME_SCORE: Final = 1e-6  # relative, a few steps of float32; two products this close to each other are a tie

Hits = list[tuple[int, float]]  # (itemid, Elasticsearch score), best first


@dataclass(frozen=True)
class VectorCheck:
    """Outcome of comparing the index's candidates with the model's."""

    users: int
    candidates: int
    mean_overlap: float
    min_overlap: float
    exact: int  # users whose candidates are the model's exact ones


def check_documents(client: Elasticsearch, release: str, rows: Sequence[ItemRow]) -> None:
    """Every document, field by field, against its source."""
    index = wire.item_index(release)
    count = client.count(index=index)["count"]
    if count != len(rows):
        raise CheckError(f"index {index} holds {count} documents, the source {len(rows)} items")
    for start in range(0, len(rows), MSEARCH):
        chunk = rows[start : start + MSEARCH]
        answer = client.mget(index=index, ids=[str(row.itemid) for row in chunk])
        for row, doc in zip(chunk, answer["docs"], strict=True):
            _check_document(row, doc.get("_source"))


def holds(client: Elasticsearch, release: str, rows: Sequence[ItemRow]) -> bool:
    """Whether the release's index is complete and equal to its source, so that nothing need be written."""
    if not is_complete(client, release):
        return False
    try:
        check_documents(client, release, rows)
    except CheckError as error:
        log.warning("%s: writing the release's items again", error)
        return False
    return True


def _check_document(row: ItemRow, stored: Mapping[str, Any] | None) -> None:
    if stored is None:
        raise CheckError(f"item {row.itemid}: no document in Elasticsearch")
    wanted = row.document()
    for field in sorted(set(wanted) | set(stored)):
        got, source = stored.get(field), wanted.get(field)
        if field == wire.ITEM_VECTOR and got is not None and source is not None:
            same = np.array_equal(np.asarray(got, dtype=np.float32), np.asarray(source, dtype=np.float32))
        else:
            same = got == source
        if not same:
            raise CheckError(f"item {row.itemid}, field {field!r}: Elasticsearch gave {got}, the source says {source}")


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


def check_self_first(
    client: Elasticsearch, release: str, rows: Sequence[ItemRow], recall: RecallRecipe
) -> tuple[int, int]:
    """Every item's stored vector finds that item first. Returns (items found first, items that tie for it).

    All item vectors have one length, so no other item can have a larger inner product with an item than the item
    itself; an item with the very same vector can only tie. A tie within `SAME_SCORE` is counted apart.
    """
    tied = 0
    narrow = recall.model_copy(update={"num_candidates": SELF_CANDIDATES})
    trained = [(row.itemid, row.vector) for row in rows if row.vector is not None]
    queries = [_search(release, vector, narrow, size=10) for _, vector in trained]
    for (itemid, _), hits in zip(trained, _msearch(client, release, queries, "items find themselves"), strict=True):
        if not hits:
            raise CheckError(f"item {itemid}: its own vector finds nothing")
        if hits[0][0] == itemid:
            continue
        tied += 1
        scores = dict(hits)
        if itemid not in scores or not np.isclose(scores[itemid], hits[0][1], rtol=SAME_SCORE):
            raise CheckError(
                f"item {itemid}: its own vector finds item {hits[0][0]} first (score {hits[0][1]:.6f}), "
                f"itself with {scores.get(itemid, 'no score')}"
            )
    return len(trained) - tied, tied


def check_candidates(
    client: Elasticsearch,
    release: str,
    users: Sequence[UserRow],
    rows: Sequence[ItemRow],
    recall: RecallRecipe,
) -> VectorCheck:
    """The index's candidates against the model's exact ones by inner product, seen items left out on both sides."""
    trained = [(row.itemid, row.vector) for row in rows if row.vector is not None]
    itemids = np.array([itemid for itemid, _ in trained])
    vectors = np.stack([vector for _, vector in trained]).astype(np.float64)  # (items, dim)
    known = [(user, user.vector) for user in users if user.vector is not None]
    queries = [_search(release, vector, recall, size=recall.candidates, seen=user.seen) for user, vector in known]
    shares = []
    for (user, vector), hits in zip(known, _msearch(client, release, queries, "users' candidates"), strict=True):
        leaked = sorted({itemid for itemid, _ in hits} & set(user.seen.tolist()))
        if leaked:
            raise CheckError(f"user {user.userid}: the seen filter let items {leaked[:5]} through")
        shares.append(_overlap(itemids, vectors @ vector.astype(np.float64), user.seen, hits, recall.candidates))
    share = np.asarray(shares)
    outcome = VectorCheck(
        len(known), recall.candidates, float(share.mean()), float(share.min()), int((share == 1).sum())
    )
    if outcome.mean_overlap < MIN_OVERLAP or outcome.min_overlap < MIN_OF_ONE:
        raise CheckError(
            f"the index finds {outcome.mean_overlap:.4f} of the model's exact {recall.candidates} candidates over "
            f"{outcome.users} users; at least {MIN_OVERLAP} is asked (worst: user "
            f"{known[int(share.argmin())][0].userid}, {outcome.min_overlap:.4f}; at least {MIN_OF_ONE}). "
            "Raise num_candidates in the recipe"
        )
    return outcome


def _overlap(
    itemids: NDArray[np.int64], products: NDArray[np.float64], seen: NDArray[np.int32], hits: Hits, candidates: int
) -> float:
    """Share of the exact top that was found; whatever ties with the exact top's last place is as good as it."""
    open_ = ~np.isin(itemids, seen)  # included: unseen items only
    wanted = min(candidates, int(open_.sum()))
    if wanted == 0:
        return 1.0
    last = np.partition(products[open_], -wanted)[-wanted]
    good = set(itemids[open_ & (products >= last - SAME_SCORE * abs(last))].tolist())
    return len(good & {itemid for itemid, _ in hits}) / wanted


def _search(
    release: str, vector: NDArray[np.float32], recall: RecallRecipe, *, size: int, seen: NDArray[np.int32] | None = None
) -> dict[str, Any]:
    """The server's own query with no genres in it: the vector alone."""
    query = ItemQuery(release=release, terms=(), vector=vector, seen=() if seen is None else seen, recall=recall)
    return {"query": hybrid_query(query), "size": size, "_source": False, "docvalue_fields": [wire.ITEM_ID]}


def _msearch(client: Elasticsearch, release: str, bodies: Sequence[dict[str, Any]], what: str) -> list[Hits]:
    answers: list[Hits] = []
    header = {"index": wire.item_index(release)}
    for start in tqdm(range(0, len(bodies), MSEARCH), desc=what, unit="batch", leave=False):
        searches = [part for body in bodies[start : start + MSEARCH] for part in (header, body)]
        for answer in client.msearch(searches=searches)["responses"]:
            if "error" in answer:
                raise CheckError(f"Elasticsearch refused a search: {answer['error'].get('reason', answer['error'])}")
            hits = answer["hits"]["hits"]
            answers.append([(int(hit["fields"][wire.ITEM_ID][0]), float(hit["_score"])) for hit in hits])
    return answers
