"""Evaluate free-text search on queries with films that should be found: by words, and by an encoder of sentences too.

A new user's list mixes the matches with the order of popularity. The first, third, ... query of each kind choose the
weights of the words and of the encoder; the table is of the others. Elasticsearch scores the words; items' and queries'
vectors are computed here and searched exactly.

Reads   the artifacts' release in Elasticsearch; research/measure/search_queries.toml; data_exchange_center/offline
Writes  pic/figures/search.json; data_exchange_center/online/search (the encoder's packages, vectors by text)
Run     make evaluate-search, after make up sync with MovieLens-1M
Expect  some minutes; it fails where another weight would be chosen than the one that is served
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from data_exchange_center import artifacts, steps
from data_exchange_center.columns import Columns
from data_exchange_center.features import Float32
from data_exchange_center.fusion import Hits
from data_exchange_center.release_parts import release_of_artifacts
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from extras.comparison import compare
from extras.search.load_encoder import Encoder
from extras.search.meaning import NEAREST, fused, text_of
from extras.search.settings import SearchSettings
from extras.search.text import TextItems, TextQuery, blended, searched_words
from offline_to_online.stores.base import patient
from online.clients.elastic import ElasticItems
from online.recommend.loaded_release import read_catalogue
from research import figures

QUERIES: Final = Path(__file__).with_name("search_queries.toml")
WEIGHTS: Final = (0.0, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)  # of the words
ENCODER_WEIGHTS: Final = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
CHOSEN_BY: Final = "NDCG@10"
Measures = dict[str, float]
Lists = dict[tuple[str, int, str], list[Measures]]  # (kind, half, order) -> one a query


class Query(NamedTuple):
    """A query and the numbers of the films that should be found."""

    kind: str
    half: int
    text: str
    films: set[int]


def read_queries(titles: Mapping[str, int]) -> list[Query]:
    """Raises StepError where the catalogue lacks one of the films."""
    raw: dict[str, dict[str, list[str]]] = tomllib.loads(
        QUERIES.read_text(encoding="utf-8")
    )
    found = []
    for kind, queries in raw.items():
        for number, (text, films) in enumerate(queries.items()):
            for title in films:
                if title not in titles:
                    raise StepError(
                        f"The catalogue has no {title!r}: the queries are for MovieLens-1M."
                    )
            found.append(
                Query(kind, number % 2, text, {titles[title] for title in films})
            )
    return found


# --- Metrics


def measures(found: Sequence[int], wanted: set[int]) -> Measures:
    """Success@10, NDCG@10 and recall@50 of one list, best first."""
    gains = np.isin(found[:50], list(wanted))
    discounts = 1 / np.log2(np.arange(10) + 2)
    first = gains[:10]
    ideal = discounts[: len(wanted)].sum()
    return {
        "success@10": float(first.any()),
        "NDCG@10": float(discounts[: len(first)][first].sum() / ideal),
        "recall@50": float(gains.sum() / len(wanted)),
    }


def means(rows: Sequence[Measures]) -> Measures:
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


# --- Orders


def mixed(hits: Hits, ranks: Mapping[int, int], weight: float) -> list[int]:
    """The matches as a new user gets them. ``ranks``: item number -> place on the popular list."""
    bm25 = dict(zip(hits.ids.tolist(), hits.scores.tolist(), strict=True))
    popular = sorted(bm25, key=lambda number: (ranks.get(number, len(ranks)), number))
    scores = np.array([bm25[number] for number in popular])
    return [popular[place] for place in blended(scores, weight).tolist()]


def nearest(vectors: Float32, numbers: Sequence[int], query: Float32) -> Hits:
    """All items by their cosine with a query, best first."""
    cosines = (vectors @ query).astype(np.float64)
    order = np.argsort(-cosines, kind="stable")
    return Hits(np.array(numbers, np.int64)[order], cosines[order])


def orders_of(
    hits: Hits, every: Hits, ranks: Mapping[int, int], text_weight: float
) -> dict[str, list[int]]:
    """Order -> numbers, best first; ``every``: all items by their nearness in meaning."""
    orders = {"BM25": hits.ids.tolist(), "encoder": every.ids.tolist()}
    for weight in WEIGHTS:
        orders[f"words {weight:g}"] = mixed(hits, ranks, weight)
    near = Hits(every.ids[:NEAREST], every.scores[:NEAREST])
    for weight in ENCODER_WEIGHTS:
        orders[f"encoder {weight:g}"] = mixed(
            fused(hits, near, weight), ranks, text_weight
        )
    return orders


# --- The report


def halves(lists: Lists, half: int, order: str) -> dict[str, Measures]:
    """Kind -> means of one order over half of the queries."""
    return {
        kind: means(rows)
        for (kind, of, name), rows in lists.items()
        if (of, name) == (half, order)
    }


def overall(by_kind: Mapping[str, Measures]) -> float:
    """Mean of `CHOSEN_BY` over both kinds, which have as many queries."""
    return float(np.mean([row[CHOSEN_BY] for row in by_kind.values()]))


def best_weight(
    without: Mapping[str, Measures], weights: Mapping[str, Mapping[str, Measures]]
) -> str:
    """The best weight of the encoder, of those with which queries with words find no less than ``without`` it."""
    least = without["words"][CHOSEN_BY]
    keeping = {
        weight: overall(row)
        for weight, row in weights.items()
        if row["words"][CHOSEN_BY] >= least
    }
    return max(keeping, key=lambda weight: keeping[weight], default="none")


def report(lists: Lists, served: SearchSettings) -> dict[str, Any]:
    """Weights as the first half chooses them, and the table of the other half."""
    words = {
        f"{weight:g}": overall(halves(lists, 0, f"words {weight:g}"))
        for weight in WEIGHTS
    }
    encoder = {
        f"{weight:g}": halves(lists, 0, f"encoder {weight:g}")
        for weight in ENCODER_WEIGHTS
    }
    without, with_it = (
        f"words {served.text_weight:g}",
        f"encoder {served.meaning_weight:g}",
    )
    change = {}
    for kind in ("words", "paraphrases"):
        pair = [
            np.array([row[CHOSEN_BY] for row in lists[kind, 1, order]])
            for order in (with_it, without)
        ]
        change[kind] = compare(*pair)
    systems = {
        "BM25 alone": "BM25",
        "popularity of what matches": "words 0",
        "both, as served": without,
        "the encoder alone": "encoder",
        "BM25, encoder and popularity, as served with it": with_it,
    }
    return {
        "weights": words,
        "chosen": max(words, key=lambda weight: words[weight]),
        "encoder": {
            "weights": encoder,
            "chosen": best_weight(halves(lists, 0, without), encoder),
            "change": change,
        },
        "systems": {name: halves(lists, 1, order) for name, order in systems.items()},
    }


def main(settings: Settings) -> None:
    release, served = release_of_artifacts(settings).release, SearchSettings()
    popular = artifacts.POPULAR.read(settings.exchange_dir)[Columns.ITEM].tolist()
    ranks = {number: rank for rank, number in enumerate(popular)}
    nothing_seen = np.empty(0, np.int32)
    with closing(ElasticItems(patient(settings).elasticsearch)) as client:
        search, items = TextItems(client), read_catalogue(client, release)
        queries = read_queries({item.title: number for number, item in items.items()})
        by_words = []
        for query in queries:
            words = searched_words(query.text, served.ignored)
            by_words.append(search.call(TextQuery(release, words, nothing_seen)))
    encoder = Encoder.read(settings.service_dir("search"))
    of_items = encoder.vectors(
        [text_of(item.title, item.attributes) for item in items.values()]
    )
    of_queries = encoder.vectors([query.text for query in queries])
    lists: Lists = {}
    for query, hits, vector in zip(queries, by_words, of_queries, strict=True):
        every = nearest(of_items, list(items), vector)
        for name, order in orders_of(hits, every, ranks, served.text_weight).items():
            lists.setdefault((query.kind, query.half, name), []).append(
                measures(order, query.films)
            )
    found = figures.head("make evaluate-search", settings, settings.recipe)
    found |= {"release": release, **report(lists, served)}
    figures.write(figures.path_of(found, settings, "search"), found)
    chosen = found["chosen"], found["encoder"]["chosen"]
    if chosen != (usual := (f"{served.text_weight:g}", f"{served.meaning_weight:g}")):
        raise StepError(
            f"The weights {chosen} of words and encoder would be chosen, and {usual} are served."
        )


if __name__ == "__main__":
    steps.run(main)
