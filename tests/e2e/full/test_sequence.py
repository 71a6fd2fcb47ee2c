"""The recipe `sequence`: its model is trained by RecTools, resumes, and is served. Needs the package registry."""

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


def test_an_interrupted_training_goes_on_after_its_last_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    rows = [list(1 + rng.permutation(40)[:25]) for _ in range(60)]
    past = events_of(rows, [[5] * 25] * 60, [list(range(25))] * 60, n_items=40)
    monkeypatch.setenv("RECSYS_EXCHANGE_DIR", str(tmp_path))
    run, first = channel.run, []

    def interrupted(folder: Path, recipe: SequenceRecipe) -> None:
        one = recipe.model_copy(update={"epochs": 1})
        (folder / "settings.json").write_text(one.model_dump_json(), "utf-8")
        run(folder, one)
        first.extend(
            json.loads((folder / channel.TRAINING).read_text("utf-8"))["losses"]
        )
        (folder / "settings.json").write_text(recipe.model_dump_json(), "utf-8")
        run(folder, recipe)

    monkeypatch.setattr(channel, "run", interrupted)
    losses = json.loads(
        (channel.trained(SMALL, past) / channel.TRAINING).read_text("utf-8")
    )["losses"]
    assert losses[:1] == first
    assert len(losses) == 2
    assert losses[1] < losses[0], "the first epoch's weights are gone on with"
