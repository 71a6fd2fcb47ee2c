"""Break one thing at a time in what the server recalls and ranks by; each must be caught and named."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from data_exchange_center import artifacts
from data_exchange_center.artifacts import ArtifactError
from data_exchange_center.candidates import ItemQuery
from data_exchange_center.channels import Channel
from data_exchange_center.columns import Columns, Split
from data_exchange_center.fusion import Hits
from data_exchange_center.history import History
from data_exchange_center.recipes import DEFAULT, RECIPES, SOURCE
from data_exchange_center.release_parts import UserRow, release_of_artifacts
from data_exchange_center.settings import Settings
from data_exchange_center.steps import CheckError
from offline.data.terms import CLICKS, IMPRESSIONS, columns_of
from offline_to_online.parity import (
    OfflineTruth,
    compare,
    offline_answers,
    offline_truth,
    share_found,
)
from offline_to_online.recount import RECOUNTS, recount
from online.clients.triton import ScoreQuery
from tests.synthetic_release import write_artifacts, write_inputs
from tests.unit.offline_to_online.online_side import (
    USERS,
    FakeItems,
    FakeRanker,
    OnlineSide,
)

Break = Callable[[OnlineSide], None]
Found = dict[str, Hits]


@pytest.fixture(params=RECIPES)
def either(request: pytest.FixtureRequest, folders: dict[str, Path]) -> OnlineSide:
    return OnlineSide(folders[request.param], request.param)


def pairs(side: OnlineSide) -> int:
    return sum(len(answer.scores) for answer in side.answers())


def test_an_unchanged_side_agrees(either: OnlineSide) -> None:
    gaps, shares = either.check()
    history = ["history"] if either.spec.history else []
    assert list(gaps) == ["recall", "features", *history, "score"]
    assert max(gaps.values()) <= 1e-6
    assert pairs(either) > 1_500
    channels = either.manifest.recipe.recall.channels
    assert list(shares) == [channel.name for channel in channels]
    assert all(share.tolist() == [1] * len(USERS) for share in shares.values())


def users_with(change: Callable[[UserRow], dict[str, Any]]) -> Break:
    def breaks(side: OnlineSide) -> None:
        side.users.rows = {
            userid: replace(row, **change(row))
            for userid, row in side.users.rows.items()
        }

    return breaks


def events_with(part: slice) -> Break:
    def only(row: UserRow) -> dict[str, Any]:
        past = row.history
        columns = (past.item_numbers, past.ratings, past.times)
        return {"history": History(*(column[part] for column in columns))}

    return users_with(only)


def channels_with(change: Callable[[Channel], dict[str, Any]]) -> Break:
    def breaks(side: OnlineSide) -> None:
        changed = tuple(
            replace(channel, **change(channel)) for channel in side.channels.channels
        )
        side.channels = replace(side.channels, channels=changed)

    return breaks


def an_index_with(change: Callable[[OnlineSide, ItemQuery, Found], Found]) -> Break:
    def breaks(side: OnlineSide) -> None:
        class Changed(FakeItems):
            def _call(self, query: ItemQuery) -> Found:
                return change(side, query, super()._call(query))

        side.items.__class__ = Changed

    return breaks


def finding(share: float, users: Sequence[int]) -> Break:
    """An index that finds the last ``share`` of some users' lists."""

    def found_for(side: OnlineSide, query: ItemQuery, found: Found) -> Found:
        if set(query.seen) not in [set(side.truth.states[user].seen) for user in users]:
            return found
        left = {}
        for name, hits in found.items():
            n = round((1 - share) * len(hits.ids))
            left[name] = Hits(hits.ids[n:], hits.scores[n:])
        return left

    return an_index_with(found_for)


def last_item(which: Callable[[OnlineSide, ItemQuery], int | None]) -> Break:
    """An index that finds another item at the end of the last channel's list; None: it does not for this user."""

    def changed(side: OnlineSide, query: ItemQuery, found: Found) -> Found:
        item = which(side, query)
        if item is None:
            return found
        *_, (name, hits) = found.items()
        return found | {name: Hits(np.append(hits.ids[:-1], item), hits.scores)}

    return an_index_with(changed)


def lists_with(change: Callable[[Hits], Hits]) -> Break:
    return an_index_with(
        lambda side, query, found: {name: change(hits) for name, hits in found.items()}
    )


