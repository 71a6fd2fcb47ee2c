"""Place new items in a release's vector spaces: ridge regression from attributes to each channel's vectors.

It is fitted on the release's own items, in milliseconds, when the first new item arrives. An attribute that is unknown
counts as the mean of those items, and no prediction leaves their range. With its likes an item moves toward what those
users had liked before. `extended` adds the new items to a release: to the catalogue, the exact search, the channels,
which read events with them, and the ranker, which sees a new item as the known one nearest to it. Of many new items,
only those that have changed are placed again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.channels import ChannelSet, HistorySum, index_vectors
from data_exchange_center.dataset import Dataset, ItemNumber, OwnId
from data_exchange_center.exact import ExactItems
from data_exchange_center.features import Encoded, Float32
from data_exchange_center.fusion import Hits, Vocabulary
from online.clients.elastic import CatalogueItem
from online.recommend.item_cache import EncodedItems, ItemCache
from online.recommend.loaded_release import Release

# Chosen on MovieLens-100K, among others, by a study whose code is in commit 08f372e
RIDGE: Final = 0.3
WEIGHT: Final = 0.75  # power of the share of users who like an item: at 1, each like counts once in the regression
BEFORE: Final = 10  # newest items that a user had liked before, of each like
K, SPREAD = 3.0, 1.5  # by n likes an item moves n / (n + K) of the way
REACH: Final = 0.95  # share of what is liked whose range bounds the predictions: beyond it, they only extrapolate
NEIGHBOURS: Final = (
    10  # known items most like a new one, which is to be no more popular than they are
)
_FITTED: Final = 20_000  # items at most, the popular ones
_LITTLE: Final = 1e-9  # weight of an item without popularity
_ITEMS, _SEARCHED = (
    ".items",
    ".index",
)  # ends of names of tables: item vectors with a bias, and without
_INDEX, _FEATURES = "index of ", "features"  # names of `Rows.arrays`
_AT_ONCE: Final = (
    256  # new items whose nearest known ones are looked for in one multiplication
)

Float64 = NDArray[np.float64]
Numbers = NDArray[np.int64]


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


def term_codes(
    dataset: Dataset, codes: Mapping[str, int], attributes: Mapping[str, Any]
) -> tuple[int, ...]:
    """Codes of the terms of an item's attributes; values that the release does not know are left out.

    ``codes``: as of `Spaces.codes`.
    """
    names = (
        dataset.term(name, value)
        for name in dataset.terms
        for value in attributes.get(name) or ()
    )
    return tuple(sorted(codes[name] for name in names if name in codes))


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
        cls,
        given: Float64,
        wanted: NDArray[np.floating],
        weights: Float64,
        strength: float = RIDGE,
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
        gram = weighted @ centred + strength * np.eye(centred.shape[1])
        slopes = np.linalg.solve(gram, weighted @ (wanted - intercept))
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


def moved(
    placed: Float32,
    liked: Float64,
    likes: NDArray[np.integer],
    centre: Float64,
    k: float = K,
) -> Float32:
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


@dataclass(frozen=True, eq=False)
class Table:
    """Vectors of the known items, and the regression that predicts those of new ones."""

    rows: NDArray[np.floating]  # (n, d) NaN for an item without one
    there: NDArray[np.bool_]  # (n,)
    ridge: Ridge

    @classmethod
    def fit(cls, given: Float64, rows: NDArray[np.floating], weights: Float64) -> Self:
        there = ~np.isnan(rows).any(axis=1)
        return cls(rows, there, Ridge.fit(given[there], rows[there], weights[there]))

    def place(
        self, given: Float64, liked_before: Sequence[Sequence[NDArray[np.integer]]]
    ) -> Float32:
        """Predict rows of m new items, (m, d).

        ``liked_before``: for each like of each item, positions of known items.
        """
        placed = self.ridge(given)
        liked, likes = np.zeros(placed.shape), np.zeros(len(placed), np.int64)
        for row, of_item in enumerate(liked_before):
            found = [
                self.rows[at].mean(axis=0)
                for each in of_item
                if len(at := each[self.there[each]])
            ]
            if found:
                liked[row], likes[row] = np.mean(found, axis=0), len(found)
        if not likes.any():
            return placed
        return self.ridge.bounded(moved(placed, liked, likes, self.ridge.intercept))

    def no_louder(self, rows: Float32, *, with_bias: bool) -> Float32:
        """Limit the lengths of item vectors, (m, d), to the longest of their `NEIGHBOURS`; so, too, the biases.

        Neighbours are known items in nearly the same direction. A longer vector, or a larger bias, would be a better
        one for nearly all users to which user they are shown.

        Args:
            with_bias: the last column is the bias.
        """
        known = self.rows[self.there].astype(np.float32)
        if not len(known):
            return rows
        width = known.shape[1] - with_bias
        lengths = np.linalg.norm(known[:, :width], axis=1)
        units, limited = (
            known[:, :width] / np.maximum(lengths, 1e-12)[:, None],
            rows.copy(),
        )
        count = min(NEIGHBOURS, len(known))
        for at in range(0, len(rows), _AT_ONCE):
            part = limited[at : at + _AT_ONCE]
            near = np.argpartition(-(part[:, :width] @ units.T), count - 1, axis=1)[
                :, :count
            ]
            longest = lengths[near].max(axis=1) / np.maximum(
                np.linalg.norm(part[:, :width], axis=1), 1e-12
            )
            part[:, :width] *= np.minimum(1, longest)[:, None]
            if with_bias:
                part[:, -1] = np.minimum(part[:, -1], known[near, -1].max(axis=1))
        return limited


class Spaces:
    """One release's own items and the regressions on them, computed on first use. Shared by threads."""

    def __init__(self, base: Release) -> None:
        self.base = base
        self.dataset, self.spec = base.manifest.dataset, base.spec
        self.features = base.items.current()
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

    @cached_property
    def known(self) -> tuple[Numbers, Float64, Float64]:
        """The items that regressions are fitted on: numbers (n,), ascending, inputs (n, columns), weights (n,)."""
        popular, scores = (
            self.base.popular.ids[:_FITTED],
            self.base.popular.scores[:_FITTED],
        )
        numbers = np.union1d(
            popular, self.base.exact.item_numbers[: _FITTED - len(popular)]
        )
        catalogue = self.base.catalogue
        terms = [
            term_codes(self.dataset, self.codes, catalogue[each].attributes)
            for each in numbers.tolist()
        ]
        weights = np.full(len(numbers), _LITTLE)
        weights[np.searchsorted(numbers, popular)] = np.maximum(
            scores.astype(np.float64) ** WEIGHT, _LITTLE
        )
        return numbers, self._inputs(terms, self._own_numbers(numbers)), weights

    @cached_property
    def tables(self) -> dict[str, Table]:
        """By name: those that the channels read, ``<channel>.items`` (with the bias) and ``<channel>.rows<n>``; of a
        channel that only searches, ``<channel>.index``.
        """
        numbers, given, weights = self.known
        found: dict[str, NDArray[np.floating]] = {}
        codes = self.base.channels.codes(numbers)
        for channel in self.sums:
            known = (channel.trained[codes] & (codes > 0))[:, None]
            rows = {
                f"{channel.name}.rows{n}": of_field
                for n, of_field in enumerate(channel.rows)
            }
            rows[f"{channel.name}.items"] = np.column_stack(
                [channel.items, channel.bias]
            )
            found |= {
                name: np.where(known, of_all[codes], np.nan)
                for name, of_all in rows.items()
            }
        places = Vocabulary(self.base.exact.item_numbers).codes(numbers) - 1
        for name in self.base.exact.vectors.keys() - {
            channel.name for channel in self.sums
        }:
            vectors = self.base.exact.vectors[name]
            found[f"{name}.index"] = np.where(
                (places >= 0)[:, None], vectors[places], np.nan
            )
        return {name: Table.fit(given, rows, weights) for name, rows in found.items()}

    def _inputs(self, terms: Sequence[Sequence[int]], numbers: Float64) -> Float64:
        """(n, columns): a column a term; of each number its nearness to the declared centres. NaN where unknown.

        An attribute of which an item has no term is unknown.

        Args:
            terms: n lists of codes.
            numbers: (n, declared) values, NaN where unknown.
        """
        flags = self.flags(terms).astype(np.float64)
        flags[~self.has_attribute(flags)[:, self.attribute]] = np.nan
        near = []
        for number, values in zip(self.dataset.numbers, numbers.T, strict=True):
            centres = np.array(number.centres or (0.0,))
            within = np.clip(
                values, centres.min(), centres.max()
            )  # values beyond the data's range count as its ends
            near.append(
                np.exp(-0.5 * ((within[:, None] - centres) / number.width) ** 2)
            )
        return np.hstack([flags, *near])

    def flags(self, terms: Sequence[Sequence[int]]) -> NDArray[np.bool_]:
        """(n, terms) which terms each item has."""
        flags = np.zeros((len(terms), len(self.attribute) + 1), np.bool_)
        for row, codes in enumerate(terms):
            flags[row, list(codes)] = True
        return flags[:, 1:]

    def has_attribute(self, flags: NDArray[Any]) -> NDArray[np.bool_]:
        """(n, terms) -> (n, `Dataset.terms`) whether an item has any term of an attribute."""
        having = [
            flags[:, self.attribute == n].any(axis=1)
            for n in range(len(self.dataset.terms))
        ]
        return np.array(having, np.bool_).reshape(len(having), len(flags)).T

    def _own_numbers(self, itemids: Numbers) -> Float64:
        """(n, `Dataset.numbers`) values of the release's items, from the ranker's features; NaN where unknown."""
        found, rows = self.features.find(itemids)
        values = np.full((len(itemids), len(self.dataset.numbers)), np.nan)
        for place, number in enumerate(self.dataset.numbers):
            at = _place(rows.features, _column(number))
            if at is not None:
                stored = np.rint(
                    rows.values[:, at].astype(np.float64) * rows.features[at].scale  # type: ignore[union-attr]
                )
                values[found, place] = np.where(
                    stored != 0, stored * number.unit, np.nan
                )
            else:
                shown = [
                    self.base.catalogue[each].attributes.get(number.name)
                    for each in itemids.tolist()
                ]
                values[:, place] = [np.nan if each is None else each for each in shown]
        return values

    # --- new items

    def place(self, items: Sequence[Described]) -> dict[str, Float32]:
        """Predict m new items' rows of every table, (m, d), from their attributes and likes."""
        given = self._inputs([item.terms for item in items], self._numbers(items))
        codes = Vocabulary(self.known[0])
        liked_before = [
            [
                at[at >= 0]
                for each in item.likes
                if len(at := codes.codes(np.array(each, np.int64)) - 1)
            ]
            for item in items
        ]
        placed = {
            name: table.place(given, liked_before)
            for name, table in self.tables.items()
        }
        for name in placed:
            if name.endswith((_ITEMS, _SEARCHED)):
                placed[name] = self.tables[name].no_louder(
                    placed[name], with_bias=name.endswith(_ITEMS)
                )
        return placed

    def index(self, placed: Mapping[str, Float32]) -> dict[str, Float32]:
        """Channel -> (m, dim) vectors to search by. ``placed``: as `place` has them."""
        found = {
            name.removesuffix(".index"): rows
            for name, rows in placed.items()
            if name.endswith(".index")
        }
        for channel in self.sums:
            # behind the longest known vector, as all are filled up to its length
            lengths = np.where(
                channel.trained, (channel.items**2).sum(axis=1) + channel.bias**2, -1
            )
            longest = int(lengths.argmax())
            rows = placed[f"{channel.name}.items"]
            vectors = np.vstack([channel.items[longest], rows[:, :-1]])
            found[channel.name] = index_vectors(
                vectors, np.append(channel.bias[longest], rows[:, -1])
            )[1:]
        return {name: found[name] for name in self.base.exact.vectors if name in found}

    @cached_property
    def directions(self) -> tuple[Numbers, Float32]:
        """Known items that the ranker has features of: numbers (n,), unit vectors (n, d) of the first channel."""
        name = next(iter(self.base.exact.vectors))
        table = self.tables.get(f"{name}.items") or self.tables[f"{name}.index"]
        there = table.there & self.features.find(self.known[0])[0]
        rows = table.rows[there][:, : -1 if f"{name}.items" in self.tables else None]
        return self.known[0][there], (
            rows / np.maximum(np.linalg.norm(rows, axis=1), 1e-12)[:, None]
        ).astype(np.float32)

    def nearest(self, placed: Mapping[str, Float32]) -> Numbers:
        """(m,) the known item nearest to each new one by direction, in the space of the first channel; 0: none is."""
        numbers, units = self.directions
        name = next(iter(self.base.exact.vectors))
        rows = (
            placed[f"{name}.items"][:, :-1]
            if f"{name}.items" in placed
            else placed[f"{name}.index"]
        )
        if not len(numbers) or not len(rows):
            return np.zeros(len(rows), np.int64)
        parts = [rows[at : at + _AT_ONCE] for at in range(0, len(rows), _AT_ONCE)]
        return np.concatenate(
            [numbers[(part @ units.T).argmax(axis=1)] for part in parts]
        )

    def rows(self, items: Sequence[Described], like: Numbers) -> NDArray[np.floating]:
        """(m, features) ranker features of items. ``like``: (m,) the known item that each takes them from.

        Known attributes are the item's own. All other features are counts, or learned for the item's id.
        """
        features = self.spec.of("item")
        known, before = self.features.find(like)
        values = np.tile(Encoded.none(features, 1).values, (len(items), 1))
        values[known] = before.values
        flags = self.flags([item.terms for item in items])
        given = self.has_attribute(flags)
        for code, flag in enumerate(self.spec.multi_hot):
            if (at := _place(features, flag.name)) is not None:
                mine = given[:, self.attribute[code]]
                values[mine, at] = flags[mine, code]
        low, high = self._range
        for place, (number, of_items) in enumerate(
            zip(self.dataset.numbers, self._numbers(items).T, strict=True)
        ):
            there = ~np.isnan(of_items)
            if (at := _place(features, _column(number))) is not None and there.any():
                within = np.clip(of_items[there], low[place], high[place])
                values[there, at] = features[at].encode(number.stored(within))
        return values.astype(self.features.rows.values.dtype, copy=False)

    @cached_property
    def _range(self) -> tuple[Float64, Float64]:
        """(`Dataset.numbers`,) lowest and highest values of known items; without any, no limit."""
        values = self._own_numbers(self.known[0])
        low, high = (
            np.where(np.isnan(values), np.inf, values),
            np.where(np.isnan(values), -np.inf, values),
        )
        lowest, highest = (
            low.min(axis=0, initial=np.inf),
            high.max(axis=0, initial=-np.inf),
        )
        nothing = lowest > highest
        return np.where(nothing, -np.inf, lowest), np.where(nothing, np.inf, highest)

    def _numbers(self, items: Sequence[Described]) -> Float64:
        """(m, `Dataset.numbers`) values of items, NaN where unknown."""
        values = [
            [item.numbers.get(each.name) for each in self.dataset.numbers]
            for item in items
        ]
        return np.array(values, np.float64).reshape(
            len(items), len(self.dataset.numbers)
        )  # None is NaN


