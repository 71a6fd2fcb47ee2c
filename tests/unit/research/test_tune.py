"""Validation of the recipe's numbers and of diversity."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_exchange_center.recipes import EaseRecipe
from data_exchange_center.settings import Settings
from research.rivals import contest
from research.rivals.contest import Fitted, Rival, best_fusion
from tests.unit.extras.replay.conftest import settings_of

# Validation of the recipe's numbers and of diversity.


# Rivals: what is tried, chosen, fused and kept.


def test_a_list_joins_while_that_helps() -> None:
    lists = {
        "good": np.array([[1, 2, 3]]),
        "better": np.array([[2, 1, 3]]),
        "bad": np.array([[3, 3, 3]]),
    }

    def value(made: np.ndarray) -> float:
        return float(made[0, 0] == 2) + 0.1 * (made[0, 1] == 1)

    assert best_fusion(lists, value, 3) == {"better": 1.0}


def test_rivals_are_chosen_on_validation_and_resumed(
    exchange: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: Settings = settings_of("default", exchange)
    fits: list[str] = []

    def counted(folder: Path, *given: object) -> Fitted:
        fits.append(folder.name)
        return contest.popularity(folder, *given)  # type: ignore[arg-type]

    rivals = {
        "popularity": Rival({"days": (1, 20_000)}, counted),
        "EASE": Rival(
            {"l2": (1.0,), "dim": (4,)}, partial(contest.channel, EaseRecipe)
        ),
        "Markov chain": Rival({"lags": (3,)}, contest.RIVALS["Markov chain"].fit),
    }
    monkeypatch.setattr(contest, "RIVALS", rivals)

    def report() -> dict[str, Any]:
        (path,) = (settings.offline_dir / "evaluation").glob("rivals*.json")
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found

    contest.main(settings, only=["EASE"])
    assert report()["measured"]["finished"] is False
    contest.main(settings, only=["popularity"])
    assert [*report()["rows"]] == ["EASE", "popularity", contest.FUSION]
    assert len(fits) == len(set(fits)) == 3  # two settings on validation, one on test
    contest.main(settings)
    assert len(fits) == 3
    found = report()
    assert "finished" not in found["measured"]
    assert set(found["rows"]) == {*rivals, contest.FUSION}
    best = max(found["tried"]["popularity"], key=lambda each: each["ndcg@50"])
    assert found["rows"]["popularity"]["setting"] == best["setting"]
