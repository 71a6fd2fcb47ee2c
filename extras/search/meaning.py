"""Find a release's items by what a query means: an encoder of sentences in Triton, the items' vectors in Elasticsearch.

Off unless RECSYS_SEARCH__ENCODER names an encoder; `load_encoder` loads both at the end of `make sync`. The tokenizer
is a parameter of the model's configuration in Triton, so a server has the one that belongs to the model.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import orjson
from numpy.typing import NDArray

from data_exchange_center.features import Float32
from data_exchange_center.fusion import NO_HITS, Hits
from data_exchange_center.settings import ExtensionSettings
from data_exchange_center.words import named_values
from extras.search.text import MATCHES, Int64, Sharing, hits_of
from online.clients.base import StoredError
from online.clients.elastic import KEYS_ONLY, ElasticItems, best_of, unseen_filter
from online.clients.triton import TritonScores

if TYPE_CHECKING:
    from tokenizers import Tokenizer

NEAREST: Final = 100  # items of a search by meaning
WEIGHT: Final = (
    0.7  # of these matches, against those by words; README.md says how it was chosen
)
DIMS: Final = 384
MODEL: Final = "ml_sentences_minilm"  # in Triton
TOKENS: Final = "input_ids"  # the model's input, INT64 (texts, length): codes of tokens, padded with 0
LONGEST: Final = 128  # tokens of a text; the others are cut off
TOKENIZER: Final = "tokenizer"  # parameter of the model's configuration
VECTOR: Final = "vector"  # field of the index, next to `wire.ITEM_NUMBER`
# release -> alias of its index of vectors
meaning_index: Final = "ml_meaning-{}".format


class SearchSettings(ExtensionSettings, env_prefix="RECSYS_SEARCH__"):
    """Settings of this extension."""

    # of sentences; none: queries find items by words alone
    encoder: Literal["", "minilm"] = ""


def text_of(title: str, attributes: Mapping[str, Any]) -> str:
    """The text of an item, whose vector is searched: "Matrix, The (1999). Action, Sci-Fi, Thriller"."""
    return f"{title}. {', '.join(named_values(attributes))}"


def packed(tokenizer: bytes) -> str:
    """A tokenizer.json as a parameter of a model's configuration."""
    return base64.b64encode(zlib.compress(tokenizer, 9)).decode()


def unpacked(parameter: str) -> Tokenizer:
    """The tokenizer that `packed` has packed; it pads a batch of texts with 0."""
    from tokenizers import Tokenizer  # servers without an encoder need not load it

    text = zlib.decompress(base64.b64decode(parameter)).decode()
    tokenizer = Tokenizer.from_str(text)
    tokenizer.enable_truncation(LONGEST)
    tokenizer.enable_padding()
    return tokenizer


def fused(words: Hits, near: Hits, weight: float = WEIGHT) -> Hits:
    """Merge the matches by words and by meaning, best first.

    A score is (1 - ``weight``) x the share of the best BM25 + ``weight`` x the share of the best cosine.
    """
    ids = np.union1d(words.ids, near.ids)
    scores = np.zeros(len(ids))
    for hits, part in ((words, 1 - weight), (near, weight)):
        if best := hits.scores.max(initial=0.0):
            scores[np.searchsorted(ids, hits.ids)] += part * hits.scores / best
    return best_of(Hits(ids, scores), NO_HITS, MATCHES)


class Sentences(Sharing[str, Float32, TritonScores]):
    """A text -> its vector, (DIMS,), of length 1; over the connections of the ranking model's client."""

    service = TritonScores.service

    def __init__(self, scores: TritonScores) -> None:
        super().__init__(scores)
        self._tokenizer: Tokenizer | None = None

    def prepare(self) -> Tokenizer:
        """The tokenizer, loaded before requests need it: it takes longer than they have. Raises ServiceError."""
        if self._tokenizer is None:
            with self._limited("tokenizer"):
                answer = self._owner.http.get(f"/v2/models/{MODEL}/config")
                if answer.status != HTTPStatus.OK:
                    raise StoredError(
                        self.service, "has no encoder of sentences: run make sync again"
                    )
            parameters = orjson.loads(answer.body)["parameters"]
            self._tokenizer = unpacked(parameters[TOKENIZER]["string_value"])
        return self._tokenizer

    def _call(self, query: str) -> Float32:
        codes = np.array([self.prepare().encode(query).ids], np.int64)
        return self._owner.infer(MODEL, 1, {TOKENS: codes}, 1, DIMS)


@dataclass(frozen=True, slots=True, eq=False)
class NearQuery:
    """A search for a release's items whose vectors are near to a query's; limits as of `TextQuery`."""

    release: str
    vector: Float32
    seen: NDArray[np.int32]
    only: Int64 | None = None


class NearItems(Sharing[NearQuery, Hits, ElasticItems]):
    """Search by meaning in Elasticsearch: the `NEAREST` items and their cosines."""

    service = ElasticItems.service

    def _call(self, query: NearQuery) -> Hits:
        near = {
            "field": VECTOR,
            "query_vector": query.vector,
            "k": NEAREST,
            "num_candidates": 2 * NEAREST,
            "filter": unseen_filter(query.seen, query.only),
        }
        body = orjson.dumps(
            {"query": {"knn": near}, "size": NEAREST, **KEYS_ONLY},
            option=orjson.OPT_SERIALIZE_NUMPY,
        )
        path = f"/{meaning_index(query.release)}/_search?allow_partial_search_results=false"
        answer = self._owner.http.post(path, body, "Content-Type: application/json")
        if answer.status == HTTPStatus.NOT_FOUND:
            raise StoredError(
                self.service,
                "has no vectors of this release's texts: run make sync again",
            )
        found = hits_of(self._owner._read(answer)["hits"]["hits"])
        # the cosines behind the scores
        return Hits(found.ids, 2 * found.scores - 1)
