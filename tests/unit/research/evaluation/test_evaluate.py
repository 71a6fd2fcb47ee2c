import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from data_exchange_center.settings import Settings
from extras import replay
from research.evaluation.evaluate import evaluate, show
from tests.unit.extras.replay.conftest import holdout_of, settings_of


def test_the_report_of_either_recipe(released: Settings, exchange: Path) -> None:
    found = evaluate(released, "make it so", source=settings_of("source", exchange))
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    systems = list(found["table"])
    assert systems == list(found["systems"]) == list(found["slices"])
    assert systems[:3] == ["popularity", "item-kNN", "EASE"]
    assert {"source: ranked", f"{released.recipe_name}: ranked"} <= {*systems}
    assert (found["recipe"], found["command"]) == (released.recipe_name, "make it so")
    assert set(found["against"]) == {"popularity", "EASE"}
    assert set(found["funnel"]["200"]["channels"]) == {
        channel.name for channel in released.recipe.recall.channels
    }
    assert "live against exact" not in found
    console = Console(record=True, width=200)
    show(found, console)
    assert "recall@200" in console.export_text()


def test_live_against_exact_is_a_number(exchange: Path) -> None:
    settings = settings_of("default", exchange)
    exact = replay.answers(settings, holdout_of(settings))

    def with_ranked(change: Callable[[np.ndarray], np.ndarray]) -> dict[str, Any]:
        live = replace(exact, ranked=change(exact.ranked))
        return evaluate(
            settings,
            "",
            answerer=lambda _: live,
            source=settings_of("source", exchange),
        )["live against exact"]

    same = with_ranked(np.copy)
    assert {name: part["shared"] for name, part in same.items()} == dict.fromkeys(
        same, 1.0
    )
    assert same["ranked"]["users with the same list"] == same["ranked"]["users"] == 24
    assert same["ranked"]["recall@50"] == 0
    worse = with_ranked(np.zeros_like)
    assert worse["ranked"]["shared"] == 0
    assert worse["ranked"]["recall@200"] < 0
    assert worse["fused"]["shared"] == 1
