from __future__ import annotations

import argparse
from typing import Any

import pytest

from extras.trials.__main__ import declaration
from online.recommend.outcomes import BadRequestError
from tests.unit.extras.trials import test_changes as made

LIVE, BEFORE = made.ACTIVE, made.NEW


def arguments(**given: Any) -> argparse.Namespace:
    arms = f"control=live:3  new={BEFORE}"
    fields = {"share": None, "horizon_s": None, "name": "ranker", "arms": arms}
    return argparse.Namespace(**{**fields, **given})


def test_an_experiment_is_declared_on_the_command_line() -> None:
    arms = {"control": {"release": LIVE, "weight": 3}, "new": {"release": BEFORE}}
    found = declaration(arguments(share=0.5, horizon_s="60"), LIVE)
    assert found == made.declaration(arms=arms, share=0.5, horizon_s=60)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"arms": ""}, "arms"),
        ({"arms": "control new=live"}, "arms.control.release"),
        ({"arms": "control=live"}, "arms"),
        ({"arms": "control=live control=live"}, "arms"),
        ({"arms": "control=live:x new=live"}, "arms.control.weight"),
        ({"arms": "control=live new=short"}, "arms.new.release"),
        ({"name": None}, "name"),
        ({"name": "x2;id"}, "name"),
        ({"share": 1.1}, "share"),
        ({"horizon_s": 0}, "horizon_s"),
    ],
)
def test_a_wrong_command_line_names_the_field(
    given: dict[str, Any], field: str
) -> None:
    with pytest.raises(BadRequestError) as refused:
        declaration(arguments(**given), LIVE)
    assert refused.value.field == field
