"""Break one thing at a time on the online side; each must be caught and named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from data_exchange_center import artifacts
from data_exchange_center.artifacts import ArtifactError
from data_exchange_center.channels import BREAK_S, Channel
from data_exchange_center.columns import Columns, Split, clicks, genre_flag, impressions
from data_exchange_center.fusion import Hits
from data_exchange_center.history import History
from data_exchange_center.recipes import DEFAULT, RECIPES, SOURCE
from data_exchange_center.release import release_of_artifacts
from data_exchange_center.settings import Settings
from offline_to_online.load.offline_truth import OfflineTruth, offline_truth, recount
from offline_to_online.load.online_answers import Answer
from offline_to_online.load.parity import Parity, compare
from offline_to_online.load.services import CheckError
from offline_to_online.load.user_rows import UserRow
from online.clients.elastic import ItemQuery
from online.clients.triton import ScoreQuery
from tests.synthetic_release import write_artifacts, write_inputs
from tests.unit.offline_to_online.parity_road import USERS, FakeItems, FakeRanker, Road


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Artifacts of each recipe, for tests that only read them."""
    made = {recipe: tmp_path_factory.mktemp(recipe) for recipe in RECIPES}
    for recipe, folder in made.items():
        write_artifacts(folder, recipe=recipe)
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The source's artifacts, for tests that change them."""
    write_artifacts(tmp_path)
    return tmp_path


@pytest.fixture
def road(folders: dict[str, Path]) -> Road:
    """The source's recipe: a stored vector, genres beside it, statistics by genre."""
    return Road(folders["source"], "source")


@pytest.fixture
def history_road(folders: dict[str, Path]) -> Road:
    """The default recipe: two channels made of the history, and a ranker that reads it."""
    return Road(folders["default"], "default")


def test_an_honest_road_of_the_source_agrees(road: Road) -> None:
    parity = road.check()
    assert parity.users == len(USERS)
    assert parity.pairs > 1_500
    named = ["one-hot (5 columns)", "multi-hot (4 columns)", "dense (8 columns)", "candidate (4 columns)", "score"]
    assert list(parity.groups) == named
    assert max(parity.groups.values()) <= 1e-6


def test_an_honest_road_of_the_default_recipe_agrees(history_road: Road) -> None:
    parity = history_road.check()
    assert parity.pairs > 1_500
    history = f"history ({len(history_road.spec.columns[history_road.spec.history_slice])} columns)"
    assert list(parity.groups) == [
        "one-hot (3 columns)",
        "dense (6 columns)",
        "candidate (7 columns)",
        history,
        "score",
    ]
    assert max(parity.groups.values()) <= 1e-6


# --- histories and channels -------------------------------------------------------------------------------------------


def change_users(road: Road, change: Callable[[UserRow], UserRow]) -> None:
    road.users.rows = {userid: change(row) for userid, row in road.users.rows.items()}


def change_channels(road: Road, change: Callable[[Channel], dict[str, Any]]) -> None:
    changed = tuple(replace(channel, **change(channel)) for channel in road.channels.channels)
    road.channels = replace(road.channels, channels=changed)


def older(history: History) -> History:
    return History(history.itemids[1:], history.ratings[1:], history.times[1:])


def test_a_history_that_lacks_the_newest_event_is_caught_in_recall_and_ranking(history_road: Road) -> None:
    change_users(history_road, lambda row: replace(row, history=older(row.history)))
    with pytest.raises(CheckError, match=r"column 'tower_score', user .*column 'history_item_0', user \d+, item \d+: "):
        history_road.check()


def test_the_last_ten_in_the_histories_are_caught(folders: dict[str, Path], history_road: Road) -> None:
    """The server holds what evaluation alone may read; both copies of it agree."""
    ratings = artifacts.RATINGS.read(folders["default"])
    by_user = ratings.groupby(Columns.USER)

    def leak(row: UserRow) -> UserRow:
        rows = by_user.get_group(row.userid).tail(DEFAULT.data.history)[::-1]
        names = (Columns.ITEM, Columns.RATING, Columns.TIMESTAMP)
        return replace(row, history=History(*(rows[name].to_numpy(np.int64) for name in names)))

    change_users(history_road, leak)
    with pytest.raises(CheckError, match="column 'history_item_0'"):
        history_road.check()


