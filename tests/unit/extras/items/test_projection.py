"""New items among known ones on synthetic data: where they are placed, and which users see them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Final

import numpy as np
import pytest
from numpy.typing import NDArray

from data_exchange_center.channels import ChannelSet, HistorySum
from data_exchange_center.dataset import ItemNumber
from data_exchange_center.exact import ExactItems, IndexedItem
from data_exchange_center.features import (
    DenseFeature,
    FeatureSpec,
    FlagFeature,
    one_hot,
)
from data_exchange_center.fusion import Hits
from extras.items.projection import Described, Ridge, Spaces, extended
from online.clients.elastic import CatalogueItem
from online.clients.feast import EncodedItems
from tests.datasets import STARS

GENRES: Final = tuple(f"Genre {letter}" for letter in "ABCDEFGHIJKL")
ITEMS, USERS, DIM, NEW = 600, 200, 16, 5_000
DECADES = tuple(range(1930, 2001, 10))
YEAR = ItemNumber(name="year", column="year", scale=100, centres=DECADES, width=10)
DATASET = STARS.model_copy(update={"terms": ("genres",), "numbers": (YEAR,)})
KINDS: Final[list[dict[str, Any]]] = [
    {},
    {"genres": []},
    {"year": 1935},
    {"year": None},
    *({"genres": [genre], "year": 1990} for genre in GENRES),
    {"genres": list(GENRES)},
    {"genres": list(GENRES[:6]), "year": 1960},
    {"genres": [GENRES[0]], "year": 1e12},
    {"genres": [GENRES[0]], "year": -1e12},
]


@pytest.fixture(scope="module")
def base() -> Any:
    """A release whose items' vectors depend on genres and year, and whose newer items are the popular ones."""
    rng = np.random.default_rng(0)
    flags = np.zeros((ITEMS, len(GENRES)))
    for row in range(ITEMS):
        flags[row, rng.choice(len(GENRES), rng.integers(1, 4), replace=False)] = 1
    years = rng.integers(1930, 2001, ITEMS)
    near = np.exp(-0.5 * ((years[:, None] - np.array(YEAR.centres)) / YEAR.width) ** 2)
    items = flags @ rng.normal(size=(len(GENRES), DIM))
    items += near @ rng.normal(size=(8, DIM))
    items = (items + rng.normal(size=items.shape)).astype(np.float32) / 4
    bias = (near @ np.linspace(-3, -1, 8) + rng.normal(size=ITEMS)).astype(np.float32)
    numbers = np.arange(1, ITEMS + 1, dtype=np.int64)

    def padded(rows: NDArray[Any]) -> NDArray[Any]:
        return np.concatenate([np.zeros_like(rows[:1]), rows])

    channel = HistorySum(
        "tower",
        rows=padded(items)[None],
        lag=np.ones((1, 2, 5), np.float32),
        base=np.zeros((2, DIM), np.float32),
        rating_weight=np.ones((1, 2, 6), np.float32),
        profile=(),
        items=padded(items),
        bias=padded(bias),
        trained=padded(np.ones(ITEMS, np.bool_)),
    )
    spec = FeatureSpec(
        one_hot=(one_hot("itemid", "item", numbers.tolist()),),
        multi_hot=tuple(
            FlagFeature(name=f"genre_{n}", entity="item") for n in range(len(GENRES))
        ),
        dense=(DenseFeature(name="item_year", entity="item", scale=100),),
        genres=GENRES,
    )
    columns = {"itemid": numbers.tolist(), "item_year": years.tolist()}
    for n, column in enumerate(flags.T.astype(int)):
        columns[f"genre_{n}"] = column.tolist()
    features = EncodedItems(numbers.astype(np.int32), spec.encode("item", columns))
    terms = [tuple((np.flatnonzero(row) + 1).tolist()) for row in flags]
    vectors = channel.item_vectors()[1:]
    catalogue, indexed = {}, []
    for row, number in enumerate(numbers.tolist()):
        of = [GENRES[code - 1] for code in terms[row]]
        shown = {"genres": of, "year": int(years[row])}
        catalogue[number] = CatalogueItem(number, "Known", shown, terms[row])
        indexed.append(IndexedItem(number, terms[row], {"tower": vectors[row]}))
    order = np.argsort(-bias)
    return SimpleNamespace(
        manifest=SimpleNamespace(dataset=DATASET, vector_dims={"tower": DIM + 2}),
        spec=spec,
        model="ranker",
        model_version=1,
        channels=ChannelSet(numbers, (channel,)),
        catalogue=catalogue,
        popular=Hits(numbers[order], np.exp(bias[order] / 2)),
        items=SimpleNamespace(held=features, refresh=lambda: None),
        exact=ExactItems.of(indexed, {"tower": DIM + 2}),
    )


