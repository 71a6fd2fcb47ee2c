"""Imported models, by the library's lists and by the stack's."""

import json
from collections.abc import Callable
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


def same(active: Collected) -> Collected:
    return active


def failing(reason: str) -> Callable[[Collected], Collected]:
    return lambda active: active.where(0.06, reason, lost=True)


@pytest.mark.parametrize(
    ("change", "likes", "reason", "step"),
    [
        (same, 1.0, "", 3),
        *(
            (failing(reason), 1.0, reason, 1)
            for reason in ("errors", "degraded", "short", "wrong", "scores")
        ),
        (lambda active: active.slower(1.0, 80.0), 1.0, "latency", 1),
        (same, 0.8, "likes", 1),
    ],
)
def test_a_problem_ends_the_canary_and_is_named(
    active: Collected,
    change: Callable[[Collected], Collected],
    likes: float,
    reason: str,
    step: int,
) -> None:
    generator = np.random.default_rng(1)
    ended = simulate(active, change(active), generator, likes=likes)
    assert (ended["reason"], ended["step"]) == (reason, step)


# Imported models, by the library's lists and by the stack's.


def test_served_lists_have_the_recall_of_the_librarys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECSYS_EXCHANGE_DIR", str(tmp_path / "exchange"))
    settings = Settings(data=shop(tmp_path / "data", users=60, items=70, views=900))
    for step in (s0_get_data, s1_data_split):
        step.main(settings)
    export_events(settings, tmp_path / "events")
    folder = written(tmp_path / "bundle", "vectors", events(settings))
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
