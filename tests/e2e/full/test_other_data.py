"""MovieLens-100K under other file and column names is the same release, byte for byte."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from offline import downloads
from research.fingerprint import differences, fingerprint
from tests.datasets import parsed
from tests.e2e.road import Road, itemids
from tests.made_up_data import exported


def test_other_names_give_the_same_lists_live_beside_the_first_and_back(road: Road, tmp_path: Path) -> None:
    first = road.recommend(1).json()
    one = fingerprint(road.settings)
    data = exported(parsed(downloads.download_ml_100k(tmp_path)), tmp_path / "exported")
    with road.artifacts_kept():
        renamed = dataclasses.replace(road, env={**road.env, "RECSYS_DATA": str(data)})
        second = renamed.wait_for_release(renamed.release())
        other = fingerprint(road.settings)
    assert (one["dataset"], other["dataset"]) == ("ml-100k", "exported")
    assert one["parts"] == other["parts"]  # every file of the release, byte for byte
    assert not list(differences(one, {**other, "dataset": one["dataset"]}))
    assert second["release"] == first["release"]  # the same data, whatever its names
    assert itemids(second) == itemids(first)
    assert itemids(road.go_back(first["release"])) == itemids(first)