def _column(number: ItemNumber) -> str:
    return f"item_{number.column}"  # as `offline.data.statistics` calls it


def _place(features: Sequence[Any], name: str) -> int | None:
    return next(
        (place for place, each in enumerate(features) if each.name == name), None
    )


# --- a release with them


def by_code(
    terms: Sequence[Sequence[int]], ids: NDArray[np.integer]
) -> dict[int, NDArray[np.intp]]:
    """Term code -> the ids of the items that have it. ``terms``: codes of each item; ``ids``: (n,)."""
    counts = [len(each) for each in terms]
    codes = np.fromiter(chain.from_iterable(terms), np.int64, sum(counts))
    order = np.argsort(codes, kind="stable")
    found, begins = np.unique(codes[order], return_index=True)
    having = np.repeat(ids.astype(np.intp), counts)[order]
    return dict(
        zip(found.tolist(), np.split(having, begins[1:]), strict=False)
    )  # without any code, one empty part


@dataclass(frozen=True, eq=False)
class Rows:
    """Arrays with a row an item."""

    numbers: Numbers  # (m,) ascending
    arrays: Mapping[str, NDArray[np.floating]]  # name -> (m, ...)

    def updated(
        self,
        gone: Collection[int],
        numbers: Numbers,
        arrays: Mapping[str, NDArray[np.floating]],
    ) -> Self:
        """Replace or add the rows of ``numbers``, ascending, and leave those of ``gone`` out."""
        kept = ~np.isin(self.numbers, [*gone, *numbers.tolist()])
        left = self.numbers[kept]
        at = np.searchsorted(left, numbers)
        joined = {
            name: np.insert(self.arrays[name][kept], at, rows, axis=0)
            if name in self.arrays
            else rows
            for name, rows in arrays.items()
        }
        return type(self)(np.insert(left, at, numbers), joined)