def without_a_vector(side: OnlineSide, query: ItemQuery) -> int | None:
    last = int(side.truth.index.item_numbers[-1])
    return None if last in query.seen else last


def scores_with(drift: float) -> Break:
    class Drifted(FakeRanker):
        def _call(self, query: ScoreQuery) -> NDArray[np.float32]:
            return super()._call(query) + np.float32(drift)

    def breaks(side: OnlineSide) -> None:
        side.ranker.__class__ = Drifted

    return breaks


def dense_with(change: Callable[..., tuple[Any, ...]]) -> Break:
    def breaks(side: OnlineSide) -> None:
        spec = side.spec.model_copy(update={"dense": change(*side.spec.dense)})
        spec = type(spec).model_validate(spec.model_dump())  # nothing cached
        side.served = side.served.model_copy(update={"feature_spec": spec})

    return breaks


def leak(side: OnlineSide) -> None:
    """The server holds what evaluation alone may read; both copies of it agree."""
    by_user = artifacts.RATINGS.read(side.folder).groupby(Columns.USER)

    def everything(row: UserRow) -> dict[str, Any]:
        rows = by_user.get_group(row.number)[::-1]
        names = (Columns.ITEM, Columns.RATING, Columns.TIMESTAMP)
        return {"history": History(*(rows[name].to_numpy(np.int64) for name in names))}

    users_with(everything)(side)


def weigh_otherwise(side: OnlineSide) -> None:
    first, *rest = DEFAULT.recall.channels
    recall = DEFAULT.recall.model_copy(
        update={"channels": (first.model_copy(update={"fusion_weight": 0.5}), *rest)}
    )
    side.served = side.served.model_copy(
        update={"recipe": DEFAULT.model_copy(update={"recall": recall})}
    )


def widen_the_window(side: OnlineSide) -> None:
    """The stored statistics cover eleven ratings, the truth ten."""
    wider = SOURCE.data.model_copy(update={"window": SOURCE.data.window + 1})
    wide = recount(
        side.folder, offline_truth(side.folder, side.manifest), wider, USERS
    ).ranker.users
    stored = side.features.frames["user"].set_index(Columns.USER, drop=False)
    for column in columns_of(side.spec.genres, IMPRESSIONS, CLICKS):
        stored.loc[USERS, column] = wide[column].astype(object)
    side.features.frames["user"] = stored.reset_index(drop=True)


def forget_an_age(side: OnlineSide) -> None:
    users = side.features.frames["user"]
    users.loc[users[Columns.USER] == 7, "age"] = None


