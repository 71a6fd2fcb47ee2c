from __future__ import annotations

import argparse
from typing import Any

import pytest
from flask import Flask

from data_exchange_center.settings import Settings
from extras.client import ServerError
from extras.trials.__main__ import (
    declaration,
    experiments_table,
    require_server,
)
from extras.trials.state import TrialError
from online.recommend.outcomes import BadRequestError
from tests.unit.extras.conftest import Fakes, serving
from tests.unit.extras.trials import test_changes as made
from tests.unit.online.world import DefaultWorld

LIVE, BEFORE = made.ACTIVE, made.NEW


def arguments(**given: Any) -> argparse.Namespace:
    fields: dict[str, Any] = dict.fromkeys(("share", "horizon_s", "planned_users"))
    arms = f"control=live:3  new={BEFORE}"
    return argparse.Namespace(**{**fields, "name": "ranker", "arms": arms, **given})


def test_an_experiment_is_declared_on_the_command_line() -> None:
    arms = {"control": {"release": LIVE, "weight": 3}, "new": {"release": BEFORE}}
    found = declaration(arguments(share="0.5"), LIVE)
    assert found == made.declaration(arms=arms, share=0.5)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"arms": ""}, "arms"),
        ({"arms": "control"}, "arms"),
        ({"arms": "control=live"}, "arms"),
        ({"arms": "control=live control=live"}, "arms"),
        ({"arms": "control=live:x new=live"}, "arms"),
        ({"arms": "control=live new=short"}, "arms.new.release"),
        ({"name": None}, "name"),
        ({"name": "x2;id"}, "name"),
        ({"share": "many"}, "share"),
        ({"share": 0}, "share"),
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


def test_live_needs_a_live_release() -> None:
    with pytest.raises(TrialError, match="No release is live"):
        declaration(arguments(), None)


@pytest.mark.parametrize("kind", [DefaultWorld], indirect=True)
def test_a_canary_needs_a_server_that_knows_of_canaries(fakes: Fakes) -> None:
    def settings_of(url: str) -> Settings:
        return Settings(server={"port": int(url.rpartition(":")[2])})

    with serving(fakes.app) as url:
        require_server(settings_of(url))
        fakes.trials.down = True
        require_server(settings_of(url))
    with pytest.raises(ServerError):
        require_server(settings_of(url))
    with serving(Flask("without")) as url, pytest.raises(ServerError):
        require_server(settings_of(url))


def test_tables_have_a_row_for_each_trial() -> None:
    found = made.with_experiments(made.declaration("a", share=0.1))
    found = made.changes.stop_experiment(found, "a")
    assert experiments_table(found).row_count == 2
