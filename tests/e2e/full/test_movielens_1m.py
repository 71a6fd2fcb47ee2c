"""`make demo` with MovieLens-1M: the source's counts, and films that nobody has seen; its AUC by its recipe."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from data_exchange_center import artifacts
from data_exchange_center.settings import Settings
from tests.e2e.pipeline import DEMO_SECONDS, Pipeline, demo
from tests.needs import not_tested

COUNTS = {
    "positive": 575_281,
    "negative": 424_928,
    "train": 754_233,
    "test": 185_576,
    "holdout": 60_400,
}
DATA = os.environ.get("RECSYS_DATA", "")  # before the other tests' demo names its own

pytestmark = pytest.mark.skipif(
    "ml-1m" not in DATA,
    reason=not_tested("MovieLens-1M", "make test-full RECSYS_DATA=/path/to/ml-1m.zip"),
)


@pytest.fixture(scope="module")
def million(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    with demo(
        tmp_path_factory.mktemp("million") / "exchange", 9_000, RECSYS_DATA=DATA
    ) as pipeline:
        yield pipeline


def test_counts_equal_the_sources_and_no_seen_film_is_served(million: Pipeline) -> None:
    ratings = artifacts.RATINGS.read(million.settings.artifacts_dir)
    clicks = int(ratings["label"].sum())
    found = {
        "positive": clicks,
        "negative": len(ratings) - clicks,
        **ratings["split"].value_counts().to_dict(),
    }
    assert found == COUNTS
    for count in COUNTS.values():
        assert f"{count:,}" in million.output
    million.check_unseen()


def test_the_sources_recipe_reaches_the_sources_auc(tmp_path: Path) -> None:
    """Its steps assert the source's counts and AUC themselves."""
    env = os.environ | {
        "RECSYS_DATA": DATA,
        "RECSYS_EXCHANGE_DIR": str(tmp_path),
        "RECSYS_RECIPE": "source",
    }
    done = Pipeline(env, Settings(), "").run("make", "offline", seconds=DEMO_SECONDS)
    assert done.returncode == 0, done.stdout
    made = Settings(exchange_dir=tmp_path, recipe_name="source").artifacts_dir
    assert artifacts.RANK_REPORT.read(made)["auc"]["test"] >= 0.8206
