"""A sample of a list holds what was liked, and stands for the whole list."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from offline.data.lists import Lists, sampled

LISTS, SIZE = 50, 40
NOTHING = np.zeros((LISTS, 3), np.int32)


@pytest.fixture
def lists() -> Lists:
    """Features are the candidate's place; the last ten places of the first list are padding."""
    rng = np.random.default_rng(0)
    candidates = rng.permuted(np.tile(np.arange(1, SIZE + 1, dtype=np.int32), (LISTS, 1)), axis=1)
    candidates[0, 30:] = 0
    rated = rng.random((LISTS, SIZE))
    return Lists(
        users=NOTHING[:, 0],
        times=NOTHING[:, 0].astype(np.int64),
        lengths=NOTHING[:, 0],
        statistics=NOTHING.astype(np.int64),
        events=NOTHING,
        ratings=NOTHING.astype(np.int8),
        ages=NOTHING,
        candidates=candidates,
        features=np.tile(np.arange(SIZE, dtype=np.float16)[:, None], (LISTS, 1, 1)),
        liked=(rated < 0.1) & (candidates > 0),
        disliked=(rated > 0.9) & (candidates > 0),
    )


def test_the_liked_are_always_there_and_the_disliked_are_not(lists: Lists) -> None:
    sample = sampled(lists, 20, np.random.default_rng(1)).lists
    assert sample.candidates.shape == (LISTS, 20)
    assert sample.liked.sum() == lists.liked.sum()
    assert not sample.disliked.any()  # there are others enough
    assert (sample.candidates > 0).all()
    places = sample.features[..., 0].astype(int)
    assert (np.diff(places, axis=1) > 0).all()  # in fused order, nothing twice
    for row, kept in enumerate(places):
        assert np.array_equal(lists.candidates[row, kept], sample.candidates[row])


def test_others_are_drawn_each_time_and_the_same_with_the_same_seed(lists: Lists) -> None:
    rng = np.random.default_rng(1)
    one, two = (sampled(lists, 20, rng).lists.candidates for _ in range(2))
    assert not np.array_equal(one, two)
    assert np.array_equal(one, sampled(lists, 20, np.random.default_rng(1)).lists.candidates)


def test_its_weights_are_those_of_all_that_could_be_taken(lists: Lists) -> None:
    sample = sampled(lists, 20, np.random.default_rng(1))
    assert (sample.log_weights[sample.lists.liked] == 0).all()
    everything = (~lists.disliked & (lists.candidates > 0)).sum(axis=1)
    assert np.exp(sample.log_weights).sum(axis=1) == pytest.approx(everything, rel=1e-5)


def test_the_whole_list_stands_for_itself(lists: Lists) -> None:
    sample = sampled(lists, SIZE + 10, np.random.default_rng(1))
    assert np.array_equal(sample.lists.candidates, lists.candidates)
    assert not sample.log_weights.any()


def test_a_list_of_nothing_but_dislikes_is_taken_as_it_is(lists: Lists) -> None:
    bad = replace(lists, liked=np.zeros_like(lists.liked), disliked=lists.candidates > 0)
    assert not sampled(bad, 20, np.random.default_rng(1)).log_weights.any()


def test_a_list_has_the_same_sample_whoever_draws_for_it(lists: Lists) -> None:
    whole = sampled(lists, 16, np.random.default_rng(0))
    own = np.arange(LISTS) % 3 == 0
    part = sampled(lists.take(own), 16, np.random.default_rng(0), own)
    assert np.array_equal(part.lists.candidates, whole.lists.candidates[own])
    assert np.array_equal(part.log_weights, whole.log_weights[own])
