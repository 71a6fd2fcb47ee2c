"""Place new items in a release's vector spaces: ridge regression from attributes to each channel's vectors.

It is fitted on the release's own items, in milliseconds, when the first new item arrives. With its first likes an item
moves toward what those users had liked before. `extended` adds the new items to a release: to the catalogue, the exact
search, the channels, which read events with them, and the ranker, which sees a new item as the known one nearest to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.candidates import ExactItems, IndexedItem
from data_exchange_center.channels import ChannelSet, HistorySum
from data_exchange_center.dataset import Dataset, ItemNumber
from data_exchange_center.features import Encoded, FeatureSpec, Float32
from data_exchange_center.fusion import Hits, Vocabulary
from online.clients.elastic import CatalogueItem
from online.recommend.loaded_release import EncodedItems, ItemCache, Release

# Compared with others in pic/figures/new_items_ml-100k.json
RIDGE: Final = 0.3
WEIGHT: Final = 0.75  # power of the share of users who like an item: at 1, each like counts once in the regression
LIKES: Final = 10  # of a new item that are kept, each as the `BEFORE` newest items that the user had liked before
BEFORE: Final = 10
K, SPREAD = 3.0, 1.5  # by n likes an item moves n / (n + K) of the way
_FITTED: Final = 20_000  # items at most, the popular ones
_LITTLE: Final = 1e-9  # weight of an item without popularity

Float64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Described:
    """An item by its attributes.

    Attributes:
        terms: codes, from 1, ascending.
        numbers: name of a numeric attribute -> value, None where it is unknown; of a changed item it may lack some.
        likes: for each kept like, numbers of the items that its user had liked before.
    """

    number: int
    shown: CatalogueItem
    terms: tuple[int, ...]
    numbers: Mapping[str, float | None]
    likes: tuple[tuple[int, ...], ...] = ()


def term_codes(dataset: Dataset, spec: FeatureSpec, attributes: Mapping[str, Any]) -> tuple[int, ...]:
    """Codes of the terms of an item's attributes; values that the release does not know are left out."""
    codes = {term: code for code, term in enumerate(spec.genres, 1)}
    names = (dataset.term(name, value) for name in dataset.terms for value in attributes.get(name) or ())
    return tuple(sorted(codes[name] for name in names if name in codes))


@dataclass(frozen=True, eq=False)
class Ridge:
    """Weighted linear regression, with a penalty on all weights but the intercept: (n, columns) -> (n, d)."""

    means: Float64  # (columns,)
    intercept: Float64  # (d,)
    weights: Float64  # (columns, d)

    @classmethod
    def fit(cls, given: Float64, wanted: NDArray[np.floating], weights: Float64, strength: float = RIDGE) -> Self:
        """Fit on n items. ``weights``: (n,), above zero."""
        share = weights / weights.sum()
        means, intercept = share @ given, share @ wanted
        centred = given - means
        weighted = centred.T * (share * len(share))
        gram = weighted @ centred + strength * np.eye(centred.shape[1])
        return cls(means, intercept, np.linalg.solve(gram, weighted @ (wanted - intercept)))

    def __call__(self, given: Float64) -> Float32:
        projected: Float32 = ((given - self.means) @ self.weights + self.intercept).astype(np.float32)
        return projected


def moved(placed: Float32, liked: Float64, likes: NDArray[np.integer], centre: Float64, k: float = K) -> Float32:
    """Move vectors predicted from attributes, (n, d), toward what the users who like each item had liked before.

    Args:
        liked: (n, d) mean vectors of those items, over the users; not read where ``likes`` is 0.
        likes: (n,) how many users like each.
        centre: (d,) mean of all liked items; a mean of several vectors shrinks toward it, which `SPREAD` undoes.
    """
    share = (likes / (likes + k))[:, None]
    meant = np.where(share > 0, centre + SPREAD * (liked - centre), 0)
    nearer: Float32 = ((1 - share) * placed + share * meant).astype(np.float32)
    return nearer


