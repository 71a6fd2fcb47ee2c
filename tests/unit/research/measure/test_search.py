from __future__ import annotations

import numpy as np
import pytest

from research.measure.search import (
    best_weight,
    measures,
)


def test_measures_of_a_list_by_hand() -> None:
    found = measures([7, 1, 9, 2], {1, 2, 3})
    ideal = 1 + 1 / np.log2(3) + 1 / np.log2(4)
    expected = {
        "success@10": 1.0,
        "NDCG@10": (1 / np.log2(3) + 1 / np.log2(5)) / ideal,
        "recall@50": 2 / 3,
    }
    assert found == pytest.approx(expected)
    assert measures([7], {1}) == {"success@10": 0.0, "NDCG@10": 0.0, "recall@50": 0.0}


def test_no_weight_is_chosen_with_which_words_find_less() -> None:
    def both(words: float, paraphrases: float) -> dict[str, dict[str, float]]:
        return {"words": {"NDCG@10": words}, "paraphrases": {"NDCG@10": paraphrases}}

    weights = {"0.3": both(0.9, 0.1), "0.6": both(0.8, 0.4), "0.9": both(0.7, 0.9)}
    assert best_weight(both(0.8, 0.0), weights) == "0.6"
    assert best_weight(both(0.9, 0.0), weights) == "0.3"
    assert best_weight(both(0.95, 0.0), weights) == "none"
