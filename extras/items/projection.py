"""Place new items in a release's vector spaces: ridge regression from attributes to each channel's vectors.

It is fitted on the release's own items, in milliseconds, when the first new item arrives. An attribute that is unknown
counts as the mean of those items, and no prediction leaves their range. With its likes an item moves toward what those
users had liked before. `extended` adds the new items to a release: to the catalogue, the exact search, the channels,
which read events with them, and the ranker, which sees a new item as the known one nearest to it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.channels import ChannelSet, HistorySum
from data_exchange_center.dataset import OwnId
from data_exchange_center.exact import ExactItems
from data_exchange_center.features import Encoded, Float32
from data_exchange_center.fusion import Hits, Vocabulary
from online.clients.elastic import CatalogueItem
from online.clients.feast import EncodedItems
from online.recommend.item_cache import ItemCache
from online.recommend.loaded_release import Release

# Chosen on MovieLens-100K, among others, by a study whose code is in commit 08f372e
RIDGE: Final = 0.3
WEIGHT: Final = 0.75  # power of the share of users who like an item: at 1, each like counts once in the regression
BEFORE: Final = 10  # newest items that a user had liked before, of each like
K, SPREAD = 3.0, 1.5  # by n likes an item moves n / (n + K) of the way
REACH: Final = 0.95  # share of what is liked whose range bounds the predictions: beyond it, they only extrapolate
# known items most like a new one, which is to be no more popular than they are
NEIGHBOURS: Final = 10
_FITTED: Final = 20_000  # items at most, the popular ones
_LITTLE: Final = 1e-9  # weight of an item without popularity
# items that are placed together: each is compared with all known ones
AT_ONCE: Final = 256

Float64 = NDArray[np.float64]
Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Described:
    """An item by its attributes.

    Attributes:
        shown: its terms are what it is placed by.
        numbers: name of a numeric attribute -> value, None where it is unknown; of a changed item it may lack some.
        likes: for each kept like, numbers of the items that its user had liked before.
    """

    number: int
    shown: CatalogueItem
    numbers: Mapping[str, float | None]
    likes: tuple[tuple[int, ...], ...] = ()


class Placed(NamedTuple):
    """New and changed items, m, by number in ascending order, with what was computed of them.

    Attributes:
        features: (m, features) of the ranker.
        rows: table -> (m, d), as of `Spaces.tables`; those of a channel's name are searched by.
    """

    numbers: Numbers
    shown: Mapping[int, CatalogueItem]
    features: NDArray[np.floating]
    rows: Mapping[str, Float32]

    def updated(self, after: Placed, left: Collection[int]) -> Placed:
        """With the items ``after``; of these only those whose numbers are ``left``."""
        kept = np.isin(self.numbers, list(left))
        kept &= ~np.isin(self.numbers, after.numbers)
        numbers = np.concatenate([self.numbers[kept], after.numbers])
        order = np.argsort(numbers)
        shown = {**self.shown, **after.shown}
        rows = {}
        for name, table in self.rows.items():
            rows[name] = np.concatenate([table[kept], after.rows[name]])[order]
        return Placed(
            numbers[order],
            {number: shown[number] for number in numbers[order].tolist()},
            np.concatenate([self.features[kept], after.features])[order],
            rows,
        )


@dataclass(frozen=True, eq=False)
class Ridge:
    """Weighted linear regression, with a penalty on all weights but the intercept: (n, columns) -> (n, d).

    A column that is NaN is unknown and counts as its mean. A prediction is no farther from the intercept than those of
    the fitted rows are (of `REACH` of their weight), and in no dimension beyond the rows themselves.
    """

    means: Float64  # (columns,)
    intercept: Float64  # (d,)
    weights: Float64  # (columns, d)
    reach: float  # the largest distance of a prediction from the intercept
    low: Float64  # (d,) of the fitted rows
    high: Float64  # (d,)

    @classmethod
    def fit(
        cls, given: Float64, wanted: NDArray[np.floating], weights: Float64
    ) -> Self:
        """Fit on n items. ``weights``: (n,), above zero."""
        known = ~np.isnan(given)
        of_column = weights @ known
        means = (
            weights @ np.where(known, given, 0) / np.where(of_column > 0, of_column, 1)
        )
        share = weights / weights.sum()
        intercept = share @ wanted
        centred = np.where(known, given - means, 0)
        weighted = centred.T * (share * len(share))
        penalty = RIDGE * np.eye(centred.shape[1])
        slopes = np.linalg.solve(
            weighted @ centred + penalty, weighted @ (wanted - intercept)
        )

        distances = np.linalg.norm(centred @ slopes, axis=1)
        order = np.argsort(distances)
        reach = distances[order][np.searchsorted(np.cumsum(share[order]), REACH)]
        counted = weights > _LITTLE
        rows = wanted[counted if counted.any() else ~counted].astype(np.float64)
        return cls(
            means, intercept, slopes, float(reach), rows.min(axis=0), rows.max(axis=0)
        )

    def __call__(self, given: Float64) -> Float32:
        away = np.nan_to_num(given - self.means) @ self.weights  # (n, d)
        lengths = np.linalg.norm(away, axis=1, keepdims=True)
        away *= np.minimum(1, self.reach / np.maximum(lengths, 1e-12))
        return self.bounded(self.intercept + away)

    def bounded(self, rows: NDArray[np.floating]) -> Float32:
        """Keep rows, (n, d), within the range of the fitted ones."""
        kept: Float32 = np.clip(rows, self.low, self.high).astype(np.float32)
        return kept


class Known(NamedTuple):
    """The items that regressions are fitted on."""

    numbers: Numbers  # (n,) ascending
    given: Float64  # (n, columns) attributes
    weights: Float64  # (n,)


@dataclass(frozen=True, eq=False)
class Table:
    """Vectors of the known items, and the regression that predicts those of new ones.

    Attributes:
        searched: whether they are item vectors; else what a history is summed of.
        filled: whether the last column is an item's bias, behind which `place` puts a filler, see `index_vectors`.
    """

    rows: NDArray[np.floating]  # (n, d) NaN for an item without one
    there: NDArray[np.bool_]  # (n,)
    ridge: Ridge
    searched: bool
    filled: bool

    @classmethod
    def fit(
        cls,
        known: Known,
        rows: NDArray[np.floating],
        *,
        searched: bool = True,
        filled: bool = False,
    ) -> Self:
        there = ~np.isnan(rows).any(axis=1)
        ridge = Ridge.fit(known.given[there], rows[there], known.weights[there])
        return cls(rows, there, ridge, searched, filled)

    @property
    def width(self) -> int:
        """Of the vectors, without a bias."""
        return int(self.rows.shape[1]) - self.filled

    def place(
        self, given: Float64, liked_before: Sequence[Sequence[NDArray[np.integer]]]
    ) -> Float32:
        """Predict rows of m new items, (m, d), and move them toward what the users who like them had liked before.

        Args:
            given: (m, columns) attributes.
            liked_before: for each like of each item, positions of known items.
        """
        placed = self.ridge(given)
        # a mean of several vectors shrinks toward it, which `SPREAD` undoes
        centre = self.ridge.intercept
        for row, of_item in enumerate(liked_before):
            known = [at[self.there[at]] for at in of_item]
            liked = [self.rows[at].mean(axis=0) for at in known if len(at)]
            if liked:
                meant = centre + SPREAD * (np.mean(liked, axis=0) - centre)
                share = len(liked) / (len(liked) + K)
                placed[row] = self.ridge.bounded(
                    (1 - share) * placed[row] + share * meant
                )
        if self.searched:
            self._soften(placed)
        if not self.filled:
            return placed
        longest = (self.rows[self.there] ** 2).sum(axis=1).max(initial=0)
        squares = (placed**2).sum(axis=1)
        filler = np.sqrt(np.maximum(longest - squares, 0))
        return np.column_stack([placed, filler])

    def _soften(self, rows: Float32) -> None:
        """Limit the lengths of item vectors, (m, d), to the longest of their `NEIGHBOURS`; so, too, the biases.

        Neighbours are known items in nearly the same direction. A longer vector, or a larger bias, would be a better
        one for nearly all users to which user they are shown.
        """
        known = self.rows[self.there].astype(np.float32)
        if not len(known):
            return
        lengths = np.linalg.norm(known[:, : self.width], axis=1)
        units = known[:, : self.width] / np.maximum(lengths, 1e-12)[:, None]
        count = min(NEIGHBOURS, len(known))
        vectors = rows[:, : self.width]
        near = np.argpartition(-(vectors @ units.T), count - 1, axis=1)[:, :count]
        longest = lengths[near].max(axis=1) / np.maximum(
            np.linalg.norm(vectors, axis=1), 1e-12
        )
        vectors *= np.minimum(1, longest)[:, None]
        if self.filled:
            rows[:, -1] = np.minimum(rows[:, -1], known[near, -1].max(axis=1))


class Spaces:
    """One release's own items and the regressions on them, computed on first use. Shared by threads."""

    def __init__(self, base: Release) -> None:
        self.base = base
        self.dataset = base.manifest.dataset
        self.spec = base.spec
        self.features = base.items.held
        # Where every channel is a sum over the history, new items join the tables that it reads.
        sums = [
            channel
            for channel in base.channels.channels
            if isinstance(channel, HistorySum)
        ]
        self.sums = sums if len(sums) == len(base.channels.channels) else []
        self.codes = {term: code for code, term in enumerate(self.spec.genres, 1)}
        # (terms,) place of each term's attribute among `Dataset.terms`
        names = [self.dataset.attribute_and_value(term)[0] for term in self.spec.genres]
        self.attribute = np.array(
            [self.dataset.terms.index(name) for name in names], np.intp
        )

    def term_codes(self, attributes: Mapping[str, Any]) -> tuple[int, ...]:
        """Codes of the terms of an item's attributes, ascending; unknown values are left out."""
        names = (
            self.dataset.term(name, value)
            for name in self.dataset.terms
            for value in attributes.get(name) or ()
        )
        return tuple(sorted(self.codes[name] for name in names if name in self.codes))

    @cached_property
    def known(self) -> Known:
        popular = self.base.popular.ids[:_FITTED]
        numbers = np.union1d(
            popular, self.base.exact.item_numbers[: _FITTED - len(popular)]
        )
        shown = [self.base.catalogue[each] for each in numbers.tolist()]
        values = self._numbers([item.attributes for item in shown])
        given = self._inputs([item.terms for item in shown], values)
        weights = np.full(len(numbers), _LITTLE)
        scores = self.base.popular.scores[:_FITTED].astype(np.float64)
        weights[np.searchsorted(numbers, popular)] = np.maximum(scores**WEIGHT, _LITTLE)
        return Known(numbers, given, weights)

    @cached_property
    def tables(self) -> dict[str, Table]:
        """By name: those that are searched, ``<channel>``; and those that sums of histories read, ``<channel>.<n>``."""
        known, exact = self.known, self.base.exact
        found = Vocabulary(exact.item_numbers).codes(known.numbers)
        codes = self.base.channels.codes(known.numbers)
        summed = {channel.name: channel for channel in self.sums}
        tables = {}
        for name, vectors in exact.vectors.items():
            rows = np.where((found > 0)[:, None], vectors[found - 1], np.nan)
            if name not in summed:
                tables[name] = Table.fit(known, rows)
                continue
            tables[name] = Table.fit(known, rows[:, :-1], filled=True)
            there = (summed[name].trained[codes] & (codes > 0))[:, None]
            for n, of_field in enumerate(summed[name].rows):
                rows = np.where(there, of_field[codes], np.nan)
                tables[f"{name}.{n}"] = Table.fit(known, rows, searched=False)
        return tables

    def _inputs(self, terms: Sequence[Sequence[int]], numbers: Float64) -> Float64:
        """(n, columns): a column a term; of each number its nearness to the declared centres. NaN where unknown.

        An attribute of which an item has no term is unknown.

        Args:
            terms: n lists of codes.
            numbers: (n, declared) values, NaN where unknown.
        """
        columns = [self._flags(terms)]
        for number, values in zip(self.dataset.numbers, numbers.T, strict=True):
            centres = np.array(number.centres or (0.0,))
            columns.append(
                np.exp(-0.5 * ((values[:, None] - centres) / number.width) ** 2)
            )
        return np.hstack(columns)

    def _flags(self, terms: Sequence[Sequence[int]]) -> Float64:
        """(n, terms) 1 for each term of an item; NaN for those of an attribute of which it has none: it is unknown."""
        flags = np.zeros((len(terms), len(self.attribute)))
        for row, codes in enumerate(terms):
            flags[row, np.array(codes, np.intp) - 1] = 1
        for n in range(len(self.dataset.terms)):
            of_attribute = self.attribute == n
            unknown = ~flags[:, of_attribute].any(axis=1)
            flags[np.ix_(unknown, of_attribute)] = np.nan
        return flags

    def _numbers(self, items: Sequence[Mapping[str, Any]]) -> Float64:
        """(n, `Dataset.numbers`) values of n items' attributes, NaN where unknown; the data's range bounds them."""
        numbers = self.dataset.numbers
        given = [[each.get(number.name) for number in numbers] for each in items]
        values = np.array(given, np.float64)  # None is NaN
        low = [min(number.centres, default=-np.inf) for number in numbers]
        high = [max(number.centres, default=np.inf) for number in numbers]
        return np.clip(values.reshape(len(items), len(numbers)), low, high)

    # --- new items

    def place(self, items: Sequence[Described]) -> Placed:
        """Compute the rows and features of new and changed items."""
        items = sorted(items, key=lambda item: item.number)
        numbers = np.array([item.number for item in items], np.int64)
        known = Vocabulary(self.known.numbers)
        liked_before = []
        for item in items:
            places = [
                known.codes(np.array(of_like, np.int64)) - 1 for of_like in item.likes
            ]
            liked_before.append([at[at >= 0] for at in places])
        terms = [item.shown.terms for item in items]
        given = self._inputs(terms, self._numbers([item.numbers for item in items]))
        rows = {
            name: table.place(given, liked_before)
            for name, table in self.tables.items()
        }
        is_new = [item.number not in self.base.catalogue for item in items]
        like = np.where(is_new, self._nearest(rows), numbers)
        shown = {item.number: item.shown for item in items}
        return Placed(numbers, shown, self.rows(items, like), rows)

    @cached_property
    def _first(self) -> str:
        """The first channel that is searched."""
        return next(iter(self.base.exact.vectors))

    @cached_property
    def _directions(self) -> tuple[Numbers, Float32]:
        """Known items that the ranker has features of: numbers (n,), unit vectors (n, d) of the first channel."""
        numbers = self.known.numbers
        table = self.tables[self._first]
        there = table.there & self.features.find(numbers)[0]
        rows = table.rows[there, : table.width]
        units = rows / np.maximum(np.linalg.norm(rows, axis=1), 1e-12)[:, None]
        return numbers[there], units.astype(np.float32)

    def _nearest(self, rows: Mapping[str, Float32]) -> Numbers:
        """(m,) the known item nearest to each new one by direction, in the space of the first channel; 0: none is."""
        numbers, units = self._directions
        vectors = rows[self._first][:, : self.tables[self._first].width]
        if not len(numbers):
            return np.zeros(len(vectors), np.int64)
        nearest: Numbers = numbers[(vectors @ units.T).argmax(axis=1)]
        return nearest

    def rows(self, items: Sequence[Described], like: Numbers) -> NDArray[np.floating]:
        """(m, features) ranker features of items. ``like``: (m,) the known item that each takes them from.

        Known attributes are the item's own. All other features are counts, or learned for the item's id.
        """
        features = self.spec.of("item")
        known, before = self.features.find(like)
        values = np.tile(Encoded.none(features, 1).values, (len(items), 1))
        values[known] = before.values
        flags = self._flags([item.shown.terms for item in items])
        places = {feature.name: place for place, feature in enumerate(features)}
        for code, flag in enumerate(self.spec.multi_hot):
            at = places.get(flag.name)
            if at is not None:
                given = ~np.isnan(flags[:, code])
                values[given, at] = flags[given, code]
        numbers = self._numbers([item.numbers for item in items])
        for number, given in zip(self.dataset.numbers, numbers.T, strict=True):
            there = ~np.isnan(given)
            at = places.get(f"item_{number.column}")  # as in `data.statistics`
            if at is not None and there.any():
                stored = number.stored(given[there])
                values[there, at] = features[at].encode(stored)
        return values.astype(self.features.rows.values.dtype, copy=False)


