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

from data_exchange_center.channels import HistorySum
from data_exchange_center.dataset import MAX_BYTES
from data_exchange_center.features import Float32
from data_exchange_center.fusion import Hits, fuse
from data_exchange_center.words import named_values
from extras.routes import per_release
from online.recommend.loaded_release import Release
from online.recommend.outcomes import BadRequestError
from online.recommend.recommend import items_of
from online.recommend.types import MAX_SIZE, Item, OwnText, Size, read_id
from online.web.parts import InOrder

MAX_ITEMS: Final = 20
_LIST: Final = 256  # items of a channel's list
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


class SimilarItem(Item, title="SimilarItem"):
    """An item with its fused score."""

    why: str = Field(description="a sentence: how it is like a given item")


class Similar(BaseModel):
    """The items most like those given, best first."""

    release: str
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

    def best(self, itemids: Sequence[int]) -> NDArray[np.int64]:
        """The items that are most like some, without those; none where the channel knows none of them."""
        given = self.rows[np.isin(self.itemids, itemids)]
        given = given[~np.isnan(given).any(axis=1)]
        if not len(given):
            return self.itemids[:0]
        scores = self.columns @ given.mean(axis=0)
        scores[np.isin(self.itemids, itemids)] = np.nan
        known = np.count_nonzero(~np.isnan(scores))
        return self.itemids[np.argsort(-scores, kind="stable")[: min(_LIST, known)]]


@per_release
def tables_of(opened: Release) -> list[Table]:
    """Similarity tables of the release's items: of a channel of item-item weights these, of others cosines."""
    fitted = {channel.name: channel for channel in opened.channels.channels}
    tables = []
    for recipe in opened.manifest.recipe.recall.vector_channels:
        channel = fitted.get(recipe.name)
        itemids, vectors = opened.exact.item_numbers, opened.exact.vectors[recipe.name]
        if isinstance(channel, HistorySum):  # without popularity and filler
            itemids = opened.channels.item_numbers
            untrained = ~channel.trained[1:]
            vectors = channel.items[1:].copy()
            vectors[untrained] = np.nan
            if not (channel.profile or channel.hidden or channel.base.any()):
                rows = channel.rows[0][1:].copy()
                rows[untrained] = np.nan
                tables.append(Table(_LIKED_TOGETHER, itemids, rows, vectors))
                continue
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        unit = vectors / np.maximum(lengths, 1e-12)
        tables.append(Table(_NEAR, itemids, unit, unit))
    return tables


@per_release
def values_of(opened: Release) -> dict[int, frozenset[str]]:
    """Item -> the values of its attributes that have names."""
    return {
        itemid: frozenset(named_values(item.attributes))
        for itemid, item in opened.catalogue.items()
    }


def by_attributes(
    opened: Release, itemids: Sequence[int], wanted: frozenset[str]
) -> NDArray[np.int64]:
    """Items by Jaccard similarity of their values to the ``wanted`` ones, without ``itemids``; ties by popularity."""
    of_all = values_of(opened)
    by_popularity = [n for n in opened.popular.ids.tolist() if n in of_all]
    scores = {}
    for itemid in dict.fromkeys([*by_popularity, *of_all]):
        values = of_all[itemid]
        if itemid not in itemids and wanted & values:
            scores[itemid] = len(wanted & values) / len(wanted | values)
    best = sorted(scores, key=scores.__getitem__, reverse=True)
    return np.array(best[:_LIST], np.int64)


def alike(opened: Release, query: SimilarQuery, in_order: InOrder) -> Similar:
    """The items most like those of a query. ``in_order``: as of `Parts`.

    Raises BadRequestError for an item that the release does not have.
    """
    kind, known = opened.manifest.dataset.item_ids, opened.numbers
    own_ids = [read_id("itemid", text, kind) for text in dict.fromkeys(query.itemid)]
    for own in own_ids:
        if own not in known:
            raise BadRequestError("itemid", f"This release has no item {own!r}.")
    given, values = [known[own] for own in own_ids], values_of(opened)
    wanted = frozenset().union(*(values[itemid] for itemid in given))

    # by channel; if no channel knows any of them, by their attributes
    lists = [(table.sentence, table.best(given)) for table in tables_of(opened)]
    if not any(len(found) for _, found in lists):
        lists = [(_ALIKE, by_attributes(opened, given, wanted))]
    hits = [Hits(found, np.zeros(len(found))) for _, found in lists]
    fused = fuse(hits, [1.0] * len(lists), _LIST)
    there = np.isin(fused.ids, list(opened.catalogue))  # not removed since the release
    ids, scores = fused.ids[there], fused.scores[there]
    order = in_order(opened, ids)[: query.size]

    what = f"these {len(given)} items"
    if len(given) == 1:
        what = f"“{opened.catalogue[given[0]].title}”"
    items: list[SimilarItem] = []
    found_items = items_of(opened.catalogue, ids[order], scores[order])
    for itemid, item in zip(ids[order].tolist(), found_items, strict=True):
        # of the list that it is first on
        places = [np.flatnonzero(found == itemid) for _, found in lists]
        ranks = [int(place[0]) if len(place) else _LIST for place in places]
        why = lists[int(np.argmin(ranks))][0].format(what)
        if shared := wanted & values[itemid]:
            why += f" In common: {', '.join(sorted(shared))}."
        items.append(SimilarItem.model_construct(**item.model_dump(), why=why))
    return Similar.model_construct(release=opened.release, item_list=items)
