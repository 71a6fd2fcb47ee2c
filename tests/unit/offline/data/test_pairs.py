"""Pairs of items: what is counted of a few users adds up, and who is asked."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from offline.data.sequences import PairCount, Sequences, sequences


@pytest.fixture
def ratings() -> pd.DataFrame:
    random = np.random.default_rng(1)
    users = np.sort(random.integers(1, 9, 120))
    columns = {"userid": users, "itemid": random.integers(1, 12, 120), "rating": random.integers(1, 6, 120)}
    return pd.DataFrame({**columns, "timestamp": np.arange(120)})


def of(ratings: pd.DataFrame) -> Sequences:
    return sequences(ratings, np.arange(1, 12), positive_level=3)


@pytest.mark.parametrize("asked", [PairCount(), PairCount(0.7), PairCount(window=3), PairCount(0.5, window=200)])
def test_of_a_few_users_after_the_other(ratings: pd.DataFrame, asked: PairCount) -> None:
    whole, some = asked.of(of(ratings)), [asked.of(of(rows)) for _, rows in ratings.groupby("userid")]
    total = sp.csr_matrix(sum(some[1:], some[0]))
    assert whole.nnz
    assert (total != whole).nnz == 0


def test_together_is_by_users_however_often_they_rated() -> None:
    data = of(pd.DataFrame({"userid": [1, 1, 1, 2], "itemid": [5, 7, 5, 5], "rating": 4, "timestamp": range(4)}))
    counts = data.seen_together()
    assert (counts[5, 5], counts[5, 7], counts[7, 5], counts[7, 7], counts.sum()) == (2, 1, 1, 1, 5)


@dataclass(frozen=True)
class Elsewhere:
    share: float = 1.0

    def seen_together(self) -> sp.csr_matrix:
        return sp.csr_matrix([[self.share]])

    def followers(self, window: int) -> sp.csr_matrix:
        return sp.csr_matrix([[self.share, window]])

    def earlier(self, share: float) -> Elsewhere | None:
        return Elsewhere(share) if self.share == 1 else None


def test_who_counts_elsewhere_is_asked_of_all_events_or_of_the_first(ratings: pd.DataFrame) -> None:
    data = replace(of(ratings), elsewhere=Elsewhere())
    assert data.seen_together().toarray().tolist() == [[1]]
    assert data.earlier(0.7).followers(3).toarray().tolist() == [[0.7, 3]]
    for others in (data.before_last(1), data.earlier(0.7).earlier(0.5), data.earlier(0.7).last(2)):
        assert others.elsewhere is None
        assert others.seen_together().shape == (12, 12)
