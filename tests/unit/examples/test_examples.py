"""The package of examples, installed: its feature, ranker and channel go all the way from training to serving."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from data_exchange_center import artifacts, plugins
from data_exchange_center.channel_file import channel_arrays, unpack_channels
from data_exchange_center.columns import Columns, Split
from data_exchange_center.features import DAY_S, NEVER
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
from data_exchange_center.release_parts import read_feature_spec, release_of_artifacts
from data_exchange_center.settings import Settings
from data_exchange_center.steps import CheckError, StepError
from data_exchange_center.wire import vector_of
from examples.mlp_ranker import MLPRecipe
from examples.recent_channel import RecentRecipe
from offline.data import statistics
from offline.rank import s2_model_train
from offline.readers import read_inputs, read_lists
from offline_to_online.onnx_export import check_onnx, export_onnx
from offline_to_online.rows import feature_frames, item_rows
from offline_to_online.stores.elasticsearch import item_mapping
from stack.images import entry_points
from tests.synthetic_release import write_artifacts
from tests.unit.offline.synthetic import made_up_movielens, run_steps
from tests.unit.offline_to_online.online_side import OnlineSide, OnnxRanker

EXAMPLES: Final = Path(__file__).parents[3] / "examples"
SMALL: Final = {
    "statistics": ("first_event",),
    "history": 5,
    "hidden": (8,),
    "epochs": 2,
    "batch_size": 32,
    "stride": 2,
}
EASE: Final = EaseRecipe(dim=8, l2=10.0)
RECALL: Final = RecallRecipe(channels=(EASE,), candidates=30, num_candidates=30)
MLP: Final = Recipe(name="my_mlp", recall=RECALL, ranker=MLPRecipe(**SMALL))
KNOWN: Final = Recipe(
    name="my_list_ranker", recall=RECALL, ranker=ListRankerRecipe(kernels=2, **SMALL)
)
RECENT: Final = RecentRecipe(days=40, fusion_weight=0.5)
FM: Final = FMRecipe(
    dim=4,
    train=TrainRecipe(epochs=1, batch_size=64, learning_rate=0.01, weight_decay=0),
)
THIRD: Final = Recipe(
    name="third",
    recall=RECALL.model_copy(update={"channels": (EASE, RECENT, FM)}),
    ranker=KNOWN.ranker,
)
ALONE: Final = THIRD.model_copy(
    update={"name": "alone", "recall": RecallRecipe(channels=(RECENT,), candidates=30)}
)


@pytest.fixture(scope="module", autouse=True)
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    site = tmp_path_factory.mktemp("site")
    shutil.copy(EXAMPLES / "pyproject.toml", site)
    entry_points.main(site)
    (site / "recsys_pipeline.dist-info").rename(site / "recsys_examples.dist-info")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(site)
        plugins.find.cache_clear()
        yield
    plugins.find.cache_clear()


@pytest.fixture(scope="module", autouse=True)
def registered(installed: None) -> Iterator[None]:
    """Recipes to run."""
    with pytest.MonkeyPatch.context() as patch:
        for recipe in (MLP, KNOWN, THIRD, ALONE):
            patch.setitem(RECIPES, recipe.name, recipe)
        yield


def run_with(recipe: Recipe, folder: Path) -> Settings:
    """Where the seven steps have run, over events of half a year."""
    random, ratings = (
        np.random.default_rng(0),
        made_up_movielens(folder / "ml") / "ratings.dat",
    )
    lines = (line.rsplit("::", 1)[0] for line in ratings.read_text().splitlines())
    ratings.write_text(
        "".join(
            f"{line}::{random.integers(10_100 * DAY_S, 10_280 * DAY_S)}\n"
            for line in lines
        )
    )
    return run_steps(
        Settings(
            data=ratings.parent,
            exchange_dir=folder / "exchange",
            recipe_name=recipe.name,
        )
    )


# A feature, and a ranker


@pytest.fixture(
    scope="module", params=[MLP, KNOWN], ids=lambda recipe: recipe.ranker.kind
)
def finished(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Settings:
    return run_with(request.param, tmp_path_factory.mktemp("finished"))


@pytest.fixture
def side(finished: Settings) -> OnlineSide:
    """The server's functions over fakes, against the offline truth: users without a past, and with much of one."""
    users = artifacts.USERS.read(finished.artifacts_dir)[Columns.USER].tolist()
    return OnlineSide(
        finished.artifacts_dir, finished.recipe_name, [*users[10:14], *users[-4:]]
    )


def test_the_first_event_is_stored(finished: Settings) -> None:
    folder = finished.artifacts_dir
    ratings = artifacts.RATINGS.read(folder)
    past = ratings[ratings[Columns.SPLIT] != Split.HOLDOUT]
    stored = feature_frames(folder, read_feature_spec(folder))["user"].set_index(
        Columns.USER
    )["first_event"]
    first = past.groupby(Columns.USER)[Columns.TIMESTAMP].min()
    assert stored.to_dict() == first.reindex(stored.index, fill_value=NEVER).to_dict()
    assert NEVER in set(stored)
    assert stored.max() > 10_100 * DAY_S


