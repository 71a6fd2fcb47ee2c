"""Break one thing at a time in what the server ranks by; each must be caught and named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from data_exchange_center import artifacts
from data_exchange_center.columns import Columns, Split, clicks, genre_flag, impressions
from data_exchange_center.recipes import SOURCE
from data_exchange_center.steps import CheckError
from offline_to_online.parity.compare import Parity, compare
from offline_to_online.parity.offline_truth import offline_truth, recount
from offline_to_online.parity.online_answers import Answer
from online.clients.triton import ScoreQuery
from tests.synthetic_release import write_artifacts
from tests.unit.offline_to_online.parity_road import USERS, FakeRanker, Road


def test_a_window_off_by_one_is_caught(folders: dict[str, Path], road: Road) -> None:
    """The stored statistics cover eleven ratings, the truth ten."""
    wider = SOURCE.data.model_copy(update={"window": SOURCE.data.window + 1})
    wide = recount(folders["source"], offline_truth(folders["source"], road.manifest), wider, USERS).users
    for genre in road.spec.genres:
        for column in (impressions(genre), clicks(genre)):
            stored = road.features.frames["user"].set_index(Columns.USER, drop=False)
            stored.loc[USERS, column] = wide[column].astype(object)
            road.features.frames["user"] = stored.reset_index(drop=True)
    with pytest.raises(CheckError, match=r"column 'imp_\w+', user \d+, item \d+: offline [\d.]+, online [\d.]+"):
        road.check()


@pytest.mark.parametrize(
    ("recipe", "columns"), [("source", "(imp|click)_"), ("default", "(n_ratings|item_ratings)'.*history_item_0")]
)
def test_the_last_ten_in_the_artifacts_are_caught(tmp_path: Path, recipe: str, columns: str) -> None:
    """The truth is counted from the ratings, so wrong features are found even where both copies of them agree."""
    write_artifacts(tmp_path, recipe=recipe)
    road = Road(tmp_path, recipe)
    ratings = artifacts.RATINGS.read(tmp_path)
    artifacts.RATINGS.write(tmp_path, ratings.assign(split=ratings[Columns.SPLIT].replace(Split.ONLINE, Split.TEST)))
    counted = recount(tmp_path, offline_truth(tmp_path, road.manifest), road.manifest.recipe.data, USERS)
    seen = {userid: replace(row, seen=road.truth.states[userid].seen) for userid, row in counted.states.items()}
    road.truth = replace(counted, states=seen)
    with pytest.raises(CheckError, match=f"column '{columns}"):
        road.check()


def test_two_swapped_columns_are_caught(road: Road) -> None:
    first, second, *rest = road.spec.dense
    serve_dense(road, (second, first, *rest))
    with pytest.raises(CheckError, match=f"column '{first.name}'.*column '{second.name}'"):
        road.check()


def test_a_wrong_scale_is_caught(road: Road) -> None:
    dense = tuple(feature.model_copy(update={"scale": feature.scale + 1}) for feature in road.spec.dense)
    serve_dense(road, dense)
    with pytest.raises(CheckError, match=f"column '{dense[0].name}'"):
        road.check()


def serve_dense(road: Road, dense: tuple[Any, ...]) -> None:
    spec = road.spec.model_copy(update={"dense": dense})
    spec = type(spec).model_validate(spec.model_dump())  # nothing cached
    road.served = road.served.model_copy(update={"feature_spec": spec})


def test_stale_item_features_are_caught(road: Road) -> None:
    """One item still has the genres of an older release."""
    stale, column = int(road.items.rows[3].itemid), genre_flag(road.spec.genres[1])
    items = road.features.frames["item"]
    here = items[Columns.ITEM] == stale
    items.loc[here, column] = 1 - items.loc[here, column]
    with pytest.raises(CheckError, match=rf"column '{column}', user \d+, item {stale}:"):
        road.check()


def test_stale_counts_of_an_item_are_caught(history_road: Road) -> None:
    stale = int(history_road.items.rows[3].itemid)
    items = history_road.features.frames["item"]
    items.loc[items[Columns.ITEM] == stale, "item_likes"] += 1
    with pytest.raises(CheckError, match=rf"column 'item_likes', user \d+, item {stale}:"):
        history_road.check()


def test_a_null_is_caught_and_named(road: Road) -> None:
    users = road.features.frames["user"]
    users.loc[users[Columns.USER] == 7, "age"] = None
    with pytest.raises(CheckError, match=r"column 'age', user 7: online has no value \(null\)"):
        road.check()


def test_a_null_that_became_zero_is_caught(road: Road) -> None:
    column = impressions(road.spec.genres[0])
    userid = USERS[int(road.truth.users.loc[USERS, column].to_numpy().argmax())]
    users = road.features.frames["user"]
    users.loc[users[Columns.USER] == userid, column] = 0
    with pytest.raises(CheckError, match=rf"column '{column}', user {userid}, item \d+: .* online 0 "):
        road.check()


def test_another_model_is_caught_in_the_score_alone(road: Road) -> None:
    class Drifted(FakeRanker):
        def _call(self, query: ScoreQuery) -> NDArray[np.float32]:
            return super()._call(query) + np.float32(2e-5)

    road.ranker = Drifted(road.truth)
    with pytest.raises(CheckError, match=r"1e-05: column 'score', user \d+, item \d+"):
        road.check()


def test_a_score_that_is_no_number_is_caught(road: Road) -> None:
    class Broken(FakeRanker):
        def _call(self, query: ScoreQuery) -> NDArray[np.float32]:
            return np.full(len(query.rows), np.nan, np.float32)

    road.ranker = Broken(road.truth)
    with pytest.raises(CheckError, match="column 'score'"):
        road.check()


@pytest.mark.parametrize(("value", "gap"), [(0.0, 0.9e-5), (0.0, 1.1e-5), (100.0, 0.9e-3), (100.0, 1.1e-3)])
def test_the_tolerance_is_where_it_is_said_to_be(road: Road, value: float, gap: float) -> None:
    """1e-5, relative to values above 1."""
    itemids = np.array([row.itemid for row in road.items.rows[:2]])
    shape = (2, len(road.truth.recall.columns))
    offline = Answer(
        userid=2,
        timestamp=0,
        found={},
        itemids=itemids,
        recalled=np.zeros(shape, np.float32),
        rows=np.zeros((2, road.spec.width), np.float32),
        scores=np.array([0, value], np.float32),
    )
    online = replace(offline, scores=np.array([0, value + gap], np.float32))
    attempt: Callable[[], Parity] = lambda: compare([offline], [online], road.truth)  # noqa: E731
    if gap > 1e-5 * max(1, value):
        with pytest.raises(CheckError, match=f"user 2, item {itemids[1]}"):
            attempt()
    else:
        assert attempt().groups["score"] == pytest.approx(gap / max(1, value), rel=1e-2)
