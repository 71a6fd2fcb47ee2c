"""Weights of a request's objectives."""

from typing import Any

import numpy as np
import pytest

from data_exchange_center.features import ModelInputs
from online.clients.triton import ScoreQuery, TritonScores
from online.recommend.outcomes import BadRequestError
from online.recommend.types import Request, objective_weights

TYPED = {"cart": 0.3, "buy": 1.0}


def test_the_weights_are_in_the_order_of_the_outputs() -> None:
    assert objective_weights({"buy": 2, "cart": 0.5}, TYPED) == (0.5, 2)
    assert objective_weights({"buy": 1}, TYPED) == (0, 1)


@pytest.mark.parametrize(
    ("of_release", "objectives", "message"),
    [
        (TYPED, {"view": 1.0}, "'view' must be one of: cart, buy"),
        (TYPED, {"buy": 0.0}, "above 0"),
        ({}, {"buy": 1.0}, r"has none: .*dataset\.toml"),
    ],
)
def test_wrong_objectives_are_refused(
    of_release: dict[str, float], objectives: dict[str, float], message: str
) -> None:
    with pytest.raises(BadRequestError, match=message) as error:
        objective_weights(objectives, of_release)
    assert error.value.field == "objectives"


@pytest.mark.parametrize("weight", [-1, float("nan"), float("inf")])
def test_a_weight_is_a_number_from_0(weight: float) -> None:
    with pytest.raises(ValueError, match="buy"):
        Request(userid=1, objectives={"buy": weight})


def test_the_score_is_the_weighted_mean_of_one_calls_outputs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = []

    def infer(self: Any, model: str, version: int, inputs: Any, *shape: int) -> Any:
        calls.append(shape)
        return np.array([0.1, 0.9, 0.5, 0.3], np.float32)

    monkeypatch.setattr(TritonScores, "infer", infer)
    inputs = ModelInputs(np.zeros((2, 3), np.float32))
    scorer = TritonScores.__new__(TritonScores)
    scores = scorer._call(ScoreQuery(inputs, 1, "ml", (1.0, 3.0)))
    assert scores == pytest.approx([0.7, 0.35])
    assert calls == [(2, 2)]
