"""Imported models, by the library's lists and by the stack's."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from data_exchange_center.settings import Settings
from extras.models.__main__ import export_events, import_model
from offline.preprocess import s0_get_data, s1_data_split
from research.measure import next_basket
from research.measure.canary import NAMES, Collected, simulate
from research.measure.imported import quality
from tests.made_up_data import shop, supermarket
from tests.unit.extras.models.bundles import events, written
from tests.unit.offline.synthetic import run_steps

# canary

N = 300


@pytest.fixture(scope="module")
def active() -> Collected:
    generator = np.random.default_rng(0)
    problems = {name: np.zeros(N, np.bool_) for name in NAMES}
    return Collected(
        problems,
        generator.lognormal(3, 0.6, N),
        np.full(N, 10),
        generator.poisson(3, N),
    )


def test_a_release_like_the_active_one_is_activated(active: Collected) -> None:
    ended = simulate(active, active, np.random.default_rng(1))
    assert (ended["reason"], ended["step"], ended["likes lost"]) == ("", 3, 0)


@pytest.mark.parametrize("reason", ["errors", "degraded", "short", "wrong", "scores"])
def test_a_problem_of_some_answers_is_named(active: Collected, reason: str) -> None:
    ended = simulate(
        active, active.where(0.06, reason, lost=True), np.random.default_rng(1)
    )
    assert (ended["reason"], ended["step"]) == (reason, 1)
    assert ended["likes lost"] > 0


def test_slow_answers_and_lost_likes_are_named(active: Collected) -> None:
    assert (
        simulate(active, active.slower(1.0, 80.0), np.random.default_rng(1))["reason"]
        == "latency"
    )
    assert (
        simulate(active, active, np.random.default_rng(1), likes=0.8)["reason"]
        == "likes"
    )


# Imported models, by the library's lists and by the stack's.


@pytest.mark.parametrize("kind", ["vectors", "item-item"])
def test_served_lists_have_the_recall_of_the_librarys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("RECSYS_EXCHANGE_DIR", str(tmp_path / "exchange"))
    settings = Settings(data=shop(tmp_path / "data", users=60, items=70, views=900))
    for step in (s0_get_data, s1_data_split):
        step.main(settings)
    export_events(settings, tmp_path / "events")
    folder = written(tmp_path / "bundle", kind, events(settings))
    recipe = import_model(settings, folder)
    found = quality(
        run_steps(settings.model_copy(update={"recipe_name": str(recipe)})), folder
    )
    assert 0 < found["library"] <= 1
    # a request does not know its own second's events
    assert found["stack"] == pytest.approx(found["library"], abs=0.03)


# next_basket


def test_the_next_basket_and_the_baselines(tmp_path: Path) -> None:
    settings = run_steps(
        Settings(
            data=supermarket(tmp_path / "data"), exchange_dir=tmp_path / "exchange"
        )
    )
    next_basket.main(settings)
    found = json.loads(
        (settings.offline_dir / "evaluation" / "baskets_market.json").read_text(
            encoding="utf-8"
        )
    )
    assert found["users"] == 60
    table = found["table"]
    assert table["popularity"]["recall@10"] < min(
        table[name]["recall@10"] for name in ("TIFU-KNN", "ranked")
    )
    assert (
        table["personal top"]["recall@10, had before"]
        > table["ranked"]["recall@10"] / 2
    )
