"""The search for a rival's setting."""

from __future__ import annotations

from typing import Any

import numpy as np

from offline.evaluation.replay import Holdout
from research.baselines.contract import Fitted, Rival, Setting
from research.baselines.search import SELECTED_BY, Measured, best, over, searched


def never(_: Holdout, __: Setting) -> Fitted:
    raise AssertionError


RIVAL = Rival("any", {"a": 1, "b": 1}, {"a": (2, 3), "b": (2, 3)}, never)


def value(setting: Setting) -> float:
    """Best at a = 3, b = 2; a = 3 is only better once b is 2."""
    return float(setting["b"] == 2) + (setting["a"] == 3) * (0.5 if setting["b"] == 2 else -0.5)


def measured(setting: Setting) -> Measured:
    return {SELECTED_BY: value(setting)}


def test_one_value_after_the_other_until_nothing_helps() -> None:
    tried = list(searched(RIVAL, [], measured))
    settings = [tuple(each["setting"].values()) for each in tried]
    assert len(set(settings)) == len(settings) < 9
    assert settings[:5] == [(1, 1), (2, 1), (3, 1), (1, 2), (1, 3)]
    assert best(tried, RIVAL) == {"a": 3, "b": 2}


def test_what_was_tried_is_not_tried_again() -> None:
    whole = list(searched(RIVAL, [], measured))
    kept = whole[:4]
    assert not over(RIVAL, kept)
    for entry in searched(RIVAL, list(kept), measured):
        kept.append(entry)
    assert kept == whole
    assert over(RIVAL, kept)


def test_one_round_looks_at_each_setting_once() -> None:
    once = Rival("once", RIVAL.first, RIVAL.others, never, rounds=1)
    tried = list(searched(once, [], measured))
    assert best(tried, once) == {"a": 1, "b": 2}
    assert over(once, tried)


def test_of_equals_the_first_tried_is_kept() -> None:
    same: list[dict[str, Any]] = list(searched(RIVAL, [], lambda _: {SELECTED_BY: np.float64(0.5)}))
    assert best(same, RIVAL) == RIVAL.first
    assert best([], RIVAL) == RIVAL.first
