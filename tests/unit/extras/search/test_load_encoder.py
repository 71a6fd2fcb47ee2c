from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from data_exchange_center import wire
from extras.search.load_encoder import Encoder, served
from extras.search.meaning import DIMS, TOKENS
from tests.unit.extras.search.tiny_encoder import expected, published, tiny_encoder


def test_served_model_gives_the_mean_of_the_tokens() -> None:
    content = served(published())
    onnx.checker.check_model(onnx.load_from_string(content))
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    assert [each.name for each in session.get_inputs()] == [TOKENS]
    (found,) = session.run([wire.MODEL_OUTPUT], {TOKENS: np.array([[2, 3], [4, 0]], np.int64)})
    np.testing.assert_allclose(found, [expected("comedy", "drama"), expected("adventure")], rtol=1e-4, atol=1e-6)


def test_a_model_with_other_inputs_is_refused() -> None:
    with pytest.raises(ValueError, match="other inputs"):
        served(published("position_ids"))


def test_texts_of_any_length_get_their_own_vectors(tmp_path: Path) -> None:
    encoder = tiny_encoder(tmp_path)
    found = encoder.vectors(["Comedy drama", "drama", "Comedy drama"])
    both, one = expected("comedy", "drama"), expected("drama")
    np.testing.assert_allclose(found, [both, one, both], rtol=1e-4, atol=1e-6)
    assert encoder.vectors([]).shape == (0, DIMS)


def test_texts_seen_before_are_not_encoded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = tiny_encoder(tmp_path).vectors(["comedy", "drama"])
    run, computed = Encoder._computed, []

    def counted(self: Encoder, texts: Sequence[str]) -> np.ndarray:
        computed.extend(texts)
        return run(self, texts)

    monkeypatch.setattr(Encoder, "_computed", counted)
    again = tiny_encoder(tmp_path).vectors(["drama", "adventure", "comedy"])
    assert computed == ["adventure"]
    np.testing.assert_array_equal(again[[2, 0]], first)
