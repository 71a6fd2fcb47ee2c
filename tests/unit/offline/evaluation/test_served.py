"""Answers of the artifacts: equal to brute force, nothing seen or untrained, and nothing of the held-out part."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from data_exchange_center import artifacts
from data_exchange_center.candidates import ItemQuery
from data_exchange_center.columns import Columns, Split
from data_exchange_center.exact import ExactItems
from data_exchange_center.recipes import EaseRecipe, RecallRecipe
from data_exchange_center.release_parts import read_feature_spec
from data_exchange_center.settings import Settings
from data_exchange_center.wire import vector_of
from offline.evaluation import served
from offline.evaluation.replay import Answers, Holdout
from offline.models.rankers import load_ranker
from tests.unit.offline.evaluation.conftest import holdout_of, settings_of


@pytest.fixture
def holdout(released: Settings) -> Holdout:
    return holdout_of(released)


@pytest.fixture
def answers(released: Settings, holdout: Holdout) -> Answers:
    return served.answers(released, holdout)


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


def test_items_nobody_trained_are_on_no_list_of_vectors(exchange: Path) -> None:
    settings = settings_of("default", exchange)
    holdout = holdout_of(settings)
    answers = served.answers(settings, holdout)
    table = artifacts.ITEM_VECTORS.read(settings.exchange_dir)
    untrained = table.loc[table[vector_of("tower")].isna(), Columns.ITEM].to_numpy()
    assert len(untrained) > 0
    codes = np.searchsorted(holdout.past.item_numbers, untrained) + 1
    assert not np.isin(answers.channels["tower"], codes).any()


def test_scores_are_the_rankers_of_the_assembled_rows(exchange: Path) -> None:
    settings = settings_of("source", exchange)
    holdout, folder = holdout_of(settings), settings.exchange_dir
    answers = served.answers(settings, holdout)
    spec, (users, items) = read_feature_spec(folder), served.read_features(folder)
    model = load_ranker(
        artifacts.RANK_WEIGHTS.read(folder), artifacts.RANK_REPORT.read(folder)["model"]
    )
    user, codes = 3, answers.ranked[3]
    userids, itemids = (
        holdout.past.user_numbers[[user]],
        holdout.past.item_numbers[codes[codes > 0] - 1],
    )
    rows = spec.assemble(
        spec.encode("user", users.loc[userids]),
        spec.encode("item", items.loc[itemids]),
        0,
    )
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
    other = served.answers(there, holdout_of(there))
    assert (holdout_of(there).relevance != holdout_of(released).relevance).nnz > 0
    assert np.array_equal(answers.ranked, other.ranked)
    assert np.array_equal(answers.fused, other.fused)


def test_a_user_nothing_is_found_for_gets_the_popular(
    exchange: Path, tmp_path: Path
) -> None:
    settings = settings_of("source", exchange)
    folder = tmp_path / "exchange"
    shutil.copytree(settings.exchange_dir, folder)
    users = artifacts.USER_VECTORS.read(folder)
    unknown_user = int(users[Columns.USER].iloc[4])
    artifacts.USER_VECTORS.write(folder, users[users[Columns.USER] != unknown_user])
    preferences = artifacts.USER_PREFERENCES.read(folder)
    artifacts.USER_PREFERENCES.write(
        folder, preferences[preferences[Columns.USER] != unknown_user]
    )
    settings = settings.model_copy(update={"exchange_dir": folder})
    holdout = holdout_of(settings)
    user = int(np.searchsorted(holdout.past.user_numbers, unknown_user))
    answers = served.answers(settings, holdout)
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
    before, before_later = (
        served.answers(settings, each) for each in (then, then.at(then.times + 1))
    )
    stored, known = (
        served.users_at(folder, then, stored_events=each) for each in (True, False)
    )
    assert [user.history.pack() for user in stored] == [
        user.history.pack() for user in known
    ]
    state = artifacts.USER_STATE.read(folder)
    state[Columns.RATINGS] = [
        np.r_[rated[0] % 5 + 1, rated[1:]].astype(np.int8)
        for rated in state[Columns.RATINGS]
    ]
    artifacts.USER_STATE.write(folder, state)
    after, after_later = (
        served.answers(settings, each) for each in (then, then.at(then.times + 1))
    )
    assert np.array_equal(before.ranked, after.ranked)
    assert np.array_equal(before.fused, after.fused)
    assert not np.array_equal(before_later.ranked, after_later.ranked)
    assert (before.fused == past.items[newest][:, None]).any()
    assert not (before_later.fused == past.items[newest][:, None]).any()


# Exact search finds what Elasticsearch would, without what was seen or never trained on

PLAIN = EaseRecipe(name="plain")
HYBRID = EaseRecipe(name="hybrid", term_weight=2, vector_weight=3)
RECALL = RecallRecipe(channels=(PLAIN, HYBRID), candidates=3, num_candidates=2)
GENRE = (1,)
# of each query, items and scores by each channel
Found = list[tuple[tuple[list[int], list[float]], ...]]


@pytest.fixture(params=["all at once", "one by one"])
def search(request: pytest.FixtureRequest) -> Callable[..., Found]:
    """Search as evaluation does, and as a server: items 1..4 with one number each, the third never trained; item 4 has
    the one genre."""
    vectors = np.array([[1.0], [-2.0], [np.nan], [3.0]], dtype=np.float32)
    index = ExactItems(
        np.arange(1, 5), {"plain": vectors, "hybrid": vectors}, {1: np.array([3])}
    )

    def search(*queries: ItemQuery) -> Found:
        found = (
            served.searched(index, queries)
            if request.param == "all at once"
            else map(index.call, queries)
        )
        return [
            tuple((hits.ids.tolist(), hits.scores.tolist()) for hits in lists)
            for lists in found
        ]

    return search


def query(
    number: float | None, terms: tuple[int, ...] = (), seen: tuple[int, ...] = ()
) -> ItemQuery:
    """A search of both channels by one number, or without a vector."""
    vector = np.array([number], dtype=np.float32)
    return ItemQuery(
        "",
        RECALL,
        {} if number is None else {"plain": vector, "hybrid": vector},
        terms,
        seen,
    )


def test_a_vector_search_answers_inner_products(search: Callable[..., Found]) -> None:
    # in whatever order
    (one, _), (two, _) = search(query(1.0, GENRE, seen=(9, 1, 1, 0)), query(-1.0))
    assert one == ([4, 2], [3.0, -2.0])
    assert two == ([2, 1, 4], [2.0, -1.0, -3.0])


def test_a_user_without_a_vector_is_found_by_genres_alone(
    search: Callable[..., Found],
) -> None:
    nobody, by_genre = search(query(None), query(None, GENRE))
    assert nobody == (([], []), ([], []))
    assert by_genre == (([], []), ([4], [2.0]))


def test_a_genre_adds_to_the_vector_of_the_nearest_unseen(
    search: Callable[..., Found],
) -> None:
    (_, plain), (_, found), (_, other) = search(
        query(1.0), query(-1.0, GENRE), query(-1.0, GENRE, seen=(2,))
    )
    assert plain == ([4, 1, 2], [3.0, 1.0, -2.0])  # without genres
    assert found[0] == [
        2,
        4,
        1,
    ]  # 4 is not among the two nearest and earns its genre alone
    assert found[1] == pytest.approx([3 * 3, 2, 3 / 2])
    assert other[0] == [4, 1]  # 4 is among them where 2 was seen
    assert other[1] == pytest.approx([2 + 3 / 4, 3 / 2])


def test_of_equally_near_ones_the_smaller_ids_are_kept(
    search: Callable[..., Found],
) -> None:
    ((_, found),) = search(query(0.0, GENRE))
    assert found == ([1, 2, 4], [3.0, 3.0, 2.0])
