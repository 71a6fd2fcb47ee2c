"""Shares of a channel's score: the terms of a sum."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_exchange_center.channels import BREAK_S, HistorySum, Requests, StoredVectors
from extras.explain.shares import shares_of
from tests.unit.data_exchange_center.test_channels import ITEMS, channel, deeper, requests

EVENTS = st.lists(st.tuples(st.integers(0, ITEMS), st.integers(1, 5)), max_size=9)  # more than the channel looks at


@pytest.mark.parametrize("one", [channel(), deeper()], ids=["sum", "with hidden units"])
@given(EVENTS, st.integers(0, 2), st.integers(0, 1), st.sampled_from([1, BREAK_S]))
def test_shares_add_up_to_the_score_of_every_item(
    one: HistorySum, events: list[tuple[int, int]], gender: int, age: int, ago: int
) -> None:
    n = len(events)
    history = np.array(events, np.int64).reshape(n, 2).T
    asked = Requests(
        history[:1], history[1:], np.zeros((1, n), np.int64), np.array([n]), np.array([[gender, age]]), np.array([ago])
    )
    shares = shares_of(one, asked, np.arange(ITEMS + 1))
    assert shares is not None
    assert shares.events.shape == (ITEMS + 1, min(n, one.events))
    assert shares.profile.shape == (ITEMS + 1, 2)
    expected = (one.user_vectors(asked) @ one.item_vectors().T)[0]
    np.testing.assert_allclose(shares.scores[1:], expected[1:], atol=1e-5)
    assert (shares.events[:, history[0, : one.events] == 0] == 0).all()  # an unknown item carries nothing


def test_each_share_is_the_product_of_an_item_with_a_term() -> None:
    one = channel()
    shares = shares_of(one, requests([[3, 5]], [[5, 2]], [[1, 0]], ago=1), np.array([9, 1]))
    assert shares is not None
    weights = one.lag[:, 0, :2] * one.rating_weight[:, 0, [5, 2]]  # (fields, events)
    terms = (weights[:, :, None] * one.rows[:, [3, 5]]).sum(axis=0)
    assert shares.events == pytest.approx(one.items[[9, 1]] @ terms.T, abs=1e-5)
    assert shares.profile[:, 0] == pytest.approx(one.items[[9, 1]] @ one.profile[0][1], abs=1e-5)
    assert shares.base == pytest.approx(one.items[[9, 1]] @ one.base[0], abs=1e-5)
    assert shares.popularity == pytest.approx(one.bias[[9, 1]])


def test_a_channel_whose_scores_are_no_sums_has_none() -> None:
    one = channel()
    learned = StoredVectors("fm", one.items, one.items, one.trained)
    assert shares_of(learned, requests([[3]], [[5]], [[1, 1]], ago=1), np.array([9])) is None
