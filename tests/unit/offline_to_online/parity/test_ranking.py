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
from data_exchange_center.columns import Columns, Split
from data_exchange_center.recipes import SOURCE
from data_exchange_center.steps import CheckError
from offline.data.terms import clicks, impressions
from offline_to_online.parity import RECOUNTS, Answer, compare, offline_truth, recount
from online.clients.triton import ScoreQuery
from tests.synthetic_release import write_artifacts
from tests.unit.offline_to_online.online_side import USERS, FakeRanker, OnlineSide


def test_a_window_off_by_one_is_caught(folders: dict[str, Path], side: OnlineSide) -> None:
    """The stored statistics cover eleven ratings, the truth ten."""
    wider = SOURCE.data.model_copy(update={"window": SOURCE.data.window + 1})
    wide = recount(folders["source"], offline_truth(folders["source"], side.manifest), wider, USERS).users
    for column in (*impressions(side.spec.genres), *clicks(side.spec.genres)):
        stored = side.features.frames["user"].set_index(Columns.USER, drop=False)
        stored.loc[USERS, column] = wide[column].astype(object)
        side.features.frames["user"] = stored.reset_index(drop=True)
    with pytest.raises(CheckError, match=r"column 'imp_\w+', user \d+, item \d+: offline [\d.]+, online [\d.]+"):
        side.check()


@pytest.mark.parametrize(
    ("recipe", "columns"), [("source", "(imp|click)_"), ("default", "(n_ratings|item_ratings)'.*history_item_0")]
)
def test_the_last_ten_in_the_artifacts_are_caught(tmp_path: Path, recipe: str, columns: str) -> None:
    """The truth is counted from the ratings, so wrong features are found even where both copies of them agree."""
    write_artifacts(tmp_path, recipe=recipe)
    side = OnlineSide(tmp_path, recipe)
    ratings = artifacts.RATINGS.read(tmp_path)
    artifacts.RATINGS.write(tmp_path, ratings.assign(split=ratings[Columns.SPLIT].replace(Split.HOLDOUT, Split.TEST)))
    counted = recount(tmp_path, offline_truth(tmp_path, side.manifest), side.manifest.recipe.data, USERS)
    seen = {userid: replace(row, seen=side.truth.states[userid].seen) for userid, row in counted.states.items()}
    side.truth = replace(counted, states=seen)
    with pytest.raises(CheckError, match=f"column '{columns}"):
        side.check()


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda first, second, *rest: (second, first, *rest), id="two are swapped"),
        pytest.param(lambda *all: tuple(each.model_copy(update={"scale": each.scale + 1}) for each in all), id="scale"),
    ],
)
def test_other_dense_columns_are_caught(side: OnlineSide, change: Callable[..., tuple[Any, ...]]) -> None:
    first, second, *_ = side.spec.dense
    spec = side.spec.model_copy(update={"dense": change(*side.spec.dense)})
    spec = type(spec).model_validate(spec.model_dump())  # nothing cached
    side.served = side.served.model_copy(update={"feature_spec": spec})
    with pytest.raises(CheckError, match=f"column '{first.name}'.*column '{second.name}'"):
        side.check()


def test_a_null_is_caught_and_named(side: OnlineSide) -> None:
    users = side.features.frames["user"]
    users.loc[users[Columns.USER] == 7, "age"] = None
    with pytest.raises(CheckError, match=r"column 'age', user 7: online has no value \(null\)"):
        side.check()


@pytest.mark.parametrize("drift", [2e-5, np.nan])
def test_another_model_is_caught_in_the_score_alone(side: OnlineSide, drift: float) -> None:
    class Drifted(FakeRanker):
        def _call(self, query: ScoreQuery) -> NDArray[np.float32]:
            return super()._call(query) + np.float32(drift)

    side.ranker = Drifted(side.truth)
    with pytest.raises(CheckError, match=r"1e-05: column 'score', user \d+, item \d+"):
        side.check()


@pytest.mark.parametrize(("value", "gap"), [(0.0, 0.9e-5), (0.0, 1.1e-5), (100.0, 0.9e-3), (100.0, 1.1e-3)])
def test_the_tolerance_is_where_it_is_said_to_be(side: OnlineSide, value: float, gap: float) -> None:
    """1e-5, relative to values above 1."""
    itemids = np.array([row.itemid for row in side.items.rows[:2]])
    shape = (2, len(side.truth.columns))
    offline = Answer(
        own_id=2,
        userid=2,
        timestamp=0,
        found={},
        itemids=itemids,
        recalled=np.zeros(shape, np.float32),
        rows=np.zeros((2, side.spec.width), np.float32),
        scores=np.array([0, value], np.float32),
    )
    online = replace(offline, scores=np.array([0, value + gap], np.float32))
    attempt: Callable[[], dict[str, float]] = lambda: compare([offline], [online], side.truth)  # noqa: E731
    if gap > 1e-5 * max(1, value):
        with pytest.raises(CheckError, match=f"user 2, item {itemids[1]}"):
            attempt()
    else:
        assert attempt()["score"] == pytest.approx(gap / max(1, value), rel=1e-2)


def test_a_statistic_that_nobody_counts_again_is_refused(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(RECOUNTS, "item_likes")
    with pytest.raises(CheckError, match=r"feature 'item_likes' is counted in one place only.*/parity\.py"):
        OnlineSide(folders["default"], "default")
