"""Like this: the items that are most like one, or like several, and why.

Each channel brings a list, and the lists are fused as in recall. A channel that adds up item-item weights, as EASE
does, lists what the weights of the given items say; any other one what is nearest by its item vectors. Items that
nobody has rated have no vectors: theirs is the list by attributes. All of it is in the server's memory; no service is
called.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Literal, Self
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from data_exchange_center.channels import HistorySum
from data_exchange_center.dataset import MAX_BYTES, OwnId
from data_exchange_center.features import Float32
from data_exchange_center.fusion import Hits, fuse
from data_exchange_center.vocabulary import Vocabulary
from online.recommend.release import Release
from online.recommend.types import MAX_SIZE, BadRequestError, Item, OwnText, Size, read_id

PATH: Final = "/ml/similar"
MAX_ITEMS: Final = 20
_LIST: Final = 256  # items of a channel's list
_BY_ATTRIBUTES: Final = "attributes"  # the list of that name


class SimilarQuery(BaseModel):
    """Items to be like, and how many are wanted."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    itemid: Annotated[list[OwnText], Field(min_length=1, max_length=MAX_ITEMS)] = Field(
        description=f"1 to {MAX_ITEMS} ids of 1 to {MAX_BYTES} bytes, the data set's own: itemid=1&itemid=2"
    )
    size: Size = Field(default=20, description=f"a whole number from 1 to {MAX_SIZE}")


class Why(BaseModel):
    """Why an item is there."""

    ranks: dict[str, int] = Field(description="channel, or attributes -> the item's place on its list, from 1")
    shared: list[str] = Field(description="values of attributes that it has in common with a given item")
    sentence: str


class SimilarItem(Item):
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
        rows, columns: (n, d); NaN for an item of which the channel knows nothing.
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


def tables(opened: Release) -> dict[str, Table]:
    """A table for each channel that has vectors."""
    fitted = {channel.name: channel for channel in opened.channels.channels}
    found = {}
    for recipe in opened.manifest.recipe.recall.searched:
        channel = fitted.get(recipe.name)
        if isinstance(channel, HistorySum):
            itemids, vectors = opened.channels.itemids, _known(channel.items, channel.trained)
            if not (channel.profile or channel.hidden or channel.base.any()):  # linear: item-item weights
                rows = _known(channel.rows[0], channel.trained)
                found[recipe.name] = Table("together", itemids, rows, vectors)
                continue
        else:
            itemids, vectors = opened.exact.itemids, opened.exact.vectors[recipe.name]
        unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        found[recipe.name] = Table("near", itemids, unit, unit)
    return found


def _known(rows: Float32, trained: NDArray[np.bool_]) -> Float32:
    """(items + 1, d) -> (items, d), NaN for those that were not trained on."""
    known: Float32 = np.where(trained[1:, None], rows[1:], np.float32(np.nan))
    return known


@dataclass(frozen=True, eq=False)
class Alike:
    """How alike the items of a release are."""

    tables: Mapping[str, Table]
    values: Mapping[int, frozenset[str]]  # item -> the values of its attributes

    @classmethod
    def of(cls, opened: Release) -> Self:
        values = {
            itemid: frozenset(
                value for values in item.attributes.values() if isinstance(values, list) for value in values
            )
            for itemid, item in opened.catalogue.items()
        }
        return cls(tables(opened), values)

    def by_attributes(self, opened: Release, itemids: Sequence[int]) -> Hits:
        """The items that have most values in common with some, for how many they have; of equals the popular ones."""
        wanted = frozenset().union(*(self.values[itemid] for itemid in itemids))
        if not wanted:
            return Hits(np.empty(0, np.int64), np.empty(0))
        popular = dict(zip(opened.popular.ids.tolist(), opened.popular.scores.tolist(), strict=True))
        scores = {
            itemid: len(wanted & values) / len(wanted | values)
            for itemid, values in self.values.items()
            if itemid not in itemids and wanted & values
        }
        best = sorted(scores, key=lambda itemid: (-scores[itemid], -popular.get(itemid, 0), itemid))[:_LIST]
        return Hits(np.array(best, np.int64), np.array([scores[itemid] for itemid in best]))


class Likeness:
    """Answers what is like what. Shared by threads."""

    def __init__(self) -> None:
        self._alike: WeakKeyDictionary[Release, Alike] = WeakKeyDictionary()

    def answer(self, opened: Release, query: SimilarQuery) -> Similar:
        """Raises BadRequestError for an item that the release does not have."""
        alike = self._alike.get(opened)
        if alike is None:
            alike = self._alike[opened] = Alike.of(opened)
        own_ids = [read_id("itemid", text, opened.manifest.dataset.item_ids) for text in dict.fromkeys(query.itemid)]
        for own in own_ids:
            if own not in opened.numbers:
                raise BadRequestError("itemid", f"This release has no item {own!r}.")
        given = [opened.numbers[own] for own in own_ids]
        lists = {name: table.best(given) for name, table in alike.tables.items()}
        if not any(len(hits.ids) for hits in lists.values()):
            lists = {_BY_ATTRIBUTES: alike.by_attributes(opened, given)}
        recipe = opened.manifest.recipe.recall
        weights = {channel.name: channel.fusion_weight for channel in recipe.channels}
        fused = fuse(list(lists.values()), [weights.get(name, 1.0) for name in lists], _LIST)
        ranks = {name: {itemid: n for n, itemid in enumerate(hits.ids.tolist(), 1)} for name, hits in lists.items()}
        wanted = frozenset().union(*(alike.values[itemid] for itemid in given))
        titles = [opened.catalogue[itemid].title for itemid in given]
        found: list[Item] = []
        for itemid, score in zip(fused.ids.tolist(), fused.scores.tolist(), strict=True):
            if (item := opened.catalogue.get(itemid)) is None or len(found) == query.size:
                continue
            places = {name: at[itemid] for name, at in ranks.items() if itemid in at}
            shared = sorted(wanted & alike.values[itemid])
            why = Why(ranks=places, shared=shared, sentence=_sentence(alike.tables, places, shared, titles))
            found.append(SimilarItem.model_construct(**Item.of(item, score).model_dump(), why=why))
        return Similar(release=opened.release, itemids=own_ids, item_list=found)  # type: ignore[arg-type]


def _sentence(
    tables: Mapping[str, Table], places: Mapping[str, int], shared: Sequence[str], titles: Sequence[str]
) -> str:
    """The reason in words, by the list that has the item highest."""
    best = min(places, key=places.__getitem__)
    what = titles[0] if len(titles) == 1 else f"these {len(titles)}"
    kind = f" Of the same kind: {', '.join(shared)}." if shared else ""
    if best not in tables:
        return f"Like {what} by what is known of it.{kind}"
    if tables[best].kind == "together":
        return f"Often liked by those who like {what}.{kind}"
    return f"Near to {what} in the taste of those who know both.{kind}"