@dataclass(frozen=True, eq=False)
class Overlay:
    """New and changed items of a release, with what was computed of each.

    Attributes:
        items: by number.
        new: of those that the release does not have, the rows of every table and the vectors to search by, in
            ``arrays`` as `Spaces.place` and, under `_INDEX`, `Spaces.index` name them.
        ranked: of all of them, the ranker's features, under `_FEATURES`.
    """

    spaces: Spaces
    items: Mapping[int, Described]
    new: Rows
    ranked: Rows

    @classmethod
    def of(cls, base: Release) -> Self:
        """Nothing is new or changed yet."""
        nothing = Rows(np.empty(0, np.int64), {})
        return cls(Spaces(base), {}, nothing, nothing)

    def updated(self, changed: Sequence[Described], gone: Collection[int]) -> Overlay:
        """Add or replace some items, and drop those whose numbers are ``gone``. The others are not computed again."""
        spaces, own = self.spaces, self.spaces.base.catalogue
        changed = sorted(changed, key=lambda item: item.number)
        new = [item for item in changed if item.number not in own]
        items = dict(self.items)
        for number in gone:
            items.pop(number, None)
        placed = spaces.place(new)
        near = dict(
            zip(
                (item.number for item in new),
                spaces.nearest(placed).tolist(),
                strict=True,
            )
        )
        indexed = {
            f"{_INDEX}{name}": rows for name, rows in spaces.index(placed).items()
        }
        numbers = np.array([item.number for item in changed], np.int64)
        features = spaces.rows(
            changed,
            np.array([near.get(each, each) for each in numbers.tolist()], np.int64),
        )
        return Overlay(
            spaces,
            items | {item.number: item for item in changed},
            self.new.updated(
                gone,
                np.array([item.number for item in new], np.int64),
                placed | indexed,
            ),
            self.ranked.updated(gone, numbers, {_FEATURES: features}),
        )

    @cached_property
    def alone(self) -> ExactItems:
        """The exact search among the new items."""
        numbers = self.new.numbers.tolist()
        terms = by_code(
            [self.items[number].terms for number in numbers], np.arange(len(numbers))
        )
        nowhere = np.full((len(self.new.numbers), 1), np.nan, np.float32)
        dims = self.spaces.base.manifest.vector_dims
        vectors = {
            name: self.new.arrays.get(
                f"{_INDEX}{name}", np.repeat(nowhere, width, axis=1)
            )
            for name, width in dims.items()
        }
        return ExactItems(self.new.numbers, vectors, terms)

    def channels(self) -> ChannelSet:
        """The channels, with rows for new items, by number; unchanged if not all are sums over the history."""
        before, numbers, sums = (
            self.spaces.base.channels,
            self.new.numbers,
            self.spaces.sums,
        )
        if not sums or not len(numbers):
            return before
        at = np.searchsorted(before.item_numbers, numbers)  # where they are inserted
        channels = []
        for channel in sums:
            columns = self.new.arrays[f"{channel.name}.items"]
            rows = np.stack(
                [
                    self.new.arrays[f"{channel.name}.rows{n}"]
                    for n in range(len(channel.rows))
                ]
            )
            channels.append(
                replace(
                    channel,
                    rows=np.insert(channel.rows, at + 1, rows, axis=1),
                    items=np.insert(channel.items, at + 1, columns[:, :-1], axis=0),
                    bias=np.insert(channel.bias, at + 1, columns[:, -1]),
                    trained=np.insert(channel.trained, at + 1, True),
                )
            )
        return ChannelSet(np.insert(before.item_numbers, at, numbers), tuple(channels))

    def exact(self, hidden: NDArray[np.int32]) -> ExactItems:
        """The release's exact search without hidden items and with new ones, by the terms that items have now."""
        before, alone, own = (
            self.spaces.base.exact,
            self.alone,
            self.spaces.base.catalogue,
        )
        rows = Rows(before.item_numbers, before.vectors).updated(
            hidden.tolist(), alone.item_numbers, alone.vectors
        )
        itemids = rows.numbers
        changed = np.intersect1d(
            [number for number in self.items if number in own], itemids
        ).astype(np.int64)
        of_code = by_code(
            [self.items[number].terms for number in changed.tolist()], changed
        )
        stays = ~np.isin(before.item_numbers, [*hidden, *changed])
        terms, nowhere = {}, np.empty(0, np.intp)
        for code in sorted({*before.terms, *of_code, *alone.terms}):
            there = before.terms.get(code, nowhere)
            having = (
                before.item_numbers[there[stays[there]]],
                alone.item_numbers[alone.terms.get(code, nowhere)],
            )
            numbers = np.concatenate([*having, of_code.get(code, nowhere)])
            terms[code] = np.searchsorted(itemids, np.sort(numbers))
        return ExactItems(itemids, rows.arrays, terms)