BROKEN: dict[str, tuple[str, Break, str]] = {
    "the newest event is missing": (
        "default",
        events_with(slice(1, None)),
        r"column 'tower_score', user .*column 'history_item_0', user \d+: ",
    ),
    "events are a second late": (
        "default",
        users_with(
            lambda row: {"history": replace(row.history, times=row.history.times + 1)}
        ),
        "column 'history_age_0'",
    ),
    "the last ten are in the histories": ("default", leak, "column 'history_item_0'"),
    "another profile, which one channel reads": (
        "default",
        users_with(lambda row: {"profile": row.profile % 2 + 1}),
        r"column 'tower_score'(?!.*ease_score)",
    ),
    "who continues is answered as if returning, and the other way round": (
        "default",
        channels_with(
            lambda channel: {
                "base": channel.base[::-1],
                "lag": channel.lag[:, ::-1],
                "rating_weight": channel.rating_weight[:, ::-1],
            }
        ),
        r"column 'tower_score', user \d+, item \d+: .*column 'tower_z_score'",
    ),
    "only the weights of returning users are wrong: both kinds are requested": (
        "default",
        channels_with(
            lambda channel: {"base": channel.base + np.array([[0], [1]], np.float32)}
        ),
        r"column 'tower_score', user \d*[02468],",
    ),
    "an index has another metric: the right items in the right order": (
        "default",
        lists_with(lambda hits: Hits(hits.ids, hits.scores / 2)),
        r"column 'tower_score', user \d+, item \d+: offline",
    ),
    "right scores in a wrong order: nothing but the order, and what follows from ranks, is off": (
        "default",
        lists_with(lambda hits: Hits(hits.ids[::-1], hits.scores[::-1])),
        r"user \d+: the list of channel 'tower' is not in the order",
    ),
    "too little is found for somebody: the mean hides it": (
        "default",
        finding(0.94, [USERS[4]]),
        rf"finds 0\.99.* channel tower .*worst: user {USERS[4]}, 0\.9[34]\d\d;",
    ),
    "a little too little is found for everybody": (
        "default",
        finding(0.97, USERS),
        r"finds 0\.9[67].* of channel tower over 10 users; at least 0\.99 is required",
    ),
    "an item that one channel was never trained on is found": (
        "default",
        last_item(without_a_vector),
        "column 'ease_score'",
    ),
    "a seen item ends one channel's list": (
        "default",
        last_item(lambda side, query: int(query.seen[-1])),
        r"user \d+: Elasticsearch gave seen items \[\d+\]",
    ),
    "fusion has other weights": (
        "default",
        weigh_otherwise,
        r"user \d+: fusion gives \[.*offline and \[.*online",
    ),
    "a stored vector is stale": (
        "source",
        users_with(
            lambda row: {
                "vectors": {name: vector + 0.1 for name, vector in row.vectors.items()}
            }
        ),
        "column 'fm_score'",
    ),
    "other genres are preferred": (
        "source",
        users_with(lambda row: {"terms": row.terms[1:]}),
        "column 'fm_score'",
    ),
    "a user is not in Redis": (
        "source",
        lambda side: side.users.rows.pop(5),
        "user 5: Redis does not know",
    ),
    "a window is off by one": (
        "source",
        widen_the_window,
        r"column 'imp_\w+', user \d+, item \d+: offline [\d.]+, online [\d.]+",
    ),
    "two columns are swapped": (
        "source",
        dense_with(lambda first, second, *rest: (second, first, *rest)),
        "column 'imp_action'.*column 'imp_adventure'",
    ),
    "a value is a null": (
        "source",
        forget_an_age,
        r"column 'age', user 7: online has no value \(null\)",
    ),
    "the model is another": (
        "source",
        scores_with(2e-5),
        r"1e-05: column 'score', user \d+, item \d+",
    ),
    "a score is no number": (
        "source",
        scores_with(np.nan),
        r"1e-05: column 'score', user \d+, item \d+",
    ),
}


@pytest.mark.parametrize(("recipe", "breaks", "said"), BROKEN.values(), ids=BROKEN)
def test_each_deviation_is_detected_and_named(
    folders: dict[str, Path], recipe: str, breaks: Break, said: str
) -> None:
    side = OnlineSide(folders[recipe], recipe)
    breaks(side)
    with pytest.raises(CheckError, match=said):
        side.check()


@pytest.mark.parametrize(
    ("recipe", "columns"),
    [
        ("source", "(imp|click)_"),
        ("default", "(n_ratings|item_ratings)'.*history_item_0"),
    ],
)
def test_the_last_ten_in_the_artifacts_are_caught(
    tmp_path: Path, recipe: str, columns: str
) -> None:
    """The truth is counted from the ratings, so wrong features are found even where both copies of them agree."""
    write_artifacts(tmp_path, recipe=recipe)
    side = OnlineSide(tmp_path, recipe)
    ratings = artifacts.RATINGS.read(tmp_path)
    artifacts.RATINGS.write(
        tmp_path,
        ratings.assign(split=ratings[Columns.SPLIT].replace(Split.HOLDOUT, Split.TEST)),
    )
    counted = recount(
        tmp_path,
        offline_truth(tmp_path, side.manifest),
        side.manifest.recipe.data,
        USERS,
    )
    seen = {
        userid: replace(row, seen=side.truth.states[userid].seen)
        for userid, row in counted.states.items()
    }
    side.truth = replace(counted, states=seen)
    with pytest.raises(CheckError, match=f"column '{columns}"):
        side.check()


@pytest.mark.parametrize(
    ("value", "gap"), [(0.0, 0.9e-5), (0.0, 1.1e-5), (100.0, 0.9e-3), (100.0, 1.1e-3)]
)
def test_the_tolerance_is_where_it_is_said_to_be(
    side: OnlineSide, value: float, gap: float
) -> None:
    """1e-5, relative to values above 1."""
    (answer,) = offline_answers(side.truth, side.answers()[:1])
    scores = np.full(len(answer.scores), value, np.float32)
    offline, online = (
        replace(answer, scores=scores + np.float32(by)) for by in (0, gap)
    )
    within = gap < 1e-5 * max(1, value)
    with nullcontext() if within else pytest.raises(CheckError, match="user 1, item"):
        compare([offline], [online], side.truth)


