"""The contest, its report and the fusion, with baselines that are made up."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_exchange_center.dataset import HoldoutRule
from offline.evaluation import metrics, replay
from offline.evaluation.replay import Holdout
from research.baselines import Baseline, Contest, Fitted, Setting, before_the_last
from tests.unit.offline.models.test_stages import ITEMS, USERS, inputs_of

NDCG = "ndcg@10"  # lists of thirty have none at 50


@pytest.fixture
def cuts(monkeypatch: pytest.MonkeyPatch) -> tuple[Holdout, Holdout]:
    monkeypatch.setattr("research.baselines.SELECTED_BY", NDCG)
    monkeypatch.setattr("research.baselines.measured", measured)
    data = inputs_of(np.random.default_rng(0).integers(0, ITEMS, USERS - 1)).data
    return replay.hold_out(data.before_last(4), HoldoutRule(last=4)), replay.hold_out(data, HoldoutRule(last=4))


def measured(holdout: Holdout, lists: np.ndarray) -> dict[str, Any]:
    return {NDCG: float(np.nanmean(metrics.ndcg(lists, holdout.relevance, 10)))}


class Shifted:
    """A baseline that knows everything and puts it ``shift`` places down."""

    def __init__(self, best: int) -> None:
        self.best, self.asked = best, []

    def __call__(self, holdout: Holdout, setting: Setting) -> Fitted:
        self.asked.append((holdout, setting["shift"]))
        perfect = np.asarray(holdout.relevance.todense())
        order = np.argsort(-perfect, axis=1, kind="stable")[:, :20]
        return Fitted(np.pad(order, ((0, 0), (abs(setting["shift"] - self.best), 0)))[:, :20], seconds=2.0)

    def baseline(self, name: str) -> Baseline:
        return Baseline(name, {"shift": 0}, {"shift": (1, 2)}, self)


def begun(cuts: tuple[Holdout, Holdout], path: Path, recipe: str = "small") -> Contest:
    return Contest(path, {"command": "make tune-baselines", "recipe": recipe}, *cuts)


def contest(cuts: tuple[Holdout, Holdout], path: Path) -> Contest:
    made = begun(cuts, path)
    made.refer_to("first", {"own": {NDCG: 0.5}}, np.full(USERS, 0.5))
    return made


def test_settings_are_chosen_without_the_last_ratings() -> None:
    inputs = inputs_of(np.random.default_rng(0).integers(0, ITEMS, USERS - 1))
    inputs = replace(inputs, dataset=inputs.dataset.model_copy(update={"holdout": HoldoutRule(last=3)}))
    found = before_the_last(inputs)
    assert found.past.lengths.tolist() == [max(0, n - 6) for n in inputs.data.lengths]
    expected = replay.hold_out(inputs.data.before_last(3), HoldoutRule(last=3))
    assert (found.relevance != expected.relevance).nnz == 0


def test_a_baseline_has_a_row_at_once_and_in_the_end_the_best(cuts: tuple[Holdout, Holdout], tmp_path: Path) -> None:
    path, system = tmp_path / "baselines.json", Shifted(best=1)
    contest(cuts, path).enter(system.baseline("any"))
    chosen_on, measured_on = cuts
    assert system.asked == [(measured_on, 0), (chosen_on, 0), (chosen_on, 1), (chosen_on, 2), (measured_on, 1)]
    found = json.loads(path.read_text(encoding="utf-8"))
    assert found["rows"]["any"].items() >= {
        "setting": {"shift": 1}, "settings tried": 3, "searched": True, "seconds": 2.0, NDCG: 1.0,
    }.items()  # fmt: skip
    again = Shifted(best=1)
    contest(cuts, path).enter(again.baseline("any"))
    assert not again.asked
