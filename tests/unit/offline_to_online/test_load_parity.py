"""Break one thing at a time on the online side; each must be caught and named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from data_exchange_center import artifacts, wire
from data_exchange_center.artifacts import ArtifactError
from data_exchange_center.columns import Columns, Split, clicks, genre_flag, impressions
from data_exchange_center.features import DenseFeature, FeatureSpec
from data_exchange_center.release import Published, read_feature_spec, release_of_artifacts
from data_exchange_center.settings import Settings
from offline_to_online.load.feast_rows import feature_frames
from offline_to_online.load.offline_truth import OfflineTruth, offline_truth, recount
from offline_to_online.load.parity import Parity, Services, compare, offline_pairs, online_pairs
from offline_to_online.load.redis_rows import user_rows
from offline_to_online.load.services import CheckError
from online.clients.base import Client
from online.clients.elastic import Hits, ItemQuery
from online.clients.feast import FeatureQuery, FeatureRows, feature_rows
from online.clients.redis import StoredUser, UserAnswer, UserQuery
from online.clients.triton import ScoreQuery
from tests.synthetic_release import WINDOW, write_artifacts

USERS = list(range(1, 21))


def with_dense(spec: FeatureSpec, *dense: DenseFeature) -> FeatureSpec:
    return FeatureSpec(one_hot=spec.one_hot, multi_hot=spec.multi_hot, dense=dense, genres=spec.genres)


class _Fake(Client[Any, Any]):
    service = "fake"

    def _ping(self) -> str:
        return "1"

    def close(self) -> None:
        pass


class FakeUsers(_Fake):
    def __init__(self, folder: Path) -> None:
        self.rows = {row.userid: row for row in user_rows(folder)}

    def _call(self, query: UserQuery) -> UserAnswer:
        row = self.rows.get(query.userid)
        user = None if row is None else StoredUser(tuple(row.genres.tolist()), row.vector, row.seen)
        return UserAnswer(live=None, user=user)


class FakeItems(_Fake):
    def __init__(self, itemids: list[int]) -> None:
        self.itemids, self.filters = itemids, True

    def _call(self, query: ItemQuery) -> Hits:
        seen = set(np.asarray(query.seen).tolist()) if self.filters else set()
        found = [itemid for itemid in self.itemids if itemid not in seen]
        return Hits(np.array(found, np.int32), np.zeros(len(found), np.float32))


class FakeFeatures(_Fake):
    def __init__(self, frames: dict[Any, pd.DataFrame]) -> None:
        self.frames = {entity: frame.astype(object) for entity, frame in frames.items()}

    def _call(self, query: FeatureQuery) -> FeatureRows:
        key = wire.FEAST_KEY[query.entity]
        found = self.frames[query.entity].set_index(key, drop=False).loc[list(query.ids)]
        answer = {
            "metadata": {"feature_names": list(found.columns)},
            "results": [{"values": found[name].tolist()} for name in found.columns],
        }
        return feature_rows(key, list(query.ids), answer)


class FakeRanker(_Fake):
    def __init__(self, truth: OfflineTruth) -> None:
        self.truth = truth

    def _call(self, query: ScoreQuery) -> NDArray[np.float32]:
        return self.truth.scores(query.rows)


class Road:
    """A whole online side made of fakes, and the offline truth beside it."""

    def __init__(self, folder: Path) -> None:
        settings = Settings(exchange_dir=folder)
        self.manifest = release_of_artifacts(settings)
        self.truth = recount(folder, offline_truth(folder), WINDOW, USERS)
        self.users, self.items = FakeUsers(folder), FakeItems(self.truth.items.index.tolist()[:50])
        self.features = FakeFeatures(feature_frames(folder, self.manifest.feature_spec))
        self.ranker = FakeRanker(self.truth)
        self.spec: FeatureSpec = self.manifest.feature_spec

    def check(self) -> Parity:
        published = Published(manifest=self.manifest.model_copy(update={"feature_spec": self.spec}), triton_version=1)
        services = Services(self.users, self.items, self.features, self.ranker)
        online = online_pairs(services, published, USERS)
        return compare(offline_pairs(self.truth, online.userids, online.itemids), online, self.truth)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_artifacts(tmp_path)
    return tmp_path


@pytest.fixture
def road(folder: Path) -> Road:
    return Road(folder)


def test_an_honest_road_agrees_in_every_column_and_the_score(road: Road) -> None:
    parity = road.check()
    assert parity.users == len(USERS)
    assert parity.pairs > 500
    assert list(parity.groups) == ["one-hot (5 columns)", "multi-hot (4 columns)", "dense (8 columns)", "score"]
    assert max(parity.groups.values()) <= 1e-6


def test_a_window_off_by_one_is_caught(folder: Path, road: Road) -> None:
    """The stored statistics cover eleven ratings, the truth ten."""
    wide = recount(folder, offline_truth(folder), WINDOW + 1, USERS).users
    for genre in road.spec.genres:
        for column in (impressions(genre), clicks(genre)):
            stored = road.features.frames["user"].set_index(Columns.USER, drop=False)
            stored.loc[USERS, column] = wide[column].astype(object)
            road.features.frames["user"] = stored.reset_index(drop=True)
    with pytest.raises(CheckError, match=r"column 'imp_\w+', user \d+, item \d+: offline [\d.]+, online [\d.]+"):
        road.check()


def test_the_last_ten_in_the_statistics_are_caught(folder: Path, road: Road) -> None:
    """The truth is counted from the ratings, so wrong features are found even where both copies of them agree."""
    ratings = artifacts.RATINGS.read(folder)
    artifacts.RATINGS.write(folder, ratings.assign(split=ratings[Columns.SPLIT].replace(Split.ONLINE, Split.TEST)))
    road.truth = recount(folder, offline_truth(folder), WINDOW, USERS)
    with pytest.raises(CheckError, match=r"column '(imp|click)_"):
        road.check()


def test_two_swapped_columns_are_caught(road: Road) -> None:
    first, second, *rest = road.spec.dense
    road.spec = with_dense(road.spec, second, first, *rest)
    with pytest.raises(CheckError, match=f"column '{first.name}'.*column '{second.name}'"):
        road.check()


def test_a_wrong_scale_is_caught(road: Road) -> None:
    dense = tuple(feature.model_copy(update={"scale": feature.scale + 1}) for feature in road.spec.dense)
    road.spec = with_dense(road.spec, *dense)
    with pytest.raises(CheckError, match=f"column '{dense[0].name}'"):
        road.check()


def test_stale_item_features_are_caught(road: Road) -> None:
    """One item still has the genres of an older release."""
    stale, column = road.items.itemids[3], genre_flag(road.spec.genres[1])
    items = road.features.frames["item"]
    here = items[Columns.ITEM] == stale
    items.loc[here, column] = 1 - items.loc[here, column]
    with pytest.raises(CheckError, match=rf"column '{column}', user \d+, item {stale}:"):
        road.check()


def test_a_null_is_caught_and_named(road: Road) -> None:
    users = road.features.frames["user"]
    users.loc[users[Columns.USER] == 7, "age"] = None
    with pytest.raises(CheckError, match=r"column 'age', user 7: online has no value \(null\)"):
        road.check()


def test_a_null_that_became_zero_is_caught(road: Road) -> None:
    column = impressions(road.spec.genres[0])
    userid = int(road.truth.users.loc[USERS, column].idxmax())
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


def test_a_seen_item_among_the_candidates_is_caught(road: Road) -> None:
    road.items.filters = False
    with pytest.raises(CheckError, match=r"user \d+: Elasticsearch gave seen items"):
        road.check()


def test_a_user_who_is_not_in_redis_is_named(road: Road) -> None:
    del road.users.rows[5]
    with pytest.raises(CheckError, match="user 5: Redis does not know"):
        road.check()


@pytest.mark.parametrize("gap", [0.9e-5, 1.1e-5])
def test_the_tolerance_is_where_it_is_said_to_be(road: Road, gap: float) -> None:
    userids, itemids = np.array([1, 2]), np.array(road.items.itemids[:2])
    offline = replace(offline_pairs(road.truth, userids, itemids), scores=np.zeros(2, np.float32))
    online = replace(offline, scores=np.array([0, gap], np.float32))
    attempt: Callable[[], Parity] = lambda: compare(offline, online, road.truth)  # noqa: E731
    if gap > 1e-5:
        with pytest.raises(CheckError, match="user 2"):
            attempt()
    else:
        assert attempt().groups["score"] == pytest.approx(gap)


def test_features_of_fewer_users_than_recall_knows_are_one_sentence(folder: Path) -> None:
    users = artifacts.USER_FEATURES.read(folder)
    artifacts.USER_FEATURES.write(folder, users[users[Columns.USER] != 7])
    with pytest.raises(ArtifactError, match=r"user_features\.parquet: user 7,.*s1_feature_engi\.py"):
        recount(folder, offline_truth(folder), WINDOW, USERS)


@pytest.mark.parametrize("damage", [b"", b"no weights", b"PK\x03\x04"])
def test_damaged_weights_are_one_sentence(folder: Path, damage: bytes) -> None:
    artifacts.RANK_WEIGHTS.write(folder, damage)
    with pytest.raises(ArtifactError, match=r"deepfm\.pt: cannot be loaded.*s2_model_train\.py"):
        offline_truth(folder)


def test_a_report_of_another_model_is_one_sentence(folder: Path) -> None:
    report = artifacts.RANK_REPORT.read(folder)
    artifacts.RANK_REPORT.write(folder, {**report, "model": {**report["model"], "n_dense": 3}})
    with pytest.raises(ArtifactError, match=r"deepfm\.pt: cannot be loaded.*s2_model_train\.py"):
        offline_truth(folder)


def test_a_model_that_was_trained_with_another_spec_is_refused(folder: Path) -> None:
    spec = read_feature_spec(folder)
    fewer = with_dense(spec, *spec.dense[:-1])
    artifacts.FEATURE_SPEC.write(folder, fewer.model_dump(mode="json"))
    with pytest.raises(ArtifactError, match=r"trained with another feature spec.*s2_model_train\.py"):
        offline_truth(folder)