def described(spaces: Spaces, attributes: dict[str, Any]) -> Described:
    shown = CatalogueItem(NEW, "New", attributes, spaces.term_codes(attributes))
    return Described(NEW, shown, {"year": attributes.get("year")})


def first_ten(channel: HistorySum) -> NDArray[np.int64]:
    """(items + 1,) how many of 200 users have an item among their first ten."""
    users = np.random.default_rng(1).normal(size=(USERS, DIM)).astype(np.float32) * 2
    scores = users @ channel.items.T + channel.bias
    scores[:, ~channel.trained] = -np.inf
    best = np.argsort(-scores, axis=1)[:, :10]
    return np.bincount(best.ravel(), minlength=len(channel.trained))


@pytest.mark.parametrize("attributes", KINDS, ids=str)
def test_a_new_item_is_shown_no_more_than_its_neighbours(
    base: Any, attributes: dict[str, Any]
) -> None:
    spaces = Spaces(base)
    placed = spaces.place([described(spaces, attributes)])
    (channel,) = extended(spaces, placed, (), {}, 60).channels.channels
    assert isinstance(channel, HistorySum)
    counts, known = first_ten(channel), channel.items[1 : ITEMS + 1]
    new = channel.items[ITEMS + 1]  # its number is the highest
    near = np.argsort(-(known @ new) / np.linalg.norm(known, axis=1))[:10]
    assert counts[ITEMS + 1] <= counts[near + 1].max()
    assert np.linalg.norm(new) <= np.linalg.norm(known, axis=1).max()
    biases = channel.bias[1 : ITEMS + 1]
    assert biases.min() <= channel.bias[ITEMS + 1] <= biases.max()


def test_a_regression_neither_extrapolates_nor_needs_every_column() -> None:
    """An unknown column counts as its mean; predictions stay within the fitted rows."""
    rng = np.random.default_rng(0)
    given, weights = rng.normal(size=(200, 3)) + 5, rng.random(200) + 0.1
    wanted = given @ rng.normal(size=(3, 4)) + rng.normal(size=(200, 4))
    ridge = Ridge.fit(given, wanted, weights)
    row = np.array([[4.5, np.nan, 5.5]])
    means = weights @ given / weights.sum()
    np.testing.assert_allclose(ridge(row), ridge(np.where(np.isnan(row), means, row)))
    far = ridge(rng.normal(size=(50, 3)) * 1e9)
    assert (far >= wanted.min(axis=0) - 1e-5).all()
    assert (far <= wanted.max(axis=0) + 1e-5).all()
    assert np.linalg.norm(far - ridge.intercept, axis=1).max() <= ridge.reach + 1e-4


def test_the_ranker_reads_numbers_of_the_known_range(base: Any) -> None:
    spaces = Spaces(base)
    kinds = [{"year": year} for year in (1e12, -1e12, 1950)]
    kinds += [{}, {"genres": [GENRES[0]], "year": None}]
    items = [described(spaces, each) for each in kinds]
    rows = spaces.rows(items, np.full(len(items), 7))
    features = [feature.name for feature in base.spec.of("item")]
    known = base.items.held.rows.values
    year, own = features.index("item_year"), known[6]
    values = known[:, year]
    np.testing.assert_allclose(
        rows[:, year], [values.max(), values.min(), 19.5, own[year], own[year]]
    )
    flags = [features.index(f"genre_{n}") for n in range(len(GENRES))]
    assert rows[4, flags].tolist() == [1.0] + [0.0] * (len(GENRES) - 1)
    # unknown: as the known item that it is like
    assert rows[3, flags].tolist() == own[flags].tolist()
