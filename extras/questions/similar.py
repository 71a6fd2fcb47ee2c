"""Similar items: those most like one item, or several, and why.

Each channel makes a list, and ranks are fused as in recall. A channel of item-item weights, such as EASE, lists the
items with the largest weights; any other the nearest by its item vectors. Items that nobody has rated have no vectors:
their list is by attributes. All of it is in the server's memory; no service is called.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from data_exchange_center.channels import Channel, HistorySum
from data_exchange_center.dataset import MAX_BYTES, OwnId
from data_exchange_center.features import Float32
from data_exchange_center.fusion import Hits, Vocabulary, fuse
from extras.routes import per_release
from online.recommend.loaded_release import Release
from online.recommend.outcomes import BadRequestError
from online.recommend.recommend import items_of
from online.recommend.types import MAX_SIZE, Item, OwnText, Size, read_id
from online.web.parts import InOrder

MAX_ITEMS: Final = 20
_LIST: Final = 256  # items of a channel's list
BY_ATTRIBUTES: Final = "attributes"  # the list of that name
_LIKED_TOGETHER: Final = "Often liked together with {}."
_NEAR: Final = "Similar vector to that of {}."
_ALIKE: Final = "Similar attributes to those of {}."


class SimilarQuery(BaseModel):
    """Items to be like, and how many are wanted."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    itemid: Annotated[list[OwnText], Field(min_length=1, max_length=MAX_ITEMS)] = Field(
        description=f"1 to {MAX_ITEMS} ids of 1 to {MAX_BYTES} bytes, the data set's own: itemid=1&itemid=2"
    )
    size: Size = Field(default=20, description=f"a whole number from 1 to {MAX_SIZE}")


class Why(BaseModel):
    """Why an item is there."""

    ranks: dict[str, int] = Field(
        description="channel, or attributes -> the item's place on its list, from 1"
    )
    shared: list[str] = Field(
        description="values of attributes that it has in common with a given item"
    )
    sentence: str


class SimilarItem(Item, title="SimilarItem"):
    """An item with its fused score."""

    why: Why


class Similar(BaseModel):
    """The items most like those given, best first."""

    release: str
    itemids: list[OwnId] = Field(description="what they are like")
    item_list: list[SimilarItem]


@dataclass(frozen=True, eq=False)
class Table:
    """One channel's view of items: how alike two are is the inner product of the first's row and the second's column.

    Attributes:
        sentence: why an item is on the list.
        itemids: (n,) ascending.
        rows, columns: (n, d); NaN for an item that the channel does not know.
    """

    sentence: str
    itemids: NDArray[np.int64]
    rows: Float32
    columns: Float32

    def best(self, itemids: Sequence[int]) -> Hits:
        """The items that are most like some, without those; none where the channel knows none of them."""
        codes = Vocabulary(self.itemids).codes(itemids)
        given = self.rows[codes[codes > 0] - 1]
        given = given[~np.isnan(given).any(axis=1)]
        if not len(given):
            return Hits(self.itemids[:0], given[:0, 0])
        scores = self.columns @ given.mean(axis=0)
        scores[np.isin(self.itemids, itemids) | np.isnan(scores)] = -np.inf
        best = np.argsort(-scores, kind="stable")[:_LIST]
        best = best[np.isfinite(scores[best])]
        return Hits(self.itemids[best], scores[best])


@per_release
def tables_of(opened: Release) -> dict[str, Table]:
    """Similarity tables of the release's items, by channel that has vectors."""
    fitted = {channel.name: channel for channel in opened.channels.channels}
    return {
        recipe.name: table_of(opened, recipe.name, fitted.get(recipe.name))
        for recipe in opened.manifest.recipe.recall.searched
    }


