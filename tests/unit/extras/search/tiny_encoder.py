"""A model as the published encoder of sentences is, of a few words."""

from __future__ import annotations

import numpy as np
import onnx.numpy_helper
import onnx.parser
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from extras.search.load_encoder import Encoder, served
from extras.search.meaning import DIMS, TOKENS

UNKNOWN = "[UNK]"
WORDS = {UNKNOWN: 1, "comedy": 2, "drama": 3, "adventure": 4, "funny": 5}
TABLE = np.random.default_rng(0).normal(size=(6, DIMS)).astype(np.float32)
TABLE[5] = TABLE[2]  # "funny" means what "comedy" does


def published() -> bytes:
    """The model: it looks its tokens' vectors up, that of padding, too."""
    names = (TOKENS, "attention_mask", "token_type_ids")
    inputs = ", ".join(f"int64[texts, length] {name}" for name in names)
    model = onnx.parser.parse_model(f"""
        <ir_version: 10, opset_import: ["" : 17]>
        encoder ({inputs}) => (float[texts, length, {DIMS}] last_hidden_state)
        {{
            _own = Gather (table, {TOKENS})
            _type = Gather (table, token_type_ids)
            last_hidden_state = Sub (_own, _type)
            _unused = Identity (attention_mask)
        }}
    """)
    model.graph.initializer.append(onnx.numpy_helper.from_array(TABLE, "table"))
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


def tiny_encoder() -> Encoder:
    return Encoder(served(published()), tokenizer())
