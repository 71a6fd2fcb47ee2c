from __future__ import annotations

import json

import numpy as np
import pytest

from offline.data.sequences import Sequences
from offline.evaluation import replay

N_ITEMS, LAST = 40, 4


@pytest.fixture
def data() -> Sequences:
    rng = np.random.default_rng(0)
    lengths = np.array([20, 12, 30, 25])
    items = np.concatenate([rng.permutation(N_ITEMS)[:n] + 1 for n in lengths])
    ratings = rng.integers(1, 6, len(items))
    times = np.concatenate([np.arange(n) * 10 for n in lengths])
    times[16:20] += 7200  # the first user comes back after two hours
    starts = np.concatenate([[0], np.cumsum(lengths)])
    ids = np.arange(1, N_ITEMS + 1)
    return Sequences(np.arange(4), ids, starts, items, ratings, ratings > 3, times)


def test_the_past_holds_nothing_of_the_held_out_part(data: Sequences) -> None:
    held = replay.held_out(data, LAST)
    overlap = held.past.seen().multiply(held.relevance)
    assert overlap.nnz == 0
    assert held.relevance.sum() == sum(data.liked[end - LAST : end].sum() for end in data.starts[1:])
    assert held.slices["returning"].tolist() == [True, False, False, False]


def test_report_is_json_and_a_perfect_list_is_perfect(data: Sequences) -> None:
    held = replay.held_out(data, LAST)
    perfect = replay.best_unseen(held.relevance.toarray(), held.past.seen(), 10)
    popular = replay.popular_lists(held.past, 10)
    found = replay.report(
        held,
        {"perfect": perfect, "popularity": popular},
        channels={"perfect": perfect, "popular": popular},
        fused=popular,
        ranked=perfect,
        genres=np.eye(N_ITEMS + 1),
        baseline="popularity",
    )
    assert json.dumps(json.loads(json.dumps(found))) == json.dumps(found)
    assert found["systems"]["perfect"]["ndcg@10"]["mean"] == pytest.approx(1)
    assert found["funnel"]["channels"]["perfect"]["found"] == pytest.approx(1)
    channels = found["funnel"]["channels"]
    assert channels["perfect"]["by no other"] == pytest.approx(1 - channels["popular"]["found"])
    assert channels["popular"]["by no other"] == 0


def test_lists_hold_nothing_seen(data: Sequences) -> None:
    seen = data.seen()
    lists = replay.best_unseen(np.random.default_rng(1).random((4, N_ITEMS + 1)), seen, N_ITEMS)
    for user, codes in enumerate(lists):
        assert not set(codes[codes > 0]) & set(seen[user].indices)
        assert (codes > 0).sum() == N_ITEMS - seen[user].nnz