# --- a release with them


@dataclass(frozen=True, eq=False)
class Extended(Release):
    """A release with new items, with changed ones as they are now, and without removed ones.

    Attributes:
        records: what was read of Redis, by own id.
        hidden: (n,) numbers of the release's own items that are removed, ascending.
        alone: the exact search among the new items.
    """

    spaces: Spaces
    placed: Placed
    records: Mapping[OwnId, object]
    hidden: NDArray[np.int32]
    alone: ExactItems


def base_of(opened: Release) -> Release:
    """A release as it was read."""
    return opened.spaces.base if isinstance(opened, Extended) else opened


def extended(
    spaces: Spaces,
    placed: Placed,
    hidden: Collection[int],
    records: Mapping[OwnId, object],
    ttl_s: float,
) -> Extended:
    """Extend a release by new and changed items, without the hidden ones.

    Args:
        hidden: numbers of removed items.
        records: what the items were made of.
        ttl_s: as of `ItemCache`.
    """
    base = spaces.base
    gone = np.array(sorted(hidden), np.int32)
    catalogue = {**base.catalogue, **placed.shown}
    for number in hidden:
        catalogue.pop(number, None)
    listed = ~np.isin(base.popular.ids, gone)
    new = np.array([n not in base.catalogue for n in placed.shown], np.bool_)
    rows = {name: table[new] for name, table in placed.rows.items()}
    numbers = placed.numbers[new]
    vectors = {name: rows[name] for name in base.exact.vectors}
    of_new = _terms(numbers, placed, ExactItems.of((), {}))
    alone = ExactItems(numbers, vectors, of_new)
    made = Extended(
        manifest=base.manifest,
        channels=_channels(spaces, numbers, rows),
        model=base.model,
        model_version=base.model_version,
        catalogue=catalogue,
        popular=Hits(base.popular.ids[listed], base.popular.scores[listed]),
        items=ItemCache(lambda: _features(base, placed), ttl_s),
        exact=_exact(base.exact, placed, alone, gone),
        spaces=spaces,
        placed=placed,
        records=records,
        hidden=gone,
        alone=alone,
    )
    _ = made.numbers, made.by_popularity  # computed here: requests do not wait for them
    return made