def test_it_is_learned_from_point_in_time(finished: Settings) -> None:
    data = read_inputs(finished).data
    lists = read_lists(finished, data)
    reported = lists.statistics[:, -1]
    assert reported.tolist() == data.times[data.starts[lists.users]].tolist()
    assert (lists.times > reported).all()


def test_lists_of_other_statistics_are_not_trained_on(
    finished: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is registered, or taken away, between the two ranking steps."""
    monkeypatch.setattr(statistics, "STATISTICS", statistics.STATISTICS[:-1])
    with pytest.raises(
        StepError,
        match=r"feature_spec\.json.*statistics\.py.*s1_feature_engi\.py again",
    ):
        s2_model_train.main(finished)


def test_offline_and_online_agree(side: OnlineSide) -> None:
    assert max(side.check().gaps.values()) <= 1e-6
    users = side.features.frames["user"]
    users["first_event"] += DAY_S
    with pytest.raises(CheckError, match=r"column 'first_event', user \d+, item \d+"):
        side.check()


def test_the_ranker_is_exported_and_scores_alike(side: OnlineSide) -> None:
    content = export_onnx(
        side.truth.ranker.model, side.spec.sizes, side.manifest.release
    )
    check_onnx(content, side.truth.ranker.model, side.spec.sizes)
    side.ranker = OnnxRanker(content)
    assert side.check().gaps["score"] < 1e-6
    assert (
        len(np.unique(np.concatenate([answer.scores for answer in side.answers()])))
        > 20
    )


# A channel


@pytest.fixture(scope="module", params=[THIRD, ALONE], ids=lambda recipe: recipe.name)
def recalled(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Settings:
    return run_with(request.param, tmp_path_factory.mktemp("finished"))


def liked_recently(folder: Path, timestamp: int, seen: set[int]) -> list[int]:
    """The channel's list, counted again from the ratings."""
    ratings = artifacts.RATINGS.read(folder).query(
        f"{Columns.SPLIT} != '{Split.HOLDOUT}'"
    )
    day = ratings[Columns.TIMESTAMP] // DAY_S
    today = min(timestamp // DAY_S, day.max() + 1)  # after the data: its last days
    window = (day >= today - RECENT.days) & (day < today)
    liked = ratings[window & (ratings[Columns.LABEL] == 1)]
    counts = liked[Columns.ITEM].value_counts().drop(list(seen), errors="ignore")
    return sorted(counts.index, key=lambda item: (-counts[item], item))


def test_the_release_holds_counts_and_no_vectors_of_it(recalled: Settings) -> None:
    manifest = release_of_artifacts(recalled)
    recall = recalled.recipe.recall
    assert list(manifest.vector_dims) == [
        channel.name for channel in recall.channels if channel.kind != "recent"
    ]
    fields = item_mapping(manifest.vector_dims, {"type": "flat"})["properties"]
    assert vector_of("recent") not in fields
    assert vector_of("recent") not in artifacts.ITEM_VECTORS.read(
        recalled.artifacts_dir
    )
    assert manifest.feature_spec.candidate == candidate_columns(
        [channel.name for channel in recall.channels]
    )
    held = artifacts.CHANNELS.read_as(recalled.artifacts_dir, unpack_channels).channels
    assert [channel.form for channel in held][-1] == "recent"
    assert channel_arrays(held[-1]).keys() == {"first_day", "likes", "days"}


def test_it_finds_items_liked_in_the_days_before_a_request(recalled: Settings) -> None:
    folder, channels = (
        recalled.artifacts_dir,
        artifacts.CHANNELS.read_as(recalled.artifacts_dir, unpack_channels),
    )
    states = artifacts.USER_STATE.read(folder).set_index(Columns.USER)
    seen = artifacts.USER_SEEN.read(folder).set_index(Columns.USER)[Columns.SEEN]
    lengths = set()
    for user, day in (
        (50, 10_120),
        (150, 10_200),
        (300, 10_281),
        (300, 10_315),
        (300, 10_330),
        (300, 20_000),
    ):
        history = [
            states.loc[user, name].astype(np.int64)
            for name in (Columns.ITEMS, Columns.RATINGS, Columns.TIMES)
        ]
        at = day * DAY_S + 7
        found = channels.lists(
            History(*history),
            states.loc[user, Columns.PROFILE],
            at,
            seen[user],
            only=None,
            size=500,
        )["recent"]
        assert found.ids.tolist() == liked_recently(folder, at, set(seen[user]))
        lengths.add(len(found.ids))
    assert min(lengths) > 0  # long after the data ends, too
    assert len(lengths) > 1


def test_offline_and_online_agree_on_it(tmp_path: Path) -> None:
    """The server's own recall over fakes, against the offline truth."""
    write_artifacts(tmp_path, recipe="third")
    side = OnlineSide(tmp_path, "third")
    assert max(side.check().gaps.values()) <= 1e-6
    assert [
        channel.name for channel in side.manifest.recipe.recall.vector_channels
    ] == list(side.manifest.vector_dims)
    assert all("recent" not in row.vectors for row in item_rows(tmp_path))