def test_a_statistic_that_nobody_counts_again_is_refused(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(RECOUNTS, "item_likes")
    with pytest.raises(
        CheckError,
        match=r"feature 'item_likes' is counted in one place only.*/recount\.py",
    ):
        OnlineSide(folders["default"], "default")


def test_a_user_who_saw_everything_has_no_candidates(either: OnlineSide) -> None:
    before = pairs(either)
    everything = either.truth.index.item_numbers.astype(np.int32)
    replete = replace(either.truth.states[USERS[4]], seen=everything)
    either.users.rows[replete.own_id] = replete
    either.truth = replace(
        either.truth, states={**either.truth.states, replete.number: replete}
    )
    either.check()
    assert pairs(either) < before


def test_an_index_that_finds_nearly_all_passes(history_side: OnlineSide) -> None:
    finding(0.96, [USERS[4]])(history_side)
    _, shares = history_side.check()
    for share in shares.values():
        assert 0.95 <= share[4] < 1 == share[5]


@pytest.mark.parametrize(
    ("products", "index", "shares"),
    [
        ([3.0, 2.0, 2.0], "int8_flat", [1, 1]),
        # as good as none next to the 1 that a search adds to a magnified product
        ([3e-9, 2e-9, 1e-9], "int8_flat", [1, 1]),
        ([3e-5, 2e-5, 1.99e-5], "flat", [1, 0.5]),
    ],
)
def test_a_tie_at_the_last_place_is_as_good(
    products: list[float], index: str, shares: list[float]
) -> None:
    recall = SOURCE.recall.model_copy(update={"candidates": 2, "index": index})
    numbers = np.array([1, 2, 3])
    scores = np.array(products)
    assert shares == [
        share_found(np.array([1, last]), numbers, scores, recall) for last in (2, 3)
    ]


def test_an_item_nobody_knows_is_named(history_side: OnlineSide) -> None:
    history_side.truth.positions(np.array([history_side.truth.index.item_numbers[5]]))
    with pytest.raises(CheckError, match="number 999999, which none of the items has"):
        history_side.truth.positions(np.array([999_999]))


# Artifacts that do not belong together are one sentence, which names the step to run again


def truth_of(folder: Path, recipe: str) -> OfflineTruth:
    settings = Settings(exchange_dir=folder, recipe_name=recipe)
    return offline_truth(folder, release_of_artifacts(settings))


def test_features_of_too_few_users_are_refused(tmp_path: Path) -> None:
    write_artifacts(tmp_path, recipe="source")
    users = artifacts.USER_FEATURES.read(tmp_path)
    artifacts.USER_FEATURES.write(tmp_path, users[users[Columns.USER] != 7])
    with pytest.raises(
        ArtifactError, match=r"user_features\.parquet: user 7,.*s1_feature_engi\.py"
    ):
        recount(tmp_path, truth_of(tmp_path, "source"), SOURCE.data, USERS)


@pytest.mark.parametrize(
    ("recipe", "changed"), [("source", {"n_dense": 3}), ("default", {"kernels": 3})]
)
@pytest.mark.parametrize("weights", [b"", b"no weights", b"PK\x03\x04", None])
def test_damaged_or_foreign_weights_are_refused(
    tmp_path: Path, recipe: str, changed: dict[str, int], weights: bytes | None
) -> None:
    write_artifacts(tmp_path, recipe=recipe)
    if weights is not None:
        artifacts.RANK_WEIGHTS.write(tmp_path, weights)
    else:  # those of another configuration
        report = artifacts.RANK_REPORT.read(tmp_path)
        model = report["model"] | changed
        artifacts.RANK_REPORT.write(tmp_path, report | {"model": model})
    with pytest.raises(
        ArtifactError, match=r"ranker\.pt: cannot be loaded.*s2_model_train\.py"
    ):
        truth_of(tmp_path, recipe)


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_model_that_was_trained_with_another_spec_is_refused(
    tmp_path: Path, recipe: str
) -> None:
    write_artifacts(tmp_path, recipe=recipe)
    spec = artifacts.FEATURE_SPEC.read(tmp_path)
    artifacts.FEATURE_SPEC.write(tmp_path, {**spec, "dense": spec["dense"][:-1]})
    write_inputs(tmp_path, recipe)
    with pytest.raises(
        ArtifactError, match=r"trained with another feature spec.*s2_model_train\.py"
    ):
        truth_of(tmp_path, recipe)
