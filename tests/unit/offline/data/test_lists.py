"""Lists that recall would have made: of which requests, and what a ranker is trained on of them."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from threading import Event

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from data_exchange_center import artifacts
from data_exchange_center.channels import HistorySum
from data_exchange_center.features import ModelInputs
from data_exchange_center.history import History
from data_exchange_center.recipes import DEFAULT, ListRankerRecipe
from offline.data.lists import (
    Lists,
    ListsConfig,
    StoredFeatures,
    prefetch,
    recall_lists,
    sampled,
)
from offline.data.sequences import Points
from offline.data.statistics import (
    item_statistics,
    list_spec,
    user_statistics,
    user_statistics_after,
)
from tests.unit.offline.data.ratings import events_of, made_up_lists
from tests.unit.offline.models.test_stages import inputs_of


def test_an_age_beyond_the_four_bytes_is_the_longest_there_is() -> None:
    """Times have up to eleven digits; an age that wraps round would be that of an event to come."""
    times = [0, 40, 99_999_999_999]
    data = events_of([[1, 2, 3]], [[5, 5, 5]], [times], n_items=4)
    channel = HistorySum(
        "c",
        np.zeros((1, 5, 2), np.float32),
        np.ones((1, 2, 3), np.float32),
        np.ones((1, 2, 6), np.float32),
        np.ones((2, 2), np.float32),
        np.eye(5, 2, dtype=np.float32),
        np.zeros(5, np.float32),
        np.arange(5) > 0,
    )
    points, nobody = (
        Points(np.array([0, 0]), np.array([1, 2]), np.array(times[1:])),
        np.zeros((1, 0), int),
    )
    found = recall_lists(
        data,
        points,
        nobody,
        [channel],
        replace(REQUESTED, weights=(1.0,), size=2, history=2),
    )
    assert found.ages.tolist() == [[40, 0], [2**31 - 1, 2**31 - 1]]


PATIENCE_S = 60


def test_the_next_is_made_while_one_is_used() -> None:
    made = [Event() for _ in range(3)]

    def items() -> Iterator[int]:
        for number, event in enumerate(made):
            event.set()
            yield number

    for number in prefetch(items()):
        assert all(event.wait(PATIENCE_S) for event in made[: number + 2])
        assert not any(event.is_set() for event in made[number + 2 :])


def test_stopping_early_leaves_no_thread() -> None:
    before = set(threading.enumerate())
    found = prefetch(itertools.count())
    assert next(found) == 0
    (started,) = set(threading.enumerate()) - before
    found.close()
    assert not started.is_alive()


def test_failures_are_raised_at_the_consumer() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("the second")

    found = prefetch(items())
    assert next(found) == 1
    with pytest.raises(ValueError, match="the second"):
        next(found)


LISTS, SIZE = 50, 40


@pytest.fixture
def lists() -> Lists:
    """Features are the candidate's place; the last ten places of the first list are padding."""
    rng = np.random.default_rng(0)
    candidates = rng.permuted(
        np.tile(np.arange(1, SIZE + 1, dtype=np.int32), (LISTS, 1)), axis=1
    )
    candidates[0, 30:] = 0
    rated = rng.random((LISTS, SIZE))
    liked, disliked = (rated < 0.1) & (candidates > 0), (rated > 0.9) & (candidates > 0)
    features = np.tile(np.arange(SIZE, dtype=np.float16)[:, None], (LISTS, 1, 1))
    return made_up_lists(candidates, features, liked=liked, disliked=disliked)


def test_the_liked_are_always_there_and_the_disliked_are_not(lists: Lists) -> None:
    sample, _ = sampled(lists, 20, np.random.default_rng(1))
    assert sample.candidates.shape == (LISTS, 20)
    assert sample.liked.sum() == lists.liked.sum()
    assert not sample.disliked.any()  # there are others enough
    assert (sample.candidates > 0).all()
    places = sample.features[..., 0].astype(int)
    assert (np.diff(places, axis=1) > 0).all()  # in fused order, nothing twice
    for row, kept in enumerate(places):
        assert np.array_equal(lists.candidates[row, kept], sample.candidates[row])


def test_sampling_differs_by_draw_and_repeats_by_seed(lists: Lists) -> None:
    rng = np.random.default_rng(1)
    one, two = (sampled(lists, 20, rng)[0].candidates for _ in range(2))
    assert not np.array_equal(one, two)
    assert np.array_equal(
        one, sampled(lists, 20, np.random.default_rng(1))[0].candidates
    )


def test_its_weights_are_those_of_all_that_could_be_taken(lists: Lists) -> None:
    sample, log_weights = sampled(lists, 20, np.random.default_rng(1))
    assert (log_weights[sample.liked] == 0).all()
    everything = (~lists.disliked & (lists.candidates > 0)).sum(axis=1)
    assert np.exp(log_weights).sum(axis=1) == pytest.approx(everything, rel=1e-5)


def test_the_whole_list_stands_for_itself(lists: Lists) -> None:
    sample, log_weights = sampled(lists, SIZE + 10, np.random.default_rng(1))
    assert np.array_equal(sample.candidates, lists.candidates)
    assert not log_weights.any()


def test_a_list_of_nothing_but_dislikes_is_taken_as_it_is(lists: Lists) -> None:
    bad = replace(
        lists, liked=np.zeros_like(lists.liked), disliked=lists.candidates > 0
    )
    assert not sampled(bad, 20, np.random.default_rng(1))[1].any()


