"""Served channels of a release: user vectors and lists; and the .npz that holds them."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from data_exchange_center.channel_file import pack_channels, unpack_channels
from data_exchange_center.channels import (
    ChannelSet,
    HistorySum,
    Requests,
)
from data_exchange_center.history import History
from tests.channels import random_channel

ITEMS = 9
DIM = 4
LAGS = 5


def channel(name: str = "tower") -> HistorySum:
    rng, trained = np.random.default_rng(0), np.arange(ITEMS + 1) > 0
    return random_channel(name, rng, trained, DIM, LAGS, profile=(3, 2))


def deeper() -> HistorySum:
    """The same with three hidden units."""
    rng = np.random.default_rng(1)
    shapes = (2, DIM, 3), (3,), (3, DIM)
    return replace(
        channel(),
        hidden=tuple(rng.normal(size=shape).astype(np.float32) for shape in shapes),
    )


def requests(
    items: list[list[int]],
    ratings: list[list[int]],
    profiles: list[list[int]],
    ago: int,
) -> Requests:
    """Requests of users whose events lie ``ago`` seconds back."""
    codes = np.array(items)
    return Requests(
        codes,
        np.array(ratings),
        np.zeros_like(codes),
        (codes > 0).sum(axis=1),
        np.array(profiles),
        np.full(len(codes), ago),
    )


def test_a_new_rating_shifts_the_history() -> None:
    one = channel()
    history = (np.arange(1, LAGS + 4) % ITEMS + 1).tolist()
    whole, cut = (
        requests([codes], [[4] * len(codes)], [[]], ago=60)
        for codes in (history, history[:LAGS])
    )
    assert np.array_equal(one.user_vectors(whole), one.user_vectors(cut))


ITEMIDS = np.arange(10, 10 * (ITEMS + 1), 10)  # code c is item 10 c


def one_user() -> History:
    return History(
        np.array([30, 999, 50]), np.array([5, 5, 2]), np.array([1_000, 700, 200])
    )


def test_its_bytes_do_not_depend_on_the_python_version() -> None:
    """A release's id is a hash of them: Python 3.11.2, of Debian, and 3.11.7 wrote other zip headers for np.savez."""
    digest = hashlib.sha256(pack_channels(ChannelSet(ITEMIDS, ()))).hexdigest()
    assert digest == "6e096c7034c6e20d759cc35649d27696c414539bf781d32cb0bdf8edcf4de5d1"


def test_other_bytes_are_no_channels() -> None:
    with pytest.raises(ValueError, match="no channels"):
        unpack_channels(b"PK nothing")


def test_channel_set_maps_ids_and_regimes_by_time() -> None:
    channels = ChannelSet(ITEMIDS, (channel(),))
    profile = np.array([2, 0])
    for timestamp, ago in ((4_599, 3_599), (4_600, 3_600)):
        expected = channel().user_vectors(
            requests([[3, 0, 5]], [[5, 5, 2]], [[2, 0]], ago)
        )[0]
        assert np.array_equal(
            channels.query_vectors(one_user(), profile, timestamp)["tower"], expected
        )


def test_a_user_without_ratings_has_the_profiles_vector() -> None:
    one = channel()
    found = ChannelSet(ITEMIDS, (one,)).query_vectors(
        History.empty(), np.array([1, 1]), 10**9
    )["tower"]
    assert found[:DIM] == pytest.approx(
        one.base[0] + one.profile[0][1] + one.profile[1][1]
    )


def test_a_channel_with_equal_scores_is_not_searched() -> None:
    """Without a history a linear item-item model knows nothing: all inner products are 0, and any items would do."""
    silent = replace(
        channel("ease"),
        base=np.zeros((2, DIM), np.float32),
        profile=(),
        bias=np.zeros(ITEMS + 1),
    )
    popular = replace(silent, name="popular", bias=channel().bias)
    channels = ChannelSet(ITEMIDS, (channel(), silent, popular))
    profile = np.array([1, 1])
    # an unknown item
    unknown_users = History(np.array([999]), np.array([5]), np.array([700]))
    for history in (History.empty(), unknown_users):
        assert set(channels.query_vectors(history, profile, 1_200)) == {
            "tower",
            "popular",
        }
    assert set(channels.query_vectors(one_user(), profile, 1_200)) == {
        "tower",
        "ease",
        "popular",
    }