class Spaces:
    """Regressions of one release, each fitted when it is needed first. Shared by threads."""

    def __init__(self, base: Release) -> None:
        self.base = base
        self.dataset, self.spec = base.manifest.dataset, base.spec
        self.features = base.items.current()
        # Where every channel is a sum over the history, new items join the tables that it reads.
        sums = [channel for channel in base.channels.channels if isinstance(channel, HistorySum)]
        self.sums = sums if len(sums) == len(base.channels.channels) else []
        self.regressions: dict[str, Ridge] = {}

    # --- of the release's own items

    @cached_property
    def known(self) -> tuple[NDArray[np.int64], Float64, Float64]:
        """The items that regressions are fitted on: numbers (n,), ascending, inputs (n, columns), weights (n,)."""
        popular, scores = self.base.popular.ids[:_FITTED], self.base.popular.scores[:_FITTED]
        numbers = np.union1d(popular, self.base.exact.itemids[: _FITTED - len(popular)])
        catalogue, own = self.base.catalogue, self._own_numbers(numbers)
        terms = [term_codes(self.dataset, self.spec, catalogue[each].attributes) for each in numbers.tolist()]
        weights = np.full(len(numbers), _LITTLE)
        weights[np.searchsorted(numbers, popular)] = np.maximum(scores.astype(np.float64) ** WEIGHT, _LITTLE)
        return numbers, self._inputs(terms, own), weights

    def _inputs(self, terms: Sequence[Sequence[int]], numbers: Float64) -> Float64:
        """(n, columns): a column a term; of each number its nearness to the declared centres, zeros where unknown.

        Args:
            terms: n lists of codes.
            numbers: (n, declared) values, NaN where unknown.
        """
        flags = np.zeros((len(terms), len(self.spec.genres) + 1))
        for row, codes in enumerate(terms):
            flags[row, list(codes)] = 1
        near = []
        for number, values in zip(self.dataset.numbers, numbers.T, strict=True):
            centres = np.array(number.centres or (0.0,))
            within = np.clip(values, centres.min(), centres.max())  # values beyond the data's range count as its ends
            near.append(np.nan_to_num(np.exp(-0.5 * ((within[:, None] - centres) / number.width) ** 2)))
        return np.hstack([flags[:, 1:], *near])

    def _own_numbers(self, itemids: NDArray[np.int64]) -> Float64:
        """(n, `Dataset.numbers`) values of the release's items, from the ranker's features; NaN where unknown."""
        found, rows = self.features.find(itemids)
        values = np.full((len(itemids), len(self.dataset.numbers)), np.nan)
        for place, number in enumerate(self.dataset.numbers):
            at = _place(rows.features, _column(number))
            if at is not None:
                stored = np.rint(rows.values[:, at].astype(np.float64) * rows.features[at].scale)  # type: ignore[union-attr]
                values[found, place] = np.where(stored != 0, stored * number.unit, np.nan)
            else:
                shown = [self.base.catalogue[each].attributes.get(number.name) for each in itemids.tolist()]
                values[:, place] = [np.nan if each is None else each for each in shown]
        return values

    def place(self, name: str, wanted: NDArray[np.floating], items: Sequence[Described]) -> Float32:
        """Predict rows of m new items, (m, d), from their attributes and any likes.

        ``wanted``: (n, d) rows of the release's known items, NaN for those without one.
        """
        numbers, given, weights = self.known
        there = ~np.isnan(wanted).any(axis=1)
        if name not in self.regressions:
            self.regressions[name] = Ridge.fit(given[there], wanted[there], weights[there])
        ridge = self.regressions[name]
        values = [[item.numbers.get(each.name) for each in self.dataset.numbers] for item in items]
        of_items = np.array(values, np.float64).reshape(len(items), -1)  # None is NaN
        placed = ridge(self._inputs([item.terms for item in items], of_items))
        liked, likes = np.zeros(placed.shape), np.zeros(len(items), np.int64)
        codes = Vocabulary(numbers)
        for row, item in enumerate(items):
            rows = [at[there[at]] for each in item.likes if len(at := codes.codes(each) - 1)]
            means = [wanted[at].mean(axis=0) for at in rows if len(at)]
            if means:
                liked[row], likes[row] = np.mean(means, axis=0), len(means)
        return moved(placed, liked, likes, ridge.intercept)

    # --- of new ones

    def channels(self, items: Sequence[Described]) -> ChannelSet:
        """The channels, with rows for new items, by number; unchanged if not all are sums over the history."""
        before = self.base.channels
        if not self.sums or not items:
            return before
        numbers = np.array([item.number for item in items])
        at = np.searchsorted(before.itemids, numbers)  # where they are inserted
        codes = before.codes(self.known[0])

        def longer(name: str, rows: Float32) -> Float32:
            """(items + 1, d) with the new items' rows."""
            wanted = np.where((trained[codes] & (codes > 0))[:, None], rows[codes], np.nan)
            return np.insert(rows, at + 1, self.place(name, wanted, items), axis=0)

        channels = []
        for channel in self.sums:
            trained, name = channel.trained, channel.name
            columns = longer(f"{name}.items", np.column_stack([channel.items, channel.bias]))
            channels.append(
                replace(
                    channel,
                    rows=np.stack([longer(f"{name}.rows{n}", rows) for n, rows in enumerate(channel.rows)]),
                    items=np.ascontiguousarray(columns[:, :-1]),
                    bias=np.ascontiguousarray(columns[:, -1]),
                    trained=np.insert(trained, at + 1, True),
                )
            )
        return ChannelSet(np.insert(before.itemids, at, numbers), tuple(channels))

    def vectors(self, items: Sequence[Described], channels: ChannelSet) -> list[dict[str, Float32]]:
        """Vectors to index for each item, by channel. ``channels``: with rows for the items."""
        found, known = {}, self.known[0]
        sums = {channel.name: channel for channel in channels.channels} if self.sums else {}
        codes = channels.codes(np.array([item.number for item in items], np.int64))
        exact = self.base.exact
        places = Vocabulary(exact.itemids).codes(known) - 1
        for name, there in exact.vectors.items():
            channel = sums.get(name)
            if isinstance(channel, HistorySum):
                found[name] = channel.item_vectors()[codes]
            else:
                wanted = np.full((len(known), there.shape[1]), np.nan)
                wanted[places >= 0] = there[places[places >= 0]]
                found[name] = self.place(f"{name}.index", wanted, items)
        return [{name: rows[n] for name, rows in found.items()} for n in range(len(items))]

    def nearest(self, new: Sequence[IndexedItem], channels: ChannelSet) -> dict[int, int]:
        """New item -> the release's own one that is nearest by direction, in the space of the first channel."""
        name = next(iter(self.base.exact.vectors))
        numbers, known = np.array([item.itemid for item in new], np.int64), self.known[0]
        known = known[self.features.find(known)[0]]
        fitted = {channel.name: channel for channel in channels.channels}.get(name) if self.sums else None
        if isinstance(fitted, HistorySum):
            known = known[fitted.trained[channels.codes(known)]]
            there, here = fitted.items[channels.codes(known)], fitted.items[channels.codes(numbers)]
        else:
            places = Vocabulary(self.base.exact.itemids).codes(known) - 1
            known, places = known[places >= 0], places[places >= 0]
            there = np.nan_to_num(self.base.exact.vectors[name][places])
            here = np.array([item.vectors.get(name, there[:1].sum(axis=0)) for item in new]).reshape(len(new), -1)
        if not len(known):
            return {}
        lengths = np.maximum(np.linalg.norm(there, axis=1), 1e-12)
        best = (here @ (there / lengths[:, None]).T).argmax(axis=1)
        return dict(zip(numbers.tolist(), known[best].tolist(), strict=True))

    def rows(self, items: Sequence[Described], nearest: Mapping[int, int]) -> Encoded:
        """Ranker features of changed items, and of new ones, which take those of their nearest known item.

        Attributes are the item's own. The other features are counts, or learned for the item's id.
        """
        features = self.spec.of("item")
        known, before = self.features.find(np.array([nearest.get(item.number, item.number) for item in items]))
        values = np.tile(Encoded.none(features, 1).values, (len(items), 1))
        values[known] = before.values
        for code, flag in enumerate(self.spec.multi_hot, 1):
            if (at := _place(features, flag.name)) is not None:
                values[:, at] = [code in item.terms for item in items]
        for number in self.dataset.numbers:
            given = np.array([number.name in item.numbers for item in items], np.bool_)
            if (at := _place(features, _column(number))) is not None and given.any():
                of_items = np.array([item.numbers.get(number.name) for item in items], np.float64)  # None is NaN
                values[given, at] = features[at].encode(number.stored(of_items[given]))
        return Encoded(features, values.astype(self.features.rows.values.dtype, copy=False))


