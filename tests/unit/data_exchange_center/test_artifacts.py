"""The registry says of every file where it lies and which step makes it."""

from pathlib import Path

import pytest

from data_exchange_center import artifacts
from data_exchange_center.artifacts import ARTIFACTS, RELEASE_PARTS, ArtifactError


def test_a_missing_file_names_the_step_that_makes_it(tmp_path: Path) -> None:
    for artifact in ARTIFACTS:
        with pytest.raises(ArtifactError, match=artifact.made_by):
            artifact.read(tmp_path)


def test_every_file_has_one_entry_and_a_maker_that_exists() -> None:
    paths = [artifact.path for artifact in ARTIFACTS]
    assert len(paths) == len(set(paths))
    assert all(part in ARTIFACTS for part in RELEASE_PARTS)
    root = Path(artifacts.__file__).parents[1]
    for artifact in ARTIFACTS:
        assert (root / artifact.made_by).is_file(), f"{artifact.path} names {artifact.made_by}"
