"""Answers of the artifacts: equal to brute force, nothing seen or untrained, and nothing of the held-out part."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from data_exchange_center import artifacts
from data_exchange_center.candidates import ItemQuery
from data_exchange_center.channel_file import unpack_channels
from data_exchange_center.columns import Columns, Split
from data_exchange_center.exact import ExactItems
from data_exchange_center.recipes import EaseRecipe, RecallRecipe
from data_exchange_center.release_parts import read_feature_spec
from data_exchange_center.settings import Settings
from extras import replay
from extras.replay import Answers, Holdout
from offline.data.lists import StoredFeatures, recall_lists
from offline.data.sequences import Points
from offline.models.rankers import load_ranker
from offline.models.training import tensors_of
from offline.offline_ranker import read_features
from offline.readers import read_inputs, read_with_holdout
from tests.unit.extras.replay.conftest import holdout_of, settings_of
from tests.unit.offline.synthetic import made_up_movielens, run_steps


@pytest.fixture
def holdout(released: Settings) -> Holdout:
    return holdout_of(released)


@pytest.fixture
def answers(released: Settings, holdout: Holdout) -> Answers:
    return replay.answers(released, holdout)


def test_lists_are_the_best_unseen_recalled_items(
    answers: Answers, holdout: Holdout
) -> None:
    seen = holdout.past.seen()
    for user in range(holdout.past.n_users):
        ranked, fused = answers.ranked[user], answers.fused[user]
        assert len(set(ranked[ranked > 0])) == (ranked > 0).sum() > 0
        assert not set(ranked[ranked > 0]) & set(seen[user].indices)
        assert set(ranked[ranked > 0]) <= set(fused)
        assert len(ranked) == len(fused)
        scores = answers.scores[user, ranked > 0]
        assert (np.diff(scores) <= 0).all()
        assert np.isnan(answers.scores[user, ranked == 0]).all()


def test_scores_are_the_rankers_of_the_assembled_rows(exchange: Path) -> None:
    settings = settings_of("source", exchange)
    holdout, folder = holdout_of(settings), settings.exchange_dir
    answers = replay.answers(settings, holdout)
    spec, (users, items) = read_feature_spec(folder), read_features(folder)
    report = artifacts.RANK_REPORT.read(folder)
    model = load_ranker(artifacts.RANK_WEIGHTS.read(folder), report["model"])
    user, codes = 3, answers.ranked[3]
    userids = holdout.past.user_numbers[[user]]
    itemids = holdout.past.item_numbers[codes[codes > 0] - 1]
    of_user = spec.encode("user", users.loc[userids])
    rows = spec.assemble(of_user, spec.encode("item", items.loc[itemids]), 0)
    with torch.no_grad():
        expected = model(torch.from_numpy(rows))[:, 0].numpy()
    assert answers.scores[user, codes > 0] == pytest.approx(expected)


def test_the_held_out_part_changes_no_list(
    released: Settings, answers: Answers, tmp_path: Path
) -> None:
    """Other films, rated the other way round, at the same times."""
    folder = tmp_path / "exchange"
    shutil.copytree(released.exchange_dir, folder)
    ratings = artifacts.RATINGS.read(folder)
    held_out = ratings[Columns.SPLIT] == Split.HOLDOUT
    unseen = [
        np.setdiff1d(artifacts.ITEMS.read(folder)[Columns.ITEM], group[Columns.ITEM])[
            : held_out[group.index].sum()
        ]
        for _, group in ratings.groupby(Columns.USER)
    ]
    ratings.loc[held_out, Columns.ITEM] = np.concatenate(unseen).astype(np.int32)
    ratings.loc[held_out, Columns.RATING] = (
        6 - ratings.loc[held_out, Columns.RATING]
    ).astype(np.int8)
    artifacts.RATINGS.write(folder, ratings)
    there = released.model_copy(update={"exchange_dir": folder})
    other = replay.answers(there, holdout_of(there))
    assert (holdout_of(there).relevance != holdout_of(released).relevance).nnz > 0
    assert np.array_equal(answers.ranked, other.ranked)


def test_a_user_nothing_is_found_for_gets_the_popular(
    exchange: Path, tmp_path: Path
) -> None:
    settings = settings_of("source", exchange)
    folder = tmp_path / "exchange"
    shutil.copytree(settings.exchange_dir, folder)
    unknown_user = int(artifacts.USER_VECTORS.read(folder)[Columns.USER].iloc[4])
    for file in (artifacts.USER_VECTORS, artifacts.USER_PREFERENCES):
        table = file.read(folder)
        file.write(folder, table[table[Columns.USER] != unknown_user])
    settings = settings.model_copy(update={"exchange_dir": folder})
    holdout = holdout_of(settings)
    user = int(np.searchsorted(holdout.past.user_numbers, unknown_user))
    answers = replay.answers(settings, holdout)
    popular = artifacts.POPULAR.read(folder)[Columns.ITEM].to_numpy()
    seen = holdout.past.item_numbers[holdout.past.seen()[user].indices - 1]
    expected = popular[~np.isin(popular, seen)][: settings.recipe.recall.candidates]
    fused = answers.fused[user]
    assert holdout.past.item_numbers[fused[fused > 0] - 1].tolist() == expected.tolist()
    assert not answers.channels["fm"][user].any()


def test_artifacts_answer_as_of_a_second(exchange: Path, tmp_path: Path) -> None:
    """How the newest film was rated changes nothing for a request of that very second, and something a second later."""
    folder = shutil.copytree(exchange / "default", tmp_path / "default")
    settings = settings_of("default", tmp_path)
    holdout = holdout_of(settings)
    past = holdout.past
    newest = past.starts[1:] - 1
    then = holdout.at(past.times[newest])
    moments = then, then.at(then.times + 1)
    before, before_later = (replay.answers(settings, each) for each in moments)
    stored, known = (
        [user.history.pack() for user in replay.users_at(folder, then, stored_events=s)]
        for s in (True, False)
    )
    assert stored == known
    state = artifacts.USER_STATE.read(folder)
    others = [np.r_[rated[0] % 5 + 1, rated[1:]] for rated in state[Columns.RATINGS]]
    state[Columns.RATINGS] = [rated.astype(np.int8) for rated in others]
    artifacts.USER_STATE.write(folder, state)
    after, after_later = (replay.answers(settings, each) for each in moments)
    assert np.array_equal(before.ranked, after.ranked)
    assert not np.array_equal(before_later.ranked, after_later.ranked)
    assert (before.fused == past.items[newest][:, None]).any()
    assert not (before_later.fused == past.items[newest][:, None]).any()


def test_serving_inputs_equal_training_inputs(tmp_path: Path) -> None:
    """Lists and scores of the artifacts, as a server reads them, and by the functions that made the training lists."""
    data = made_up_movielens(tmp_path / "ml")
    default = run_steps(Settings(data=data, exchange_dir=tmp_path / "exchange"))
    folder = default.artifacts_dir
    spec = read_feature_spec(folder)
    everything, past = read_with_holdout(default), read_inputs(default).data
    holdout = replay.hold_out(everything.data, everything.dataset.holdout)
    gaps = replay.gaps(holdout.past, holdout.times)
    # whose event is the first of its second
    users = np.flatnonzero((holdout.known.lengths > 0) & (gaps > 0))
    answers = replay.answers(default, holdout)
    points = Points(users, past.lengths[users], holdout.times[users])
    channels = artifacts.CHANNELS.read_as(folder, unpack_channels).channels
    lists = recall_lists(
        everything.data, points, everything.profiles, channels, default.recipe
    )
    assert len(users) > 20
    assert np.array_equal(lists.candidates, answers.fused[users])

    stored = StoredFeatures.of(past, everything, spec, default.recipe.ranker)
    report = artifacts.RANK_REPORT.read(folder)
    ranker = load_ranker(artifacts.RANK_WEIGHTS.read(folder), report["model"]).ranker
    with torch.no_grad():
        taught = torch.sigmoid(ranker(*tensors_of(stored.inputs(lists))))[..., 0]
    taught, reported = (  # by item
        np.take_along_axis(scores, np.argsort(codes, axis=1, kind="stable"), axis=1)
        for scores, codes in (
            (taught.numpy(), lists.candidates),
            (answers.scores[users], answers.ranked[users]),
        )
    )
    there = np.isfinite(reported)
    assert reported[there].std() > 0.001
    # training lists hold features in half precision
    np.testing.assert_allclose(taught[there], reported[there], atol=2e-3)


# Exact search finds what Elasticsearch would, without what was seen or never trained on

PLAIN = EaseRecipe(name="plain")
HYBRID = EaseRecipe(name="hybrid", term_weight=2, vector_weight=3)
RECALL = RecallRecipe(channels=(PLAIN, HYBRID), candidates=3, num_candidates=2)
GENRE = (1,)


@pytest.mark.parametrize(
    ("channel", "number", "terms", "seen", "ids", "scores"),
    [
        (PLAIN, 1.0, GENRE, (9, 1, 1, 0), [4, 2], [3, -2]),
        (PLAIN, -1.0, (), (), [2, 1, 4], [2, -1, -3]),
        (PLAIN, None, GENRE, (), [], []),
        (HYBRID, None, GENRE, (), [4], [2]),
        # 4 is not among the two nearest and earns its genre alone
        (HYBRID, -1.0, GENRE, (), [2, 4, 1], [9, 2, 1.5]),
        # 4 is among them where 2 was seen
        (HYBRID, -1.0, GENRE, (2,), [4, 1], [2.75, 1.5]),
        # of equally near ones, those with the smaller ids
        (HYBRID, 0.0, GENRE, (), [1, 2, 4], [3, 3, 2]),
    ],
)
def test_a_search_finds_the_nearest_unseen(
    channel: EaseRecipe,
    number: float | None,
    terms: tuple[int, ...],
    seen: tuple[int, ...],
    ids: list[int],
    scores: list[float],
) -> None:
    """Items 1..4 with one number each, the third never trained; item 4 has the one genre. One by one, as a server
    searches, and many at once."""
    items = np.array([[1.0], [-2.0], [np.nan], [3.0]], dtype=np.float32)
    index = ExactItems(
        np.arange(1, 5), {"plain": items, "hybrid": items}, {1: np.array([3])}
    )
    vector = np.array([number], dtype=np.float32)
    vectors = {} if number is None else {"plain": vector, "hybrid": vector}
    query = ItemQuery("", RECALL, vectors, terms, seen)
    nothing = ItemQuery("", RECALL, {}, (), ())
    for found in (index.call(query), replay.searched(index, [nothing, query])[1]):
        hits = found[RECALL.channels.index(channel)]
        assert hits.ids.tolist() == ids
        assert hits.scores.tolist() == pytest.approx(scores)