def _column(number: ItemNumber) -> str:
    return f"item_{number.column}"  # as `offline.data.statistics` calls it


def _place(features: Sequence[Any], name: str) -> int | None:
    return next((place for place, each in enumerate(features) if each.name == name), None)


@dataclass(frozen=True, eq=False)
class Extended(Release):
    """A release with new items, with changed ones as they are now, and without removed ones.

    Attributes:
        spaces: of the release as it was read.
        version: of the records.
        added: the new items as an index would have them.
        hidden: (n,) numbers of the release's own items that are removed, ascending.
    """

    spaces: Spaces
    version: int
    added: tuple[IndexedItem, ...]
    hidden: NDArray[np.int32]

    @cached_property
    def alone(self) -> ExactItems:
        """The exact search among the new items."""
        return ExactItems.of(self.added, self.manifest.vector_dims)


def base_of(opened: Release) -> Release:
    """A release as it was read."""
    return opened.spaces.base if isinstance(opened, Extended) else opened


def extended(
    spaces: Spaces,
    items: Sequence[Described],
    hidden: Sequence[int],
    version: int,
    ttl_s: float,
    background: Executor,
) -> Extended:
    """Extend a release by new and changed items, without the hidden ones.

    Args:
        items: new ones, and the release's own that were changed.
        hidden: numbers of the release's own.
        ttl_s, background: as of `ItemCache`.
    """
    base = spaces.base
    items = sorted(items, key=lambda item: item.number)
    new = [item for item in items if item.number not in base.catalogue]
    channels = spaces.channels(new)
    vectors = spaces.vectors(new, channels) if new else ()
    added = [IndexedItem(item.number, item.terms, of) for item, of in zip(new, vectors, strict=True)]
    changed = []  # the release's own, with the terms that they have now
    for item in items:
        if len(at := np.flatnonzero(base.exact.itemids == item.number)):
            of_item = {name: vectors[at[0]] for name, vectors in base.exact.vectors.items()}
            known = {name: vector for name, vector in of_item.items() if not np.isnan(vector).any()}
            changed.append(IndexedItem(item.number, item.terms, known))
    shown = {number: item for number, item in base.catalogue.items() if number not in set(hidden)}
    listed = ~np.isin(base.popular.ids, hidden)
    rows = spaces.rows(items, spaces.nearest(added, channels) if added else {})
    numbers = np.array([item.number for item in items], np.int32)
    fields = {name: getattr(base, name) for name in Release.__dataclass_fields__}
    fields |= {
        "channels": channels,
        "catalogue": shown | {item.number: item.shown for item in items},
        "popular": Hits(base.popular.ids[listed], base.popular.scores[listed]),
        "items": ItemCache(lambda: _joined(base.items.current(), numbers, rows), ttl_s, background),
        "exact": _exact(base.exact, [*hidden, *(each.itemid for each in changed)], [*changed, *added]),
    }
    return Extended(
        **fields, spaces=spaces, version=version, added=tuple(added), hidden=np.array(sorted(hidden), np.int32)
    )


