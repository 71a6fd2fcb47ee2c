"""The papers' table, of people who walk round the items."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from data_exchange_center import artifacts
from data_exchange_center.settings import Settings
from offline.data.sequences import Inputs
from offline.evaluation.report import plain
from research import papers, transformers
from research.papers import WITH, WITHOUT, at_one_moment
from research.transformers import Transformer, checkpoint
from tests.unit.offline.models.test_stages import ITEMS, RECIPE, USERS, inputs_of

MODEL = Transformer("small", "hstu", clock=True, dim=8, negatives=20, temperature=0.05, learning_rate=0.02)


@pytest.fixture
def inputs() -> Inputs:
    found = inputs_of(np.random.default_rng(0).integers(0, ITEMS, USERS - 1))
    data = found.data
    times = data.times + np.repeat(np.arange(data.n_users) * 3600, data.lengths)  # nobody's end is everybody's
    return replace(found, data=replace(data, liked=np.ones_like(data.liked), times=times))


def test_every_row_is_measured_once(inputs: Inputs, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(papers, "every_rating", lambda _: inputs)
    monkeypatch.setattr(papers, "MODELS", (MODEL,))
    monkeypatch.setattr(transformers, "OVER_AFTER", 1)
    transformers.train(MODEL, inputs.data, checkpoint(settings, MODEL))
    papers.main(settings)
    path = settings.offline_dir / "evaluation" / "evaluation_papers_small_made up.json"
    found = json.loads(path.read_text(encoding="utf-8"))
    assert found["measured"]["finished"]
    rows = found["last"]
    assert set(rows["small"]["ranked"]) == {WITH}
    assert rows["small"]["over"]
    for name, row in rows.items():
        assert row["but"] == (1 if name.endswith("the last") else 2)
        for values in row["ranked"].values():
            assert 0 < values["ndcg@10"] <= values["hr@10"] <= values["hr@200"] <= 1
    assert {"small", "popularity", "weighted EASE"} <= set(found["by seconds"])
    monkeypatch.setattr(papers, "fit_stages", lambda *_: pytest.fail("fitted again"))
    assert plain(papers.measure(settings, list)["last"]) == rows


def test_at_one_moment_targets_are_later_than_all_that_was_fitted_on(
    inputs: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted, fit = [], papers.fit_stages
    monkeypatch.setattr(papers, "fit_stages", lambda *given: fitted.append(given[0]) or fit(*given))
    found = at_one_moment(inputs, RECIPE)
    (past,) = fitted
    assert found["ratings"] <= len(inputs.data.items) - len(past.items)
    assert past.times.max() <= np.quantile(inputs.data.times, 0.9)
    for when in (WITH, WITHOUT):
        targets = found["targets"][when]
        assert set(targets) == {"last", "all later"} | ({"successive"} if when == WITHOUT else set())
        assert targets["all later"]["hr@10"] >= targets["all later"]["ndcg@10"] > 0


@pytest.fixture
def settings(tmp_path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    artifacts.DATASET.write(tmp_path, {"name": "made up"})
    monkeypatch.setattr(Settings, "recipe", RECIPE)
    return Settings(exchange_dir=tmp_path)
