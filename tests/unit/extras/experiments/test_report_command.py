from __future__ import annotations

import pytest

from data_exchange_center.steps import StepError
from extras.experiments.report_command import dataset_of
from tests.unit.extras.experiments.test_outcomes import experiment
from tests.unit.online.fakes import FakeUsers
from tests.unit.online.world import DefaultWorld

LIVE = "cccccccccccc"


def live(name: str) -> FakeUsers:
    """A release of that data set alone is kept."""
    return FakeUsers(DefaultWorld(release=LIVE, name=name), live=LIVE)


def test_the_live_release_says_what_events_mean_where_it_is_of_the_experiments_data_set() -> None:
    assert dataset_of(experiment(), live("films")).base_name == "films"  # type: ignore[arg-type]
    with pytest.raises(StepError, match="No release of data set films is kept"):
        dataset_of(experiment(), live("books"))  # type: ignore[arg-type]
