"""After `make demo` on MovieLens-1M: the source's counts; on any data: fifty films, none of them seen."""

from __future__ import annotations

import pytest

from data_exchange_center import artifacts
from tests.e2e.road import Road, is_ml_1m

ML_1M_COUNTS = {"positive": 575_281, "negative": 424_928, "train": 754_233, "test": 185_576, "holdout": 60_400}


def test_the_counts_are_the_sources(road: Road) -> None:
    if not is_ml_1m(road):
        pytest.skip("MovieLens-1M was not to be had: name it in RECSYS_DATA")
    ratings = artifacts.RATINGS.read(road.settings.exchange_dir)
    clicks = int(ratings["label"].sum())
    found = {"positive": clicks, "negative": len(ratings) - clicks, **ratings["split"].value_counts().to_dict()}
    assert found == ML_1M_COUNTS
    for count in ML_1M_COUNTS.values():
        assert f"{count:,}" in road.output


def test_fifty_films_none_of_them_seen(road: Road) -> None:
    assert len(road.recommend(1).json()["item_list"]) == 50
    road.check_unseen()
