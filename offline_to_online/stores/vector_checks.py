"""Checks that the vector index ranks as the model does, channel by channel, before it is served.

Every check raises CheckError naming the row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from elasticsearch import Elasticsearch
from numpy.typing import NDArray

from data_exchange_center import wire
from data_exchange_center.columns import vector_of
from data_exchange_center.feature_kinds import Float32
from data_exchange_center.fusion import Hits
from data_exchange_center.own_ids import OwnId
from data_exchange_center.progress import progress
from data_exchange_center.recipes import RecallRecipe, VectorRecipe
from data_exchange_center.steps import CheckError
from offline_to_online.rows.item_rows import ItemRow
from offline_to_online.rows.sampling import Search
from online.clients.item_search import ItemQuery, channel_query, found, search_body, unseen_filter

MSEARCH: Final = 250  # searches a request
MIN_OVERLAP: Final = 0.99  # mean share of the model's exact candidates that the approximate search must find
MIN_OF_ONE: Final = 0.95  # and the share of the user it serves worst
SELF_CANDIDATES: Final = 100  # breadth of the search in which an item must find itself: far less than users get
_NOTHING: Final = np.empty(0, dtype=np.int32)
SAME_SCORE: Final = 1e-6  # relative, a few steps of float32; two products this close to each other are a tie
TOLERANCE: Final = 1e-5  # between the index's and the model's product, relative to the product or to 1

Ints = NDArray[np.integer]


class SelfCheck(NamedTuple):
    """Outcome of asking with every item's own vector."""

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
            f"channel {channel.name} over {outcome.users} users; at least {MIN_OVERLAP} is asked (worst: user "
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
    asked = channel_query(channel, query, unseen_filter(search.seen))
    assert asked is not None  # noqa: S101
    return search_body(asked, recall.candidates)
