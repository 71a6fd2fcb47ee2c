"""The list ranker as it is served: the same scores with the history given once, rebuilt from weights and JSON."""

import json

import numpy as np
import pytest
import torch

from data_exchange_center.features import (
    HISTORY,
    DenseFeature,
    FeatureSpec,
    HistoryFeature,
    ModelInputs,
    one_hot,
)
from data_exchange_center.history import History
from data_exchange_center.recipes import ListRankerRecipe
from offline.models.list_ranker import ListRanker, ListRankerConfig, crossed_log_odds
from offline.models.rankers import load_ranker, score, weights_to_bytes
from offline.models.training import tensors_of
from tests.datasets import STARS
from tests.unit.offline.data.ratings import events_of

ITEMS, LENGTH, CANDIDATES = 30, 5, 12
SPEC = FeatureSpec(
    one_hot=(
        one_hot("itemid", "item", range(100, 100 + ITEMS)),
        one_hot("gender", "user", ["F", "M"]),
        one_hot("age", "user", [1, 18, 25]),
    ),
    multi_hot=(),
    dense=(
        DenseFeature(name="n_ratings", entity="user", scale=5),
        DenseFeature(name="year", entity="item", scale=100),
    ),
    genres=("Drama",),
    candidate=("a_score", "fused_log_rank"),
    history=HistoryFeature(length=LENGTH),
)
RECIPE = ListRankerRecipe(
    kernels=3,
    hidden=(8, 4),
    returning=(("fused_log_rank", -0.5), ("year", 0.125), ("no such column", 1.0)),
)
CONFIG = ListRankerConfig.model_validate(
    ListRanker.configure(RECIPE, SPEC, STARS, {"factors": (4, 2, 3)})
)


@pytest.fixture(scope="module")
def ranker() -> ListRanker:
    torch.manual_seed(0)
    model = ListRanker(CONFIG).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += torch.randn_like(parameter) * 0.3
    return model


@pytest.mark.parametrize("events", [0, 3, LENGTH, LENGTH + 4])
def test_a_served_list_scores_as_in_training(ranker: ListRanker, events: int) -> None:
    random = np.random.default_rng(events)
    history = History(
        random.integers(100, 100 + ITEMS, events),
        random.integers(1, 6, events),
        np.sort(random.integers(0, 10**7, events))[::-1],
    )
    items = random.permutation(np.arange(100, 100 + ITEMS))[:CANDIDATES]
    users = SPEC.encode("user", {"gender": ["M"], "age": [18], "n_ratings": [events]})
    stored = SPEC.encode(
        "item", {"itemid": items, "year": random.integers(1930, 2000, CANDIDATES)}
    )
    recalled = random.normal(size=(CANDIDATES, 2)).astype(np.float32)
    rows = SPEC.assemble(users, stored, 0, recalled)
    inputs = ModelInputs(rows, SPEC.encode_history(history, 10**7))
    assert inputs.history is not None
    in_training = ModelInputs(
        np.stack([rows, rows[::-1]]), np.repeat(inputs.history, 2, axis=0)
    )

    served = load_ranker(weights_to_bytes(ranker), json.loads(CONFIG.model_dump_json()))
    found = score(served, inputs)
    with torch.no_grad():
        expected = torch.sigmoid(ranker(*tensors_of(in_training))[0, :, 0])
    assert found.shape == (CANDIDATES,)
    np.testing.assert_allclose(found, expected, atol=1e-6, rtol=0)
    assert len(set(found.tolist())) == CANDIDATES


def test_an_affinity_is_a_weighted_sum_over_the_history(ranker: ListRanker) -> None:
    """The sum of weight times similarity; padding has none."""
    events, candidates = torch.tensor([[3, 5, 7, 0, 0]]), torch.tensor([[4, 9]])
    ratings, ages = (
        torch.tensor([[5, 5, 1, 0, 0]]),
        torch.tensor([[10.0, 20.0, 1e6, 0.0, 0.0]]),
    )
    # the last similarity's kernels
    found = ranker.affinities(events, ratings, ages, candidates)[0, :, -3:]
    number = len(CONFIG.factors) - 1
    similar = (
        ranker.get_buffer(f"events{number}")[events[0]]
        @ ranker.get_buffer(f"candidates{number}")[candidates[0]].T
    )
    weight = ranker.lag[number] * ranker.rating_weight[number][:, ratings[0]]
    weight = weight * ranker.age[number][:, ranker.buckets(ages)[0]]  # (kernels, lags)
    torch.testing.assert_close(found, (weight[:, :3] @ similar[:3]).T)


def test_returning_users_are_scored_by_given_columns_too(ranker: ListRanker) -> None:
    random = np.random.default_rng(5)
    rows = torch.from_numpy(
        random.random((3, CANDIDATES, SPEC.width), dtype=np.float32)
    )
    rows[:, :, :3] = 1  # codes
    history = torch.zeros(3, LENGTH, len(HISTORY))
    history[0, 0] = torch.tensor([1, 1, 3600])  # comes back
    history[1, 0] = torch.tensor([1, 1, 3599])  # goes on; the third has no history
    plain = ListRanker(CONFIG.model_copy(update={"returning": ()})).eval()
    plain.load_state_dict(ranker.state_dict())
    rank, year = (SPEC.columns.index(name) for name in ("fused_log_rank", "year"))
    with torch.no_grad():
        added = (ranker(rows, history) - plain(rows, history))[..., 0]
        in_training = ranker.train()(rows, history) - plain.train()(rows, history)
    ranker.eval()
    torch.testing.assert_close(
        added[0], 0.125 * rows[0, :, year] - 0.5 * rows[0, :, rank]
    )
    assert not added[1:].any()
    assert not in_training.any()


def test_a_spec_without_history_has_no_list_ranker() -> None:
    with pytest.raises(ValueError, match="history"):
        ListRanker.configure(
            RECIPE, SPEC.model_copy(update={"history": None}), STARS, {"factors": (4,)}
        )


def test_crossed_log_odds_are_positive_for_fans() -> None:
    data = events_of([[1, 2], [1, 3, 1]], [[5, 2], [4, 4, 1]])
    odds = crossed_log_odds(data, np.array([0, 1]), 2)
    assert odds[1, 3] > 0 > odds[0, 3]