def test_lists_survive_a_table_of_their_users_alone(
    lists: Lists, tmp_path: Path
) -> None:
    lists, userids = (
        replace(lists, users=np.arange(LISTS, dtype=np.int32)),
        np.arange(5, 5 + LISTS),
    )
    artifacts.LISTS.write(tmp_path, lists.table(userids))
    table = artifacts.LISTS.read_arrow(tmp_path)
    again = Lists.of_table(table, userids)
    for field in fields(Lists):
        one, two = getattr(again, field.name), getattr(lists, field.name)
        assert one.dtype == two.dtype, field.name
        assert np.array_equal(one, two), field.name
    for others in (userids[1:], userids[:-1] - 1):
        with pytest.raises(ValueError, match="no lists of these users"):
            Lists.of_table(table, others)
    shorter = pa.array([[1], *[[1, 2]] * (LISTS - 1)], pa.list_(pa.int32()))
    with pytest.raises(ValueError, match="same shape"):
        Lists.of_table(
            table.set_column(table.column_names.index("events"), "events", shorter),
            userids,
        )


RANKER = ListRankerRecipe(seed=7, stride=3, past=0.4)
REQUESTED = ListsConfig.of(DEFAULT.model_copy(update={"ranker": RANKER}))


def test_requests_follow_the_known_past_with_long_absences() -> None:
    data = replace(RUNNERS.data, times=RUNNERS.data.times * 6)  # each event is a return
    points = REQUESTED.requests(data)
    assert len(points) > 50
    assert (points.positions >= data.earlier_lengths(0.4)[points.users]).all()
    assert (points.times > data.times.max()).mean() == 0.5
    again = REQUESTED.requests(data)
    assert points.times.tolist() == again.times.tolist()


def test_a_part_of_too_many_requests_is_drawn() -> None:
    data, every = RUNNERS.data, REQUESTED.requests(RUNNERS.data)
    assert REQUESTED.limited(data).requests(data).times.tolist() == every.times.tolist()
    limited = replace(REQUESTED, most=len(every) // 2).limited(data)
    assert limited.limited(data) == limited
    part = limited.requests(data)
    assert len(every) / 3 < len(part) < len(every) / 1.5
    assert set(zip(part.users, part.positions, strict=True)) < set(
        zip(every.users, every.positions, strict=True)
    )


# Lists become rows as the server makes them, one request at a time

NOW = 10**6
RUNNERS = inputs_of(np.arange(39))
SPEC = list_spec(RUNNERS, DEFAULT, ListRankerRecipe(history=4))
STORED = StoredFeatures.of(RUNNERS.data, RUNNERS, SPEC, DEFAULT)


def lists_of(users: list[int]) -> Lists:
    """One list a user: three candidates, the last two of another length than the history."""
    random, m = np.random.default_rng(1), len(users)
    return made_up_lists(
        random.permutation(np.arange(1, 31))[: 3 * m].reshape(m, 3).astype(np.int32),
        random.normal(size=(m, 3, len(SPEC.candidate))).astype(np.float16),
        users=np.array(users, np.int32),
        times=np.full(m, NOW),
        lengths=np.arange(m, dtype=np.int32) + 7,
        statistics=user_statistics_after(
            RUNNERS.data, np.array(users), np.arange(m) + 7, ()
        ),
        events=random.integers(1, 30, (m, 4)).astype(np.int32),
        ratings=random.integers(1, 6, (m, 4)).astype(np.int8),
        ages=random.integers(0, 10**5, (m, 4)).astype(np.int32),
    )


def as_served(lists: Lists, row: int) -> ModelInputs:
    """The inputs of one list, from raw values by id."""
    past, user = RUNNERS.data, int(lists.users[row])
    begun = past.select(
        past.positions
        < np.where(past.users == user, lists.lengths[row], past.lengths[past.users])
    )
    users = user_statistics(begun, RUNNERS.users, ()).iloc[[user]]
    items = item_statistics(past, RUNNERS, ()).iloc[lists.candidates[row] - 1]
    itemids, times = (
        past.item_numbers[lists.events[row] - 1],
        NOW - lists.ages[row].astype(np.int64),
    )
    history = History(itemids, lists.ratings[row].astype(np.int64), times)

    def raw(frame: pd.DataFrame) -> dict[str, object]:
        return {str(name): column.to_numpy() for name, column in frame.items()}

    recalled = SPEC.encode_candidates(SPEC.candidate, lists.features[row])
    rows = SPEC.assemble(
        SPEC.encode("user", raw(users)), SPEC.encode("item", raw(items)), NOW, recalled
    )
    return ModelInputs(rows, SPEC.encode_history(history, NOW))


def test_training_reads_what_would_be_served() -> None:
    lists = lists_of([3, 17, 8])
    inputs = STORED.inputs(lists)
    assert inputs.rows.shape == (3, 3, SPEC.width)
    assert inputs.history is not None
    assert inputs.history.shape == (3, 4, 3)
    for number in range(len(lists)):
        served = as_served(lists, number)
        assert served.history is not None
        assert np.array_equal(inputs.rows[number], served.rows)
        assert np.array_equal(inputs.history[number], served.history[0])


def test_padding_is_a_row_of_zeros_but_for_the_user() -> None:
    lists = lists_of([3])
    lists.candidates[0, 2] = 0
    lists.features[0, 2] = 0
    last = STORED.inputs(lists).rows[0, 2]
    of_items = [SPEC.columns.index(feature.name) for feature in SPEC.of("item")]
    assert not last[of_items].any()
    assert not last[len(SPEC.features) :].any()
    of_user = [SPEC.columns.index(feature.name) for feature in SPEC.of("user")]
    assert last[of_user].any()
