"""Files that are read together belong together, or the step to run again is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_exchange_center import artifacts
from data_exchange_center.artifacts import ArtifactError
from data_exchange_center.columns import Columns, Split
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from offline.readers import read_inputs, read_with_holdout
from tests.synthetic_release import write_artifacts


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    write_artifacts(tmp_path, users=12)
    return Settings(exchange_dir=tmp_path)


def test_the_holdout_is_read_only_where_it_is_asked_for(settings: Settings) -> None:
    past, everything = read_inputs(settings).data, read_with_holdout(settings).data
    assert (everything.lengths - past.lengths == 10).all()


def test_without_artifacts_it_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"s1_data_split\.py: run that step first"):
        read_with_holdout(Settings(exchange_dir=tmp_path))


def test_a_holdout_of_another_length_is_refused(settings: Settings) -> None:
    ratings = artifacts.RATINGS.read(settings.exchange_dir)
    ratings.loc[(ratings[Columns.SPLIT] == Split.HOLDOUT).idxmax(), Columns.SPLIT] = Split.TEST
    artifacts.RATINGS.write(settings.exchange_dir, ratings)
    with pytest.raises(StepError, match="s1_data_split"):
        read_with_holdout(settings)
