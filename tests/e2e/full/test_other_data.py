"""Another data set, with another number of genres, goes live in the same stack; going back is one command.

Last in its folder: it leaves another data set's artifacts behind.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from data_exchange_center import artifacts
from tests.e2e.road import Road, is_ml_1m, itemids, ml_100k


def test_another_data_set_goes_live_beside_the_first_and_back(road: Road, tmp_path: Path) -> None:
    folder = road.settings.exchange_dir
    first = road.recommend(1).json()
    env = {**road.env, "RECSYS_DATA": str(ml_100k(tmp_path / "data", with_unknown=is_ml_1m(road)))}
    other = dataclasses.replace(road, env=env)

    second = road.wait_for_release(other.release())
    assert second["release"] != first["release"]
    assert len(second["item_list"]) == 50
    counts = artifacts.DATASET.read(folder)["counts"]
    assert (counts["ratings"], counts["users"], counts["items"]) == (100_000, 943, 1_682)

    back = road.run("make", "activate", f"release={first['release']}")
    assert back.returncode == 0, back.stdout
    assert itemids(road.wait_for_release(first["release"])) == itemids(first)