def _channels(
    spaces: Spaces, numbers: Numbers, rows: Mapping[str, Float32]
) -> ChannelSet:
    """The channels, with rows for new items, by number; unchanged if not all are sums over the history."""
    before = spaces.base.channels
    if not spaces.sums or not len(numbers):
        return before
    at = np.searchsorted(before.item_numbers, numbers)  # where they are inserted
    channels = []
    for channel in spaces.sums:
        vectors = rows[channel.name]  # with bias and filler
        of_fields = [rows[f"{channel.name}.{n}"] for n in range(len(channel.rows))]
        longer = replace(
            channel,
            rows=np.insert(channel.rows, at + 1, np.stack(of_fields), axis=1),
            items=np.insert(channel.items, at + 1, vectors[:, :-2], axis=0),
            bias=np.insert(channel.bias, at + 1, vectors[:, -2]),
            trained=np.insert(channel.trained, at + 1, True),
        )
        channels.append(longer)
    return ChannelSet(np.insert(before.item_numbers, at, numbers), tuple(channels))


def _exact(
    before: ExactItems, placed: Placed, alone: ExactItems, hidden: NDArray[np.int32]
) -> ExactItems:
    """The exact search without hidden items and with new ones, by the terms that items have now."""
    kept = ~np.isin(before.item_numbers, hidden)
    left = before.item_numbers[kept]
    at = np.searchsorted(left, alone.item_numbers)
    numbers = np.insert(left, at, alone.item_numbers)
    vectors = {}
    for name, rows in before.vectors.items():
        vectors[name] = np.insert(rows[kept], at, alone.vectors[name], axis=0)
    return ExactItems(numbers, vectors, _terms(numbers, placed, before))


