"""What is held out, and answers of the artifacts: equal to brute force, nothing seen or untrained."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from data_exchange_center import artifacts
from data_exchange_center.candidates import ItemQuery
from data_exchange_center.channel_file import unpack_channels
from data_exchange_center.columns import Columns
from data_exchange_center.dataset import HoldoutRule
from data_exchange_center.exact import ExactItems
from data_exchange_center.recipes import EaseRecipe, RecallRecipe
from data_exchange_center.release_parts import read_feature_spec
from data_exchange_center.settings import Settings
from extras import replay
from extras.replay import Answers, Holdout
from offline.data.lists import StoredFeatures, recall_lists
from offline.data.sequences import Points, Sequences
from offline.models.rankers import load_ranker
from offline.models.training import tensors_of
from offline.readers import read_inputs, read_with_holdout
from tests.unit.extras.replay.conftest import holdout_of, settings_of
from tests.unit.offline.synthetic import made_up_movielens, run_steps

N_ITEMS, LAST = 40, 4
LAST_FOUR = HoldoutRule(last=LAST)


def made_up() -> Sequences:
    """Four users, forty films; the first user comes back after two hours for the held-out part."""
    rng = np.random.default_rng(0)
    lengths = np.array([20, 12, 30, 25])
    items = np.concatenate([rng.permutation(N_ITEMS)[:n] + 1 for n in lengths])
    ratings = rng.integers(1, 6, len(items))
    times = np.concatenate([np.arange(n) * 10 for n in lengths])
    times[16:20] += 7200
    starts = np.concatenate([[0], np.cumsum(lengths)])
    return Sequences(
        np.arange(4),
        np.arange(1, N_ITEMS + 1),
        starts,
        items,
        ratings,
        ratings > 3,
        times,
    )


def test_the_past_holds_nothing_of_the_held_out_part() -> None:
    data = made_up()
    holdout = replay.hold_out(data, LAST_FOUR)
    assert holdout.past.seen().multiply(holdout.relevance + holdout.disliked).nnz == 0
    assert holdout.relevance.sum() == sum(
        data.liked[end - LAST : end].sum() for end in data.starts[1:]
    )
    assert (holdout.relevance + holdout.disliked).sum() == LAST * data.n_users
    assert holdout.relevance.multiply(holdout.disliked).nnz == 0
    assert holdout.returning.tolist() == [True, False, False, False]
    assert holdout.times.tolist() == [data.times[end - LAST] for end in data.starts[1:]]


def test_known_items_are_no_targets() -> None:
    """The same item again, in the holdout or twice within it, is liked once at most, and only where it is new."""
    data = made_up()
    items = data.items.copy()
    # user 0: the last event repeats the first, the one before it another
    items[19], items[18] = items[0], items[17]
    data = replace(data, items=items, liked=np.ones(len(items), dtype=bool))
    holdout = replay.hold_out(data, LAST_FOUR)
    assert sorted(holdout.relevance[0].indices) == sorted({items[16], items[17]})
    assert holdout.relevance.max() == 1


def rated_one_page() -> Sequences:
    """As `made_up`; the second user rates the last two films before the held-out ones in the second of these."""
    data = made_up()
    times, first = data.times.copy(), data.starts[2] - LAST
    times[first - 2 : first] = times[first]
    return replace(data, times=times)


def test_events_in_the_requests_second_are_ignored() -> None:
    data = rated_one_page()
    holdout, first = replay.hold_out(data, LAST_FOUR), data.starts[2] - LAST
    page = data.items[first - 2 : first]
    assert (holdout.past.lengths - holdout.known.lengths).tolist() == [0, 2, 0, 0]
    assert holdout.relevance[1].multiply(holdout.past.seen()[1]).nnz == 0
    assert not set(page) & set(holdout.known.items[holdout.known.users == 1])
    lists = np.array([[5, 0, 0, 0, 0]] * 4)
    lists[1] = [page[0], 39, page[1], 40, 0]
    judged = lists.copy()
    judged[1] = [39, 40, 0, 0, 0]
    assert np.array_equal(holdout.judged(lists), judged)
    later = holdout.at(holdout.times + 1)
    assert np.array_equal(later.known.items, holdout.past.items)
    assert np.array_equal(later.judged(lists), lists)
    assert (later.relevance != holdout.relevance).nnz == 0


def test_users_without_events_have_no_past() -> None:
    """All of a user's events are of one second, as where data has dates alone; a later request has the same answer."""
    data = made_up()
    every = replay.hold_out(data, LAST_FOUR)
    user = int(np.diff(every.relevance.indptr).argmax())
    times = np.where(
        data.users == user, data.times[data.starts[user + 1] - 1], data.times
    )
    holdout = replay.hold_out(replace(data, times=times), LAST_FOUR)
    assert holdout.past.lengths[user] > 0 == holdout.known.lengths[user]
    assert not holdout.returning[user]
    for each in (holdout, holdout.at(holdout.times + 1)):
        assert each.relevance[user].nnz == each.disliked[user].nnz == 0
        assert each.cold.nnz == each.cold[user].nnz == every.relevance[user].nnz > 0


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


def test_many_searches_at_once_find_what_one_finds() -> None:
    """Exact search, by vectors alone and with terms; an item has no vector, a user has none."""
    rng = np.random.default_rng(0)
    recipes = EaseRecipe(name="plain"), EaseRecipe(name="hybrid", term_weight=2)
    recall = RecallRecipe(channels=recipes, candidates=9, num_candidates=5)
    items = rng.normal(size=(30, 4)).astype(np.float32)
    items[7] = np.nan
    terms = {1: np.arange(0, 30, 3)}
    index = ExactItems(np.arange(1, 31), {each.name: items for each in recipes}, terms)
    queries = [ItemQuery("", recall, {}, (), ())]
    for seen in ((), (4, 9)):
        vectors = {each.name: rng.normal(size=4).astype(np.float32) for each in recipes}
        queries.append(ItemQuery("", recall, vectors, (1,), seen))
    for query, found in zip(queries, replay.searched(index, queries), strict=True):
        for name, one in index.call(query).items():
            other = found[name]
            assert one.ids.tolist() == other.ids.tolist()
            assert one.scores.tolist() == pytest.approx(other.scores.tolist())
