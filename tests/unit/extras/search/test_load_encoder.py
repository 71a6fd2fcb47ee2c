from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import onnx
import onnxruntime
import pytest

from data_exchange_center import wire
from data_exchange_center.settings import ElasticsearchSettings, Settings
from data_exchange_center.steps import CheckError, StepError
from extras.search import load_encoder
from extras.search.load_encoder import served
from extras.search.meaning import DIMS, MODEL, TOKENS
from offline_to_online.stores.triton import MODEL_FILE, TritonStore
from tests.unit.extras.search.tiny_encoder import (
    expected,
    published,
    tiny_encoder,
)


def test_served_model_gives_the_mean_of_the_tokens() -> None:
    content = served(published())
    onnx.checker.check_model(onnx.load_from_string(content))
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    assert [each.name for each in session.get_inputs()] == [TOKENS]
    codes = np.array([[2, 3], [4, 0]], np.int64)
    (found,) = session.run([wire.MODEL_OUTPUT], {TOKENS: codes})
    vectors = [expected("comedy", "drama"), expected("adventure")]
    np.testing.assert_allclose(found, vectors, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "problem",
    [StepError("pip cannot download it"), OSError("disk full"), ValueError("other")],
)
def test_a_live_release_needs_no_encoder(
    tmp_path: Path,
    problem: Exception,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("RECSYS_SEARCH__ENCODER", "minilm")
    monkeypatch.setattr(load_encoder.Encoder, "read", Mock(side_effect=problem))
    load_encoder.sync(Settings(exchange_dir=tmp_path))
    assert str(problem) in caplog.text


def test_elasticsearch_down_after_going_live_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    nowhere = ElasticsearchSettings(port=9)
    load_encoder.sync(Settings(exchange_dir=tmp_path, elasticsearch=nowhere))
    assert "Elasticsearch" in caplog.text


@pytest.mark.parametrize("reason", ["", "onnx: bad model"])
def test_a_model_that_triton_refuses_is_removed(
    tmp_path: Path, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, encoder = Settings(exchange_dir=tmp_path), tiny_encoder()
    folder = TritonStore(settings).repository / MODEL
    folder.mkdir(parents=True)  # an earlier encoder's
    TritonStore(settings).aside.mkdir(parents=True)
    waits = Mock(side_effect=CheckError(reason) if reason else None)
    monkeypatch.setattr(TritonStore, "wait_until_ready", waits)
    with pytest.raises(CheckError) if reason else nullcontext():
        encoder.load(settings)
    assert folder.is_dir() != bool(reason)
    if not reason:
        assert (folder / "1" / MODEL_FILE).read_bytes() == encoder.model


def test_texts_of_any_length_get_their_own_vectors() -> None:
    encoder = tiny_encoder()
    found = encoder.vectors(["Comedy drama", "drama", "Comedy drama"])
    both, one = expected("comedy", "drama"), expected("drama")
    np.testing.assert_allclose(found, [both, one, both], rtol=1e-4, atol=1e-6)
    assert encoder.vectors([]).shape == (0, DIMS)
