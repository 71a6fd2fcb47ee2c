import getpass
import tempfile
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch._inductor.runtime.cache_dir_utils import cache_dir

from data_exchange_center import wire
from data_exchange_center.features import InputSizes, ModelInputs
from data_exchange_center.steps import CheckError, run
from offline.models.deepfm import DeepFM
from offline.models.rankers import load_ranker, score, weights_to_bytes
from offline_to_online.onnx_export import MAX_IR, check_onnx, export_onnx
from offline_to_online.parity import OfflineTruth
from offline_to_online.stores.triton import ModelFile
from online.clients.triton import ScoreQuery
from tests.unit.offline.models.test_fm import CONFIG
from tests.unit.offline_to_online.online_side import OnlineSide, OnnxRanker


def test_the_export_says_nothing_of_the_machine_it_was_made_on(exported: bytes) -> None:
    assert str(Path(__file__).parents[4]).encode() not in exported


def test_the_same_weights_give_the_same_bytes(
    exported: bytes, truth: OfflineTruth
) -> None:
    assert export_onnx(truth.ranker.model, truth.spec.sizes, "aaaaaaaaaaaa") == exported


def test_pytorch_s_cache_is_in_no_folder_that_another_account_can_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The export fails where it cannot make the folder."""
    # PyTorch's own choice, in the temporary folder
    (tmp_path / f"torchinductor_{getpass.getuser()}").touch()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    # so that it is as it was after the test
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    monkeypatch.setenv("RECSYS_EXCHANGE_DIR", str(tmp_path / "exchange"))
    folders: list[str] = []
    run(lambda _: folders.append(cache_dir()))
    assert folders == [str(tmp_path / "exchange" / "offline" / "torchinductor")]


def test_the_export_scores_as_pytorch_does(
    exported: bytes, truth: OfflineTruth, folders: dict[str, Path]
) -> None:
    check_onnx(exported, truth.ranker.model, truth.spec.sizes)
    recipe = truth.manifest.recipe.name
    side = OnlineSide(folders[recipe], recipe)
    side.ranker = OnnxRanker(exported)
    assert side.check().gaps["score"] <= 1e-6


def test_a_model_without_profiles_scores_as_pytorch() -> None:
    config = CONFIG.model_copy(update={"narrow": ()})
    width = len(config.wide) + config.n_flags + config.n_dense
    model = load_ranker(weights_to_bytes(DeepFM(config)), config.model_dump())
    rows = np.random.default_rng(0).integers(0, 5, (20, width)).astype(np.float32)
    content = export_onnx(model, InputSizes(width, 0), "aaaaaaaaaaaa")
    check_onnx(content, model, InputSizes(width, 0))
    scores = OnnxRanker(content).call(ScoreQuery(ModelInputs(rows), 1, wire.MODEL))
    np.testing.assert_allclose(
        scores, score(model, ModelInputs(rows)), rtol=0, atol=1e-6
    )


def test_other_weights_and_a_dialect_that_is_too_new_are_caught(
    exported: bytes, truth: OfflineTruth
) -> None:
    model, sizes = truth.ranker.model, truth.spec.sizes

    class Drifted(torch.nn.Module):
        def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
            scores: torch.Tensor = model(*inputs) + 1e-4
            return scores

    with pytest.raises(CheckError, match="1 rows of zeros: ONNX Runtime scores"):
        check_onnx(exported, Drifted(), sizes)
    proto = onnx.load_from_string(exported)
    proto.ir_version = MAX_IR + 1
    with pytest.raises(CheckError, match=f"IR {MAX_IR + 1}"):
        check_onnx(proto.SerializeToString(), model, sizes)


def test_a_file_that_is_no_model_is_named(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"not a model")
    with pytest.raises(
        CheckError, match=r"model\.onnx is not an exported ranking model"
    ):
        ModelFile.read(path)