def table_of(opened: Release, name: str, channel: Channel | None) -> Table:
    """Of a channel of item-item weights these, of others the cosine of their vectors."""
    itemids, vectors = opened.exact.item_numbers, opened.exact.vectors[name]
    if isinstance(channel, HistorySum):  # without popularity and filler
        itemids = opened.channels.item_numbers
        untrained = ~channel.trained[1:]
        vectors = channel.items[1:].copy()
        vectors[untrained] = np.nan
        if not (channel.profile or channel.hidden or channel.base.any()):
            rows = channel.rows[0][1:].copy()
            rows[untrained] = np.nan
            return Table(_LIKED_TOGETHER, itemids, rows, vectors)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / np.maximum(lengths, 1e-12)
    return Table(_NEAR, itemids, unit, unit)


@per_release
def values_of(opened: Release) -> dict[int, frozenset[str]]:
    """Item -> the values of its attributes that have names."""
    found = {}
    for itemid, item in opened.catalogue.items():
        lists = [each for each in item.attributes.values() if isinstance(each, list)]
        found[itemid] = frozenset().union(*lists)
    return found


def by_attributes(
    opened: Release, itemids: Sequence[int], wanted: frozenset[str]
) -> Hits:
    """Items by Jaccard similarity of their values to the ``wanted`` ones, without ``itemids``; ties by popularity."""
    ids, counts = opened.popular.ids.tolist(), opened.popular.scores.tolist()
    popular = dict(zip(ids, counts, strict=True))
    found = []
    for itemid, values in values_of(opened).items():
        if itemid not in itemids and wanted & values:
            score = len(wanted & values) / len(wanted | values)
            found.append((-score, -popular.get(itemid, 0), itemid))
    best = sorted(found)[:_LIST]
    numbers = np.array([itemid for _, _, itemid in best], np.int64)
    return Hits(numbers, np.array([-score for score, _, _ in best]))


def alike(opened: Release, query: SimilarQuery, in_order: InOrder) -> Similar:
    """The items most like those of a query. ``in_order``: as of `Parts`.

    Raises BadRequestError for an item that the release does not have.
    """
    own_ids, given = _given(opened, query)
    values = values_of(opened)
    wanted = frozenset().union(*(values[itemid] for itemid in given))
    # by channel; if no channel knows any of them, by their attributes
    tables = tables_of(opened)
    lists = {name: table.best(given) for name, table in tables.items()}
    if not any(len(hits.ids) for hits in lists.values()):
        lists = {BY_ATTRIBUTES: by_attributes(opened, given, wanted)}
    fused = fuse(list(lists.values()), [1.0] * len(lists), _LIST)
    there = np.isin(fused.ids, list(opened.catalogue))  # not removed since the release
    ids, scores = fused.ids[there], fused.scores[there]
    order = in_order(opened, ids)[: query.size]

    what = f"these {len(given)} items"
    if len(given) == 1:
        what = f"“{opened.catalogue[given[0]].title}”"
    found: list[SimilarItem] = []
    items = items_of(opened.catalogue, ids[order], scores[order])
    for itemid, item in zip(ids[order].tolist(), items, strict=True):
        ranks = {}
        for name, hits in lists.items():
            for place in np.flatnonzero(hits.ids == itemid):
                ranks[name] = int(place) + 1
        first = min(ranks, key=ranks.__getitem__)
        sentence = tables[first].sentence if first in tables else _ALIKE
        sentence = sentence.format(what)
        shared = sorted(wanted & values[itemid])
        if shared:
            sentence += f" In common: {', '.join(shared)}."
        why = Why(ranks=ranks, shared=shared, sentence=sentence)
        found.append(SimilarItem.model_construct(**item.model_dump(), why=why))
    return Similar.model_construct(
        release=opened.release, itemids=own_ids, item_list=found
    )


def _given(opened: Release, query: SimilarQuery) -> tuple[list[OwnId], list[int]]:
    """Own ids and numbers of a query's items."""
    kind = opened.manifest.dataset.item_ids
    own_ids = [read_id("itemid", text, kind) for text in dict.fromkeys(query.itemid)]
    for own in own_ids:
        if own not in opened.numbers:
            raise BadRequestError("itemid", f"This release has no item {own!r}.")
    return own_ids, [opened.numbers[own] for own in own_ids]
