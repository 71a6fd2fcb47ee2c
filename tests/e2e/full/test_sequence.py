"""The recipe `sequence`: its model is trained by RecTools, and is served. Needs the package registry."""

import json
from pathlib import Path

import numpy as np
import pytest

from extras.sequence import channel
from extras.sequence.channel import SequenceRecipe
from tests.e2e.pipeline import Pipeline
from tests.unit.offline.data.ratings import events_of

SMALL = SequenceRecipe(dims=16, history=10, epochs=2, batch_size=16)


@pytest.mark.timeout(3_000)
def test_the_recipe_is_trained_kept_and_served(pipeline: Pipeline) -> None:
    with pipeline.with_release(RECSYS_RECIPE="sequence") as live:
        answer = live.recommend(1, explain="recall").json()
        assert {"tower", "ease", "sequence"} <= set(answer["recall"])
        assert "degraded" not in answer
        folder = live.settings.exchange_dir / "models" / "sequence"
        before = {
            path.name: (path / "encoder.onnx").stat().st_mtime_ns
            for path in folder.iterdir()
        }
        assert len(before) == 2
        done = live.step("offline/recall/s2_vector_recall.py")
        assert done.returncode == 0, done.stdout
        assert {
            path.name: (path / "encoder.onnx").stat().st_mtime_ns
            for path in folder.iterdir()
        } == before


def test_a_small_training_learns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    rows = [list(1 + rng.permutation(40)[:25]) for _ in range(60)]
    past = events_of(rows, [[5] * 25] * 60, [list(range(25))] * 60, n_items=40)
    monkeypatch.setenv("RECSYS_EXCHANGE_DIR", str(tmp_path))
    found = (channel.trained(SMALL, past) / channel.TRAINING).read_text("utf-8")
    first, second = json.loads(found)["losses"]
    assert second < first
