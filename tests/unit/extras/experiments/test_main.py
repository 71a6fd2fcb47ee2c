from __future__ import annotations

import pytest

from extras.experiments.__main__ import arms
from extras.experiments.changes import Kept

LIVE, OTHER = "aaaaaaaaaaaa", "bbbbbbbbbbbb"


@pytest.mark.parametrize("texts", [["control=live:3", f"new={OTHER}"], [f"control=live:3  new={OTHER}"]])
def test_arms_may_come_as_one_text_as_make_hands_them_over(texts: list[str]) -> None:
    assert arms(texts, Kept(LIVE, {})) == {
        "control": {"release": LIVE, "weight": 3},
        "new": {"release": OTHER, "weight": 1},
    }