def test_events_a_second_late_are_caught_in_the_ages(history_road: Road) -> None:
    change_users(history_road, lambda row: replace(row, history=replace(row.history, times=row.history.times + 1)))
    with pytest.raises(CheckError, match="column 'history_age_0'"):
        history_road.check()


def test_oldest_first_is_caught(history_road: Road) -> None:
    change_users(
        history_road,
        lambda row: replace(
            row,
            history=History(row.history.itemids[::-1], row.history.ratings[::-1], row.history.times[::-1]),
        ),
    )
    with pytest.raises(CheckError, match="column 'history_item_0'"):
        history_road.check()


def test_another_profile_is_caught_in_the_channel_that_reads_it(history_road: Road) -> None:
    change_users(history_road, lambda row: replace(row, profile=row.profile % 2 + 1))
    with pytest.raises(CheckError, match="column 'tower_score'") as caught:
        history_road.check()
    assert "ease_score" not in str(caught.value)


def test_the_wrong_regime_is_caught(history_road: Road) -> None:
    """Who continues is answered as if returning, and the other way round."""
    change_channels(
        history_road,
        lambda channel: {
            "base": channel.base[::-1],
            "lag": channel.lag[:, ::-1],
            "opinion": channel.opinion[:, ::-1],
        },
    )
    with pytest.raises(CheckError, match=r"column 'tower_score', user \d+, item \d+: .*column 'tower_standing'"):
        history_road.check()


def test_both_regimes_are_asked_for(history_road: Road) -> None:
    """Only the weights of returning users are wrong: users who continue would not show it."""
    change_channels(history_road, lambda channel: {"base": channel.base + np.array([[0], [1]], np.float32)})
    with pytest.raises(CheckError, match=r"column 'tower_score', user \d*[02468],"):
        history_road.check()
    assert BREAK_S == 3600


def test_a_lag_off_by_one_is_caught(history_road: Road) -> None:
    change_channels(history_road, lambda channel: {"lag": np.roll(channel.lag, 1, axis=2)})
    with pytest.raises(CheckError, match="column 'tower_score'"):
        history_road.check()


def test_swapped_channels_are_caught(history_road: Road) -> None:
    class Swapped(FakeItems):
        def _call(self, query: ItemQuery) -> tuple[Hits, ...]:
            return super()._call(query)[::-1]

    history_road.items.__class__ = Swapped
    with pytest.raises(CheckError, match=r"column 'tower_score'.*user \d+: channel 'tower' found item \d+ "):
        history_road.check()


def test_an_index_that_ranks_by_something_else_is_caught(history_road: Road) -> None:
    class Cosine(FakeItems):
        """Right scores in a wrong order: nothing but the order, and what follows from ranks, is off."""

        def _call(self, query: ItemQuery) -> tuple[Hits, ...]:
            return tuple(Hits(hits.ids[::-1], hits.scores[::-1]) for hits in super()._call(query))

    history_road.items.__class__ = Cosine
    with pytest.raises(CheckError, match=r"user \d+: channel 'tower' found item \d+ \(.* offline\) before item \d+"):
        history_road.check()


def test_other_weights_in_the_fusion_are_caught(history_road: Road) -> None:
    first, *rest = DEFAULT.recall.channels
    recall = DEFAULT.recall.model_copy(update={"channels": (first.model_copy(update={"fusion_weight": 0.5}), *rest)})
    recipe = DEFAULT.model_copy(update={"recall": recall})
    history_road.served = history_road.served.model_copy(update={"recipe": recipe})
    with pytest.raises(CheckError, match=r"user \d+: fusion gives \[.*offline and \[.*online"):
        history_road.check()


def test_a_stale_vector_is_caught(road: Road) -> None:
    """Beside the genres, in Elasticsearch's own scale."""
    change_users(road, lambda row: replace(row, vectors={name: vector + 0.1 for name, vector in row.vectors.items()}))
    with pytest.raises(CheckError, match="column 'fm_score'"):
        road.check()


def test_other_preferred_genres_are_caught(road: Road) -> None:
    change_users(road, lambda row: replace(row, genres=row.genres[1:]))
    with pytest.raises(CheckError, match=r"column 'fm_score'"):
        road.check()


# --- features ---------------------------------------------------------------------------------------------------------


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