@dataclass(frozen=True, eq=False)
class Extended(Release):
    """A release with new items, with changed ones as they are now, and without removed ones.

    Attributes:
        version: of the records.
        hidden: (n,) numbers of the release's own items that are removed, ascending.
    """

    overlay: Overlay
    version: int
    hidden: NDArray[np.int32]

    @property
    def alone(self) -> ExactItems:
        """The exact search among the new items."""
        return self.overlay.alone

    @cached_property
    def numbers(self) -> dict[OwnId, int]:
        """Own id of an item -> number."""
        base = self.overlay.spaces.base
        found = dict(base.numbers)
        for number in self.hidden.tolist():
            found.pop(base.catalogue[number].own_id, None)
        return found | {
            item.shown.own_id: number for number, item in self.overlay.items.items()
        }


def base_of(opened: Release) -> Release:
    """A release as it was read."""
    return opened.overlay.spaces.base if isinstance(opened, Extended) else opened


def extended(
    overlay: Overlay,
    hidden: Collection[int],
    version: int,
    ttl_s: float,
    background: Executor,
) -> Extended:
    """Extend a release by new and changed items, without the hidden ones.

    Args:
        hidden: numbers of the release's own.
        ttl_s, background: as of `ItemCache`.
    """
    base = overlay.spaces.base
    gone = np.array(sorted(hidden), np.int32)
    catalogue = dict(base.catalogue)
    for number in hidden:
        catalogue.pop(number, None)
    catalogue |= {number: item.shown for number, item in overlay.items.items()}
    listed = ~np.isin(base.popular.ids, gone)
    fields = {name: getattr(base, name) for name in Release.__dataclass_fields__}
    fields |= {
        "channels": overlay.channels(),
        "catalogue": catalogue,
        "popular": Hits(base.popular.ids[listed], base.popular.scores[listed]),
        "items": ItemCache(
            lambda: _joined(base.items.current(), overlay.ranked), ttl_s, background
        ),
        "exact": overlay.exact(gone),
    }
    made = Extended(**fields, overlay=overlay, version=version, hidden=gone)
    _ = (
        made.alone,
        made.numbers,
        made.by_popularity,
    )  # computed here: requests do not wait for them
    return made


def _joined(before: EncodedItems, ranked: Rows) -> EncodedItems:
    """Features with those of new and changed items."""
    if not len(ranked.numbers):
        return before
    stored = Rows(before.item_numbers.astype(np.int64), {_FEATURES: before.rows.values})
    rows = stored.updated((), ranked.numbers, ranked.arrays)
    return EncodedItems(
        rows.numbers.astype(np.int32),
        Encoded(before.rows.features, rows.arrays[_FEATURES]),
    )
