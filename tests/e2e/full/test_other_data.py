"""Another data set, with another number of genres, goes live in the same stack; going back is one command.

Last in its folder: it leaves another data set's artifacts behind.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from data_exchange_center import artifacts
from offline.data import movielens, sources
from tests.e2e.conftest import Road


def ml_100k(folder: Path, *, with_unknown: bool) -> Path:
    """MovieLens-100K in a folder: 19 genres, or 18 without the genre "unknown"."""
    data = sources.ml_100k_from_wheel()
    if not with_unknown:
        genres = [[genre for genre in names if genre != "unknown"] for names in data.items["genres"]]
        data = dataclasses.replace(data, items=data.items.assign(genres=genres))
    folder.mkdir()
    for name, content in movielens.dump(data).items():
        (folder / name).write_bytes(content)
    return folder


def test_another_data_set_goes_live_beside_the_first_and_back(road: Road, tmp_path: Path) -> None:
    folder = road.settings.exchange_dir
    first = road.recommend(1).json()
    itemids = [item["itemid"] for item in first["item_list"]]
    ml_1m = artifacts.DATASET.read(folder)["name"] == "ml-1m"
    env = {**road.env, "RECSYS_DATA": str(ml_100k(tmp_path / "data", with_unknown=ml_1m))}
    other = dataclasses.replace(road, env=env)

    second = road.wait_for_release(other.release())
    assert second["release"] != first["release"]
    assert len(second["item_list"]) == 50
    counts = artifacts.DATASET.read(folder)["counts"]
    assert (counts["ratings"], counts["users"], counts["items"]) == (100_000, 943, 1_682)

    back = road.run("make", "activate", f"release={first['release']}")
    assert back.returncode == 0, back.stdout
    assert [item["itemid"] for item in road.wait_for_release(first["release"])["item_list"]] == itemids
