from __future__ import annotations

from pathlib import Path

import pytest

from data_exchange_center import artifacts
from data_exchange_center.artifacts import ArtifactError
from data_exchange_center.release import Manifest, release_of_artifacts
from data_exchange_center.settings import Settings
from tests.synthetic_release import write_artifacts


def test_the_same_artifacts_are_the_same_release_wherever_they_lie(tmp_path: Path) -> None:
    for name in ("here", "there"):
        write_artifacts(tmp_path / name, seed=1)
    here = release_of_artifacts(Settings(exchange_dir=tmp_path / "here"))
    there = release_of_artifacts(Settings(exchange_dir=tmp_path / "there"))
    assert here == there


@pytest.mark.parametrize("artifact", artifacts.RELEASE_PARTS, ids=lambda artifact: artifact.path)
def test_another_byte_in_any_part_is_another_release(tmp_path: Path, artifact: artifacts.Binary) -> None:
    write_artifacts(tmp_path)
    settings = Settings(exchange_dir=tmp_path)
    before = release_of_artifacts(settings)
    path = artifact.at(tmp_path)
    if path.suffix == ".json":
        path.write_bytes(path.read_bytes() + b"\n")
    elif path.suffix == ".pt":
        path.write_bytes(path.read_bytes() + b"0")
    else:
        artifact.write(tmp_path, artifact.read(tmp_path).iloc[::-1])  # type: ignore[attr-defined,arg-type]
    assert release_of_artifacts(settings).release != before.release


def test_the_manifest_names_every_part_with_its_size_and_hash(tmp_path: Path) -> None:
    write_artifacts(tmp_path)
    manifest = release_of_artifacts(Settings(exchange_dir=tmp_path))
    assert [part.path for part in manifest.parts] == [artifact.path for artifact in artifacts.RELEASE_PARTS]
    for part in manifest.parts:
        assert part.bytes == (tmp_path / part.path).stat().st_size
        assert part.sha256 == artifacts.sha256(tmp_path / part.path)
    assert Manifest.model_validate_json(manifest.model_dump_json()) == manifest


def test_a_missing_part_names_the_step_that_makes_it(tmp_path: Path) -> None:
    write_artifacts(tmp_path)
    artifacts.ITEM_VECTORS.at(tmp_path).unlink()
    with pytest.raises(ArtifactError, match=r"s2_vector_recall\.py"):
        release_of_artifacts(Settings(exchange_dir=tmp_path))
