"""examples/recent_channel.py, a third channel without vectors: fitted, taught with, released and served."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from data_exchange_center import artifacts
from data_exchange_center.channels import ChannelSet
from data_exchange_center.columns import Columns, Split
from data_exchange_center.fusion import candidate_columns
from data_exchange_center.history import History
from data_exchange_center.recipes import (
    RECIPES,
    EaseRecipe,
    FMRecipe,
    ListRankerRecipe,
    RecallRecipe,
    Recipe,
    TrainRecipe,
)
from data_exchange_center.release_parts import release_of_artifacts
from data_exchange_center.settings import Settings
from data_exchange_center.wire import vector_of
from examples.recent_channel import DAY_S, RecentRecipe
from offline.evaluation.evaluate import evaluate
from offline_to_online.rows import item_rows, sampled_searches
from offline_to_online.stores.elasticsearch import item_mapping
from tests.synthetic_release import write_artifacts
from tests.unit.examples.conftest import walked_with
from tests.unit.offline_to_online.online_side import OnlineSide

RECENT: Final = RecentRecipe(days=40, fusion_weight=0.5)
FM: Final = FMRecipe(dim=4, train=TrainRecipe(epochs=1, batch_size=64, learning_rate=0.01, weight_decay=0))
RANKER: Final = ListRankerRecipe(history=5, kernels=2, hidden=(8,), epochs=2, batch_size=32, stride=2)
MINE: Final = Recipe(
    name="mine",
    recall=RecallRecipe(channels=(EaseRecipe(dim=8, l2=10.0), RECENT, FM), candidates=30, num_candidates=30),
    ranker=RANKER,
)
ALONE: Final = MINE.model_copy(update={"name": "alone", "recall": RecallRecipe(channels=(RECENT,), candidates=30)})


@pytest.fixture(scope="module", autouse=True)
def registered() -> Iterator[None]:
    """Two recipes that use it."""
    with pytest.MonkeyPatch.context() as patch:
        for recipe in (MINE, ALONE):
            patch.setitem(RECIPES, recipe.name, recipe)
        yield


@pytest.fixture(scope="module", params=[MINE, ALONE], ids=lambda recipe: recipe.name)
def walked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return walked_with(request.param, tmp_path_factory.mktemp("walked"))


def liked_recently(folder: Path, timestamp: int, seen: set[int]) -> list[int]:
    """The channel's list, counted again from the ratings."""
    ratings = artifacts.RATINGS.read(folder)
    day, today = ratings[Columns.TIMESTAMP] // DAY_S, timestamp // DAY_S
    window = (day >= today - RECENT.days) & (day < today)
    liked = ratings[window & (ratings[Columns.LABEL] == 1) & (ratings[Columns.SPLIT] != Split.HOLDOUT)]
    counts = liked[Columns.ITEM].value_counts().drop(list(seen), errors="ignore")
    return sorted(counts.index, key=lambda item: (-counts[item], item))


def test_the_release_holds_counts_and_no_vectors_of_it(walked: Settings) -> None:
    manifest = release_of_artifacts(walked)
    recall = walked.recipe.recall
    assert list(manifest.vector_dims) == [channel.name for channel in recall.channels if channel.kind != "recent"]
    fields = item_mapping(manifest.vector_dims, {"type": "flat"})["properties"]
    assert vector_of("recent") not in fields
    assert vector_of("recent") not in artifacts.ITEM_VECTORS.read(walked.exchange_dir)
    assert manifest.feature_spec.candidate == candidate_columns([channel.name for channel in recall.channels])
    held = artifacts.CHANNELS.read_as(walked.exchange_dir, ChannelSet.unpack).channels
    assert [channel.form for channel in held][-1] == "liked_recently"
    assert held[-1].arrays().keys() == {"first_day", "likes", "days"}


def test_what_it_finds_is_what_the_days_before_each_request_liked(walked: Settings) -> None:
    folder, channels = walked.exchange_dir, artifacts.CHANNELS.read_as(walked.exchange_dir, ChannelSet.unpack)
    states = artifacts.USER_STATE.read(folder).set_index(Columns.USER)
    seen = artifacts.USER_SEEN.read(folder).set_index(Columns.USER)[Columns.SEEN]
    lengths = set()
    for user, day in ((50, 10_120), (150, 10_200), (300, 10_281), (300, 10_315), (300, 10_330)):
        history = [states.loc[user, name].astype(np.int64) for name in (Columns.ITEMS, Columns.RATINGS, Columns.TIMES)]
        at = day * DAY_S + 7
        found = channels.lists(History(*history), states.loc[user, Columns.PROFILE], at, seen[user], 500)["recent"]
        assert found.ids.tolist() == liked_recently(folder, at, set(seen[user]))
        lengths.add(len(found.ids))
    assert min(lengths) == 0 < max(lengths)  # long after the data ends, nothing is recent


def test_the_evaluation_has_a_row_of_it(walked: Settings) -> None:
    found = evaluate(walked, "make evaluate-offline")
    name = walked.recipe.name
    assert {f"{name}: channel recent", f"{name}: recall", f"{name}: ranked"} <= found["table"].keys()
    assert found["funnel"]["10"]["channels"]["recent"]["found"] > 0


def test_offline_and_online_agree_on_it(tmp_path: Path) -> None:
    """The server's own recall over fakes, against the offline truth."""
    write_artifacts(tmp_path, recipe="mine")
    side = OnlineSide(tmp_path, "mine")
    assert max(side.check().values()) <= 1e-6
    assert set(sampled_searches(tmp_path, side.manifest, 5)) == set(side.manifest.vector_dims)
    assert all(vector_of("recent") not in row.vectors for row in item_rows(tmp_path))
