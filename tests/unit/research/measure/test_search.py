from __future__ import annotations

import numpy as np
import pytest

from extras.search.settings import SearchSettings
from research.measure.search import (
    ENCODER_WEIGHTS,
    WEIGHTS,
    best_weight,
    measures,
    nearest,
    report,
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


def test_nearest_items_are_in_the_order_of_cosines() -> None:
    vectors = np.array([[0, 1], [1, 0], [0.6, 0.8]], np.float32)
    found = nearest(vectors, [5, 6, 7], np.array([1, 0], np.float32))
    assert found.ids.tolist() == [6, 7, 5]
    assert found.scores.tolist() == pytest.approx([1, 0.6, 0])


def test_no_weight_is_chosen_with_which_words_find_less() -> None:
    def both(words: float, paraphrases: float) -> dict[str, dict[str, float]]:
        return {"words": {"NDCG@10": words}, "paraphrases": {"NDCG@10": paraphrases}}

    weights = {"0.3": both(0.9, 0.1), "0.6": both(0.8, 0.4), "0.9": both(0.7, 0.9)}
    assert best_weight(both(0.8, 0.0), weights) == "0.6"
    assert best_weight(both(0.9, 0.0), weights) == "0.3"
    assert best_weight(both(0.95, 0.0), weights) == "none"


def test_the_table_is_of_the_queries_that_chose_nothing() -> None:
    orders = ["BM25", *(f"words {each:g}" for each in WEIGHTS), "encoder"]
    orders += [f"encoder {each:g}" for each in ENCODER_WEIGHTS]
    of_half = {0: {"success@10": 1.0, "NDCG@10": 1.0, "recall@50": 1.0}}
    of_half[1] = dict.fromkeys(of_half[0], 0.5)
    lists = {
        (kind, half, order): [of_half[half]] * 2
        for kind in ("words", "paraphrases")
        for half in (0, 1)
        for order in orders
    }
    found = report(lists, SearchSettings())
    assert {
        each
        for row in found["systems"].values()
        for of in row.values()
        for each in of.values()
    } == {0.5}
    assert found["encoder"]["weights"]["0.3"]["words"]["NDCG@10"] == 1.0
    assert found["encoder"]["change"]["words"]["difference"] == 0.0
