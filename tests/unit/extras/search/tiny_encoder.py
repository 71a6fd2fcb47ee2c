"""A model as the published encoder of sentences is, of a few words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from extras.search.load_encoder import Encoder, served
from extras.search.meaning import DIMS, TOKENS

UNKNOWN = "[UNK]"
WORDS = {UNKNOWN: 1, "comedy": 2, "drama": 3, "adventure": 4, "funny": 5}
TABLE = np.random.default_rng(0).normal(size=(6, DIMS)).astype(np.float32)
TABLE[5] = TABLE[2]  # "funny" means what "comedy" does


def published(*more: str) -> bytes:
    """The model: it looks its tokens' vectors up, that of padding, too. ``more``: further inputs."""
    names = (TOKENS, "attention_mask", "token_type_ids", *more)
    both = ["texts", "length"]
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["table", TOKENS], ["_own"]),
            helper.make_node("Gather", ["table", "token_type_ids"], ["_type"]),
            helper.make_node("Sub", ["_own", "_type"], ["last_hidden_state"]),
            helper.make_node("Identity", ["attention_mask"], ["_unused"]),
        ],
        "encoder",
        [
            helper.make_tensor_value_info(name, TensorProto.INT64, both)
            for name in names
        ],
        [
            helper.make_tensor_value_info(
                "last_hidden_state", TensorProto.FLOAT, [*both, DIMS]
            )
        ],
        [numpy_helper.from_array(TABLE, "table")],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10
    )
    content: bytes = model.SerializeToString()
    return content


def tokenizer() -> bytes:
    made = Tokenizer(models.WordLevel(WORDS, unk_token=UNKNOWN))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return made.to_str().encode()


def expected(*words: str) -> np.ndarray:
    """The vector of a text of these words."""
    mean = np.mean([TABLE[WORDS[word]] - TABLE[0] for word in words], axis=0)
    return mean / np.linalg.norm(mean)


def tiny_encoder(folder: Path) -> Encoder:
    return Encoder(served(published()), tokenizer(), folder)
