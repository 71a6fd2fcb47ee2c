"""Lists that recall would have made: of which requests, and what a ranker is trained on of them."""

import itertools
import threading
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data_exchange_center import artifacts
from data_exchange_center.channels import HistorySum
from data_exchange_center.features import ModelInputs
from data_exchange_center.history import History
from data_exchange_center.recipes import (
    DEFAULT,
    EaseRecipe,
    ListRankerRecipe,
    RecallRecipe,
    Recipe,
)
from offline.data.lists import (
    Lists,
    StoredFeatures,
    prefetch,
    recall_lists,
    sampled,
    training_requests,
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

TWO = Recipe(
    name="two",
    recall=RecallRecipe(channels=(EaseRecipe(),), candidates=2),
    ranker=ListRankerRecipe(history=2),
)


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
    points = Points(np.array([0, 0]), np.array([1, 2]), np.array(times[1:]))
    nobody = np.zeros((1, 0), int)
    found = recall_lists(data, points, nobody, [channel], TWO)
    assert found.ages.tolist() == [[40, 0], [2**31 - 1, 2**31 - 1]]


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


def test_its_weights_are_those_of_all_that_could_be_taken(lists: Lists) -> None:
    sample, log_weights = sampled(lists, 20, np.random.default_rng(1))
    assert (log_weights[sample.liked] == 0).all()
    everything = (~lists.disliked & (lists.candidates > 0)).sum(axis=1)
    assert np.exp(log_weights).sum(axis=1) == pytest.approx(everything, rel=1e-5)


def test_the_whole_list_stands_for_itself(lists: Lists) -> None:
    sample, log_weights = sampled(lists, SIZE + 10, np.random.default_rng(1))
    assert np.array_equal(sample.candidates, lists.candidates)
    assert not log_weights.any()


def test_lists_survive_a_table_of_their_users_alone(
    lists: Lists, tmp_path: Path
) -> None:
    lists = replace(lists, users=np.arange(LISTS, dtype=np.int32))
    userids = np.arange(5, 5 + LISTS)
    artifacts.LISTS.write(tmp_path, lists.table(userids))
    again = Lists.of_table(artifacts.LISTS.read_arrow(tmp_path), userids)
    for field in fields(Lists):
        one, two = getattr(again, field.name), getattr(lists, field.name)
        assert one.dtype == two.dtype, field.name
        assert np.array_equal(one, two), field.name


RANKER = ListRankerRecipe(seed=7, stride=3, past=0.4)


def test_requests_follow_the_known_past_with_long_absences() -> None:
    data = replace(RUNNERS.data, times=RUNNERS.data.times * 6)  # each event is a return
    points = training_requests(data, RANKER)
    assert len(points) > 50
    assert (points.positions >= data.earlier_lengths(0.4)[points.users]).all()
    assert (points.times > data.times.max()).mean() == 0.5
    again = training_requests(data, RANKER)
    assert points.times.tolist() == again.times.tolist()


def test_a_part_of_too_many_requests_is_drawn() -> None:
    every = training_requests(RUNNERS.data, RANKER)
    few = RANKER.model_copy(update={"most": len(every) // 2})
    part = training_requests(RUNNERS.data, few)
    assert len(every) / 3 < len(part) < len(every) / 1.5
    assert set(zip(part.users, part.positions, strict=True)) < set(
        zip(every.users, every.positions, strict=True)
    )


# Lists become rows as the server makes them, one request at a time

NOW = 10**6
RUNNERS = inputs_of(np.arange(39))
SPEC = list_spec(RUNNERS, DEFAULT, ListRankerRecipe(history=4))
STORED = StoredFeatures.of(RUNNERS.data, RUNNERS, SPEC, RANKER)


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