def _terms(
    numbers: Numbers, placed: Placed, before: ExactItems
) -> dict[int, NDArray[np.intp]]:
    """Code of a term -> places among ``numbers`` of the items that have it now."""
    items = Vocabulary(numbers)
    stays = items.codes(before.item_numbers) - 1  # where an item is now; -1: nowhere
    stays[np.isin(before.item_numbers, placed.numbers)] = -1
    now: dict[int, list[int]] = {code: [] for code in before.terms}
    places = items.codes(placed.numbers) - 1
    for place, item in zip(places.tolist(), placed.shown.values(), strict=True):
        for code in item.terms:
            now.setdefault(code, []).append(place)
    terms = {}
    for code, of_placed in now.items():
        every = np.append(stays[before.terms.get(code, [])], of_placed)
        terms[code] = np.sort(every[every >= 0]).astype(np.intp)
    return terms


def _features(base: Release, placed: Placed) -> EncodedItems:
    """The ranker's features of all items, as they are now."""
    base.items.refresh()
    before = base.items.held
    kept = ~np.isin(before.item_numbers, placed.numbers)
    numbers = before.item_numbers[kept]
    at = np.searchsorted(numbers, placed.numbers)
    return EncodedItems(
        np.insert(numbers, at, placed.numbers),
        Encoded(
            before.rows.features,
            np.insert(before.rows.values[kept], at, placed.features, axis=0),
        ),
    )
