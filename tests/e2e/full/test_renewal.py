"""`make renew` with injected faults: each candidate is refused, or the renewal resumes; the live release answers on."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from data_exchange_center.release_parts import release_of_artifacts
from tests.datasets import dumped, parsed
from tests.e2e.road import DEMO_SECONDS, Road, itemids


def renew(road: Road, **variables: str) -> str:
    """What `make renew` prints."""
    return replace(road, env={**road.env, **variables}).run("make", "renew", seconds=DEMO_SECONDS).stdout


def report(road: Road) -> dict[str, Any]:
    path = road.settings.service_dir("renewal") / "report.json"
    return dict(json.loads(path.read_text(encoding="utf-8")))


def half(ratings: pd.DataFrame) -> pd.DataFrame:
    return ratings[::2]


def shuffled(ratings: pd.DataFrame) -> pd.DataFrame:
    return ratings.assign(rating=np.random.default_rng(0).permutation(ratings["rating"]))


@pytest.mark.parametrize(
    ("damage", "said"), [(half, "less than 90% are left"), (shuffled, "the candidate's NDCG@50 is 0.")]
)
def test_damaged_data(road: Road, tmp_path: Path, damage: Callable[[pd.DataFrame], pd.DataFrame], said: str) -> None:
    before = road.recommend(1).json()
    data = parsed(Path(road.env["RECSYS_DATA"]))
    printed = renew(road, RECSYS_DATA=str(dumped(data._replace(ratings=damage(data.ratings)), tmp_path)))
    assert "RefusedError: " in printed, printed
    assert said in printed, printed
    assert report(road)["verdict"] == "refused"
    after = road.recommend(1).json()
    assert (after["release"], itemids(after)) == (before["release"], itemids(before))
    assert release_of_artifacts(road.settings).release == before["release"]


def test_a_worse_recipe(road: Road) -> None:
    before = road.recommend(1).json()
    printed = renew(road, RECSYS_RECIPE="source")
    assert "RefusedError: on the newest events of " in printed, printed
    assert report(road)["gate"]["high"] < 0
    assert road.recommend(1).json()["release"] == before["release"]


def test_a_service_that_dies_in_the_middle(road: Road, tmp_path: Path) -> None:
    """The candidate is the live release under another recipe's name, so it is as good."""
    before = road.recommend(1).json()
    path = tmp_path / "twin.json"
    path.write_text(road.settings.recipe.model_copy(update={"name": "twin"}).model_dump_json(), encoding="utf-8")
    with road.artifacts_kept():
        road.stack("down", "triton")
        try:
            printed = renew(road, RECSYS_RECIPE=str(path))
            assert "the live release answers on" in printed, printed
            assert road.recommend(1, strict=False).json()["release"] == before["release"]
        finally:
            road.stack("up", "triton")
        gate = report(road)["gate"]
        assert gate["difference"] == pytest.approx(0, abs=1e-3)
        printed = renew(road, RECSYS_RECIPE=str(path))
        assert '"verdict": "activated"' in printed, printed
        assert "=== offline/" not in printed  # nothing is trained again
        assert road.wait_for_release(report(road)["candidate"])
        road.go_back(before["release"])