# --- score, users, items ----------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_seen_item_among_the_candidates_is_caught(folders: dict[str, Path], recipe: str) -> None:
    road = Road(folders[recipe], recipe)
    road.items.filters = False
    with pytest.raises(CheckError, match=r"user \d+: Elasticsearch gave seen items"):
        road.check()


def test_a_user_who_is_not_in_redis_is_named(road: Road) -> None:
    del road.users.rows[5]
    with pytest.raises(CheckError, match="user 5: Redis does not know"):
        road.check()


def test_an_item_nobody_knows_is_named(history_road: Road) -> None:
    history_road.truth.recall.positions(np.array([history_road.truth.recall.itemids[5]]))
    with pytest.raises(CheckError, match="item 999999, which is not among"):
        history_road.truth.recall.positions(np.array([999_999]))


def test_an_item_that_a_channel_never_met_is_named(history_road: Road) -> None:
    """It has no vector, so it must not compete; the last item of the artifacts is such a one."""
    recall, last = history_road.truth.recall, history_road.truth.recall.itemids[-1:]
    scores = recall.scores(history_road.truth.states[1], 0)
    (said,) = recall.disorder(scores, {"ease": last})
    assert said == f"channel 'ease' found item {last[0]}, which it does not know"


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


# --- artifacts that do not belong together ----------------------------------------------------------------------------


def truth_of(folder: Path, recipe: str = "source") -> OfflineTruth:
    return offline_truth(folder, release_of_artifacts(Settings(exchange_dir=folder, recipe_name=recipe)))


def test_features_of_fewer_users_than_recall_knows_are_one_sentence(folder: Path) -> None:
    users = artifacts.USER_FEATURES.read(folder)
    artifacts.USER_FEATURES.write(folder, users[users[Columns.USER] != 7])
    with pytest.raises(ArtifactError, match=r"user_features\.parquet: user 7,.*s1_feature_engi\.py"):
        recount(folder, truth_of(folder), SOURCE.data, USERS)


@pytest.mark.parametrize("damage", [b"", b"no weights", b"PK\x03\x04"])
@pytest.mark.parametrize("recipe", RECIPES)
def test_damaged_weights_are_one_sentence(tmp_path: Path, recipe: str, damage: bytes) -> None:
    write_artifacts(tmp_path, recipe=recipe)
    artifacts.RANK_WEIGHTS.write(tmp_path, damage)
    with pytest.raises(ArtifactError, match=r"ranker\.pt: cannot be loaded.*s2_model_train\.py"):
        truth_of(tmp_path, recipe)


def test_damaged_channels_are_one_sentence(tmp_path: Path) -> None:
    write_artifacts(tmp_path, recipe="default")
    artifacts.CHANNELS.write(tmp_path, b"no channels")
    with pytest.raises(ArtifactError, match=r"channels\.npz: these are no channels.*s2_vector_recall\.py"):
        truth_of(tmp_path, "default")


@pytest.mark.parametrize(("recipe", "changed"), [("source", {"n_dense": 3}), ("default", {"kernels": 3})])
def test_a_report_of_another_model_is_one_sentence(tmp_path: Path, recipe: str, changed: dict[str, int]) -> None:
    write_artifacts(tmp_path, recipe=recipe)
    report = artifacts.RANK_REPORT.read(tmp_path)
    artifacts.RANK_REPORT.write(tmp_path, {**report, "model": {**report["model"], **changed}})
    with pytest.raises(ArtifactError, match=r"ranker\.pt: cannot be loaded.*s2_model_train\.py"):
        truth_of(tmp_path, recipe)


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_model_that_was_trained_with_another_spec_is_refused(tmp_path: Path, recipe: str) -> None:
    write_artifacts(tmp_path, recipe=recipe)
    spec = artifacts.FEATURE_SPEC.read(tmp_path)
    artifacts.FEATURE_SPEC.write(tmp_path, {**spec, "dense": spec["dense"][:-1]})
    write_inputs(tmp_path)
    with pytest.raises(ArtifactError, match=r"trained with another feature spec.*s2_model_train\.py"):
        truth_of(tmp_path, recipe)


def test_a_model_of_another_recipe_is_refused(folder: Path) -> None:
    manifest = release_of_artifacts(Settings(exchange_dir=folder))
    with pytest.raises(ArtifactError, match=r"trained with another feature spec or recipe"):
        offline_truth(folder, manifest.model_copy(update={"recipe": DEFAULT}))
