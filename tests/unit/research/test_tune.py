"""Validation of the recipe's numbers and of diversity."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from data_exchange_center.recipes import DEFAULT
from research import tune
from research.tune import changed, chosen
from tests.unit.offline.evaluation.conftest import settings_of


@pytest.mark.parametrize("number", tune.VALUES)
def test_every_number_is_one_of_the_recipe(number: str) -> None:
    for value in tune.VALUES[number]:
        assert changed(DEFAULT, number, value) != DEFAULT


@pytest.mark.parametrize(
    ("differences", "best"), [((0, -0.001, -0.002), 0.2), ((0, -0.02, 0.1), 0.0)]
)
def test_the_largest_cheap_strength_is_chosen(
    differences: tuple[float, ...], best: float
) -> None:
    rows = {
        f"{n / 10:g}": {tune.NDCG: 0.3, "change": {"difference": difference}}
        for n, difference in enumerate(differences)
    }
    assert chosen(rows) == best


def test_measured_values_are_not_fitted_again(
    exchange: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of("default", exchange)
    monkeypatch.setattr(tune, "VALUES", {"ease.l2": (3000.0,), "ease.power": (0.5,)})
    monkeypatch.setattr(tune, "STRENGTHS", (0.1,))
    tune.main(settings, only=["ease.l2", "diversity"])
    (path,) = (settings.offline_dir / "evaluation").glob("tune*.json")
    found = json.loads(path.read_text(encoding="utf-8"))
    assert set(found["rows"]) == {"ease.l2 = 3000.0"}
    assert found["diversity"]["0"]["change"]["difference"] == 0
    fits, fit = [], tune.fit_stages
    monkeypatch.setattr(
        tune, "fit_stages", lambda *given: fits.append(1) or fit(*given)
    )
    tune.main(settings, only=["ease.l2", "diversity"])
    assert len(fits) == 1  # the recipe as it is
    assert "chosen" in json.loads(path.read_text(encoding="utf-8"))
