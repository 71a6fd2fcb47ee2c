from __future__ import annotations

from collections import Counter

import pytest

from data_exchange_center.steps import StepError
from research.bench.levels import Level
from research.measure import recipes
from research.measure.recipes import (
    BASELINE,
    COMPARED,
    Loaded,
    comparison,
    newest_releases,
    take_turns,
    until_served,
)
from tests.unit.online.answering import Handler, answering


def test_a_switch_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipes, "_SWITCH_S", 0.3)
    with answering() as url:
        until_served(url, [1, 2, 3], "a")
        assert Handler.asked == Counter([1, 2, 3])
        with pytest.raises(StepError, match="does not answer from release a"):
            until_served(url, [1, 7], "a")


def level(concurrency: int, p50_ms: float) -> Level:
    return Level(concurrency, 10, 1000 / p50_ms, p50_ms, 2 * p50_ms, {"total": p50_ms - 1})


def test_the_newest_release_of_each_recipe_on_the_same_data_is_measured() -> None:
    loaded = [
        Loaded("small", COMPARED, "ml-100k"),
        Loaded("new", COMPARED, "ml-1m"),
        Loaded("old", COMPARED, "ml-1m"),
        Loaded("source", BASELINE, "ml-1m"),
    ]
    assert newest_releases(loaded, "ml-1m") == {BASELINE: "source", COMPARED: "new"}
    with pytest.raises(StepError, match=f"{BASELINE!r} on ml-100k .* `RECSYS_RECIPE={BASELINE} make offline sync`"):
        newest_releases(loaded, "ml-100k")


def test_recipes_take_turns_and_the_middle_round_counts() -> None:
    turns: list[str] = []
    p50s = {BASELINE: iter([10.0, 90.0, 11.0]), COMPARED: iter([12.0, 13.0, 99.0])}

    def measured(recipe: str) -> list[Level]:
        turns.append(recipe)
        p50_ms = next(p50s[recipe])
        return [level(1, p50_ms), level(16, 2 * p50_ms)]

    taken = take_turns((BASELINE, COMPARED), 3, measured)
    assert turns == [BASELINE, COMPARED, COMPARED, BASELINE, BASELINE, COMPARED]
    figures = comparison(taken, {BASELINE: "a", COMPARED: "b"})
    assert figures["p50_ratio"] == {"1": round(13 / 11, 3), "16": round(26 / 22, 3)}
    one, many = figures["recipes"][COMPARED]["levels"]
    assert (one["p50_ms"], one["p99_ms"], one["requests"], one["stage_p50_ms"]) == (13.0, 26.0, 30, {"total": 12.0})
    assert many["p50_ms_of_rounds"] == [24.0, 26.0, 198.0]
