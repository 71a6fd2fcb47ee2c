"""Evaluate free-text search on queries with films that should be found: BM25 alone, and as new users get it.

A new user's list mixes BM25 with the order of popularity. The first, third, ... query of each kind choose the weight of
the words; the table is of the others.

Reads   the artifacts' release in Elasticsearch; research/measure/search_queries.toml; data_exchange_center/offline
Writes  pic/figures/search.json
Run     make evaluate-search, after make up sync with MovieLens-1M
Expect  some seconds; it fails where another weight would be chosen than the one that is served
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import numpy as np

from data_exchange_center import artifacts, steps
from data_exchange_center.columns import Columns
from data_exchange_center.fusion import Hits
from data_exchange_center.release_parts import release_of_artifacts
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from extras.search.hook import SearchSettings
from extras.search.text import TextItems, TextQuery, blended, searched_words
from online.clients.elastic import ElasticItems
from research.figures import recommendations
from research.reports import figure, head, publish

QUERIES: Final = Path(__file__).with_name("search_queries.toml")
WEIGHTS: Final = (0.0, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
CHOSEN_BY: Final = "NDCG@10"
Measures = dict[str, float]


def measures(found: Sequence[int], wanted: set[int]) -> Measures:
    """Success@10, NDCG@10 and recall@50 of one list, best first."""
    gains = np.isin(found[:50], list(wanted))
    discounts = 1 / np.log2(np.arange(10) + 2)
    first = gains[:10]
    return {
        "success@10": float(first.any()),
        "NDCG@10": float(discounts[: len(first)][first].sum() / discounts[: len(wanted)].sum()),
        "recall@50": float(gains.sum() / len(wanted)),
    }


def means(rows: Sequence[Measures]) -> Measures:
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def read_queries(titles: Mapping[str, int]) -> list[tuple[str, int, str, set[int]]]:
    """Kind, half, text and the numbers of the films that should be found. Raises StepError."""
    raw: dict[str, dict[str, list[str]]] = tomllib.loads(QUERIES.read_text(encoding="utf-8"))
    if absent := [title for of in raw.values() for films in of.values() for title in films if title not in titles]:
        raise StepError(f"The catalogue has no {absent[0]!r}: the queries are for MovieLens-1M.")
    return [
        (kind, n % 2, text, {titles[each] for each in films})
        for kind, of in raw.items()
        for n, (text, films) in enumerate(of.items())
    ]


def mixed(hits: Hits, ranks: Mapping[int, int], weight: float) -> list[int]:
    """The matches as a new user gets them. ``ranks``: item number -> place on the popular list."""
    bm25 = dict(zip(hits.ids.tolist(), hits.scores.tolist(), strict=True))
    popular = sorted(bm25, key=lambda number: (ranks.get(number, len(ranks)), number))
    return [popular[place] for place in blended(np.array([bm25[number] for number in popular]), weight).tolist()]


def main(settings: Settings) -> None:
    release = release_of_artifacts(settings).release
    items = artifacts.ITEMS.read(settings.exchange_dir)
    popular = artifacts.POPULAR.read(settings.exchange_dir)[Columns.ITEM].tolist()
    ranks = {number: rank for rank, number in enumerate(popular)}
    usual, nothing = SearchSettings(), np.empty(0, np.int32)
    lists: dict[tuple[str, int, str], list[Measures]] = {}  # (kind, half, order) -> one a query
    with closing(ElasticItems(settings.elasticsearch)) as client:
        search = TextItems(client)
        titles = dict(zip(items[Columns.TITLE], items[Columns.ITEM].tolist(), strict=True))
        for kind, half, text, films in read_queries(titles):
            hits = search.call(TextQuery(release, searched_words(text, usual.ignored), nothing))
            orders = {f"{weight:g}": mixed(hits, ranks, weight) for weight in WEIGHTS}
            for name, order in {"BM25": hits.ids.tolist(), **orders}.items():
                lists.setdefault((kind, half, name), []).append(measures(order, films))
    kinds = list(dict.fromkeys(kind for kind, _, _ in lists))
    weights = {
        each: means([row for kind in kinds for row in lists[kind, 0, each]]) for each in map("{:g}".format, WEIGHTS)
    }
    chosen, served = max(weights, key=lambda weight: weights[weight][CHOSEN_BY]), f"{usual.text_weight:g}"
    systems = {"BM25 alone": "BM25", "popularity of what matches": "0", "both, as served": served}
    table = {name: {kind: means(lists[kind, 1, key]) for kind in kinds} for name, key in systems.items()}
    found: dict[str, Any] = head("make evaluate-search", settings, settings.recipe)
    found |= {"release": release, "weights": weights, "chosen": chosen, "systems": table}
    publish(figure(found, settings, "search"), found, recommendations.search)
    if chosen != served:
        raise StepError(f"The weight {chosen} would be chosen, and {served} is served.")


if __name__ == "__main__":
    steps.run(main)
