from __future__ import annotations

from typing import Any

import pytest

from research.figures import training_pictures as pictures

REPORT: dict[str, Any] = {
    "auc": {"train": 0.9, "validation": 0.8, "test": 0.81},
    "epochs": [{"epoch": n, "loss": 1 / n, "auc": {"validation": 0.7 + n / 50}} for n in (1, 2, 3)],
    "calibration": {"predicted": [0.2, 0.8], "observed": [0.1, 0.9], "rows": [5, 5], "log_loss": 0.4},
}
NOTHING_TO_TEST: dict[str, Any] = {**REPORT, "auc": {"train": 0.9, "validation": None, "test": None}, "calibration": {}}


def curves(axes: Any) -> dict[str, list[float]]:
    return {line.get_label(): list(line.get_ydata()) for line in axes.lines if not line.get_label().startswith("_")}


def test_every_model_has_its_loss_and_those_of_rated_pairs_their_auc() -> None:
    lists: dict[str, Any] = {"auc": {}, "epochs": [{"epoch": n, "loss": 5 / n, "auc": {}} for n in (1, 2)]}
    solved: dict[str, Any] = {"auc": {}, "epochs": []}
    fm, tower, auc = pictures.training({"fm": REPORT, "tower": lists, "ease": solved}).axes
    assert fm.lines[0].get_ydata().tolist() == [1, 1 / 2, 1 / 3]
    assert tower.lines[0].get_ydata().tolist() == [5, 5 / 2]
    assert (fm.get_title(loc="center"), tower.get_title(loc="center")) == ("fm: loss", "tower: loss")
    assert curves(auc)["fm, validation"] == pytest.approx([0.72, 0.74, 0.76])
    assert [text.get_text() for text in auc.texts] == ["fm, test 0.8100"]


def test_without_rated_pairs_there_is_no_auc() -> None:
    lists: dict[str, Any] = {"auc": {}, "epochs": [{"epoch": 1, "loss": 5, "auc": {}}]}
    assert [axes.get_title(loc="center") for axes in pictures.training({"list": lists}).axes] == ["list: loss"]


def test_calibration_shows_observed_over_predicted() -> None:
    (axes,) = pictures.calibration({"FM": REPORT}).axes
    assert curves(axes)["FM, log loss 0.4000"] == [0.1, 0.9]


def test_a_data_set_too_small_to_test_draws_without_it() -> None:
    assert len(pictures.training({"FM": NOTHING_TO_TEST}).axes[-1].texts) == 0
    assert list(curves(pictures.calibration({"FM": NOTHING_TO_TEST}).axes[0])) == ["perfectly calibrated"]
