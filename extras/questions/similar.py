"""Similar items: those most like one item, or several, and why.

Each channel makes a list, and ranks are fused as in recall. A channel of item-item weights, such as EASE, lists the
items with the largest weights; any other the nearest by its item vectors. Items that nobody has rated have no vectors:
their list is by attributes. All of it is in the server's memory; no service is called.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from data_exchange_center.channels import ChannelSet, HistorySum
from data_exchange_center.dataset import MAX_BYTES, OwnId
from data_exchange_center.features import Float32
from data_exchange_center.fusion import Hits, Vocabulary, fuse
from data_exchange_center.recipes import RecallRecipe
from extras.routes import per_release
from online.recommend.loaded_release import Release
from online.recommend.outcomes import BadRequestError
from online.recommend.recommend import items_of
from online.recommend.types import MAX_SIZE, Item, OwnText, Size, read_id
from online.web.parts import InOrder

MAX_ITEMS: Final = 20
_LIST: Final = 256  # items of a channel's list
BY_ATTRIBUTES: Final = "attributes"  # the list of that name
_SENTENCES: Final = {
    "together": "Often liked together with {}.",
    "near": "Similar vector to that of {}.",
    BY_ATTRIBUTES: "Similar attributes to those of {}.",
}


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
        itemids: (n,) ascending.
        rows, columns: (n, d); NaN for an item that the channel does not know.
    """

    kind: Literal["together", "near"]
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


def tables(
    channels: ChannelSet,
    recall: RecallRecipe,
    itemids: NDArray[np.int64],
    indexed: Mapping[str, Float32],
) -> dict[str, Table]:
    """A table for each channel that has vectors; ``indexed``: channel -> (n, d) vectors in the search index."""
    fitted = {channel.name: channel for channel in channels.channels}
    found = {}
    for recipe in recall.searched:
        channel = fitted.get(recipe.name)
        known, vectors = itemids, indexed[recipe.name]
        if isinstance(channel, HistorySum):
            trained = channel.trained[1:, None]
            known, vectors = (
                channels.item_numbers,
                np.where(trained, channel.items[1:], np.float32(np.nan)),
            )
            if not (
                channel.profile or channel.hidden or channel.base.any()
            ):  # linear: item-item weights
                rows = np.where(trained, channel.rows[0][1:], np.float32(np.nan))
                found[recipe.name] = Table("together", known, rows, vectors)
                continue
        unit = vectors / np.maximum(
            np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12
        )
        found[recipe.name] = Table("near", known, unit, unit)
    return found


@per_release
def tables_of(opened: Release) -> dict[str, Table]:
    """Similarity tables of the release's items, by channel."""
    exact = opened.exact
    return tables(
        opened.channels,
        opened.manifest.recipe.recall,
        exact.item_numbers,
        exact.vectors,
    )


@per_release
def values_of(opened: Release) -> dict[int, frozenset[str]]:
    """Item -> the values of its attributes that have names."""
    return {
        itemid: frozenset(
            each
            for value in item.attributes.values()
            if isinstance(value, list)
            for each in value
        )
        for itemid, item in opened.catalogue.items()
    }


def by_attributes(
    opened: Release, itemids: Sequence[int], wanted: frozenset[str]
) -> Hits:
    """Items by Jaccard similarity of their values to the ``wanted`` ones, without ``itemids``; ties by popularity."""
    popular = dict(
        zip(opened.popular.ids.tolist(), opened.popular.scores.tolist(), strict=True)
    )
    scores = {
        itemid: len(wanted & values) / len(wanted | values)
        for itemid, values in values_of(opened).items()
        if itemid not in itemids and wanted & values
    }
    best = sorted(
        scores, key=lambda itemid: (-scores[itemid], -popular.get(itemid, 0), itemid)
    )[:_LIST]
    return Hits(np.array(best, np.int64), np.array([scores[itemid] for itemid in best]))


def alike(opened: Release, query: SimilarQuery, in_order: InOrder) -> Similar:
    """The items most like those of a query. ``in_order``: as of `Parts`.

    Raises BadRequestError for an item that the release does not have.
    """
    own_ids = [
        read_id("itemid", text, opened.manifest.dataset.item_ids)
        for text in dict.fromkeys(query.itemid)
    ]
    for own in own_ids:
        if own not in opened.numbers:
            raise BadRequestError("itemid", f"This release has no item {own!r}.")
    given, values = [opened.numbers[own] for own in own_ids], values_of(opened)
    wanted = frozenset().union(*(values[itemid] for itemid in given))
    # by channel; if no channel knows any of them, by their attributes
    lists = {name: table.best(given) for name, table in tables_of(opened).items()}
    if not any(len(hits.ids) for hits in lists.values()):
        lists = {BY_ATTRIBUTES: by_attributes(opened, given, wanted)}
    kinds = {name: table.kind for name, table in tables_of(opened).items()}
    # Equal weights, chosen on pairs of an earlier time than those that the README reports on
    fused = fuse(list(lists.values()), [1.0] * len(lists), _LIST)
    shown_here = np.isin(
        fused.ids, np.fromiter(opened.catalogue, np.int64)
    )  # without items removed since the release
    ids, scores = fused.ids[shown_here], fused.scores[shown_here]
    order = in_order(opened, ids)[: query.size]
    what = (
        f"“{opened.catalogue[given[0]].title}”"
        if len(given) == 1
        else f"these {len(given)} items"
    )
    found: list[Item] = []
    items = items_of(opened.catalogue, ids[order], scores[order])
    for itemid, item in zip(ids[order].tolist(), items, strict=True):
        ranks = {
            name: int(at[0]) + 1
            for name, hits in lists.items()
            if len(at := np.flatnonzero(hits.ids == itemid))
        }
        sentence = _SENTENCES[
            kinds.get(min(ranks, key=ranks.__getitem__), BY_ATTRIBUTES)
        ].format(what)
        if shared := sorted(wanted & values[itemid]):
            sentence += f" In common: {', '.join(shared)}."
        shown = item.model_dump()
        found.append(
            SimilarItem.model_construct(
                **shown, why=Why(ranks=ranks, shared=shared, sentence=sentence)
            )
        )
    return Similar.model_construct(
        release=opened.release, itemids=own_ids, item_list=found
    )