def _joined(before: EncodedItems, numbers: NDArray[np.int32], rows: Encoded) -> EncodedItems:
    """Features with those of new and changed items."""
    kept = ~np.isin(before.itemids, numbers)
    itemids = np.concatenate([before.itemids[kept], numbers])
    order = np.argsort(itemids, kind="stable")
    return EncodedItems(itemids[order], Encoded.joined([before.rows[kept], rows])[order])


def _exact(before: ExactItems, gone: Sequence[int], added: Sequence[IndexedItem]) -> ExactItems:
    """The exact search without the ``gone`` items, and with the ``added`` ones."""
    more = ExactItems.of(added, {name: vectors.shape[1] for name, vectors in before.vectors.items()})
    kept = ~np.isin(before.itemids, gone)
    itemids = np.concatenate([before.itemids[kept], more.itemids])
    order = np.argsort(itemids, kind="stable")
    itemids, terms, nowhere = itemids[order], {}, np.empty(0, np.intp)
    for code in {*before.terms, *more.terms}:
        there = before.terms.get(code, nowhere)
        with_it = np.union1d(before.itemids[there[kept[there]]], more.itemids[more.terms.get(code, nowhere)])
        terms[code] = np.searchsorted(itemids, with_it)
    vectors = {name: np.concatenate([rows[kept], more.vectors[name]])[order] for name, rows in before.vectors.items()}
    return ExactItems(itemids, vectors, terms)
