import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from data_exchange_center.recipes import TrainRecipe
from offline.models.fm import FM
from offline.models.pair_training import (
    PairsData,
    Rows,
    auc,
    calibration,
    fit_on_pairs,
    predict,
)
from offline.models.rankers import weights_to_bytes

RECIPE = TrainRecipe(
    epochs=3, batch_size=64, learning_rate=0.02, weight_decay=1e-5, schedule="one_cycle"
)


def learnable(n: int = 2000, seed: int = 0) -> Rows:
    """Users and items of two kinds; a click is a match."""
    random = np.random.default_rng(seed)
    codes = random.integers(1, 21, size=(n, 2))
    return Rows(
        torch.from_numpy(codes),
        torch.from_numpy((codes.sum(axis=1) % 2 == 0).astype(np.float32)),
    )


def build() -> FM:
    return FM(21, 21, 8)


def test_a_pattern_is_learnt_and_generalises() -> None:
    recipe = RECIPE.model_copy(update={"epochs": 12})
    data = PairsData(learnable(), np.arange(2000) % 10 == 0, learnable(seed=1))
    _, report = fit_on_pairs(build, data, recipe, "FM")
    assert report["auc"]["test"] > 0.95
    assert report["auc"]["validation"] > 0.95
    assert [epoch["epoch"] for epoch in report["epochs"]] == list(range(1, 13))
    assert report["epochs"][-1]["loss"] < report["epochs"][0]["loss"]


def test_the_test_rows_have_no_say() -> None:
    other = Rows(learnable(seed=1).inputs, 1 - learnable(seed=1).labels)
    held_out = np.arange(2000) % 10 == 0
    models = [
        fit_on_pairs(build, PairsData(learnable(), held_out, test), RECIPE, "FM")[0]
        for test in (learnable(seed=1), other)
    ]
    assert weights_to_bytes(models[0]) == weights_to_bytes(models[1])


def test_auc_is_undefined_without_both_labels() -> None:
    rows = learnable()
    model = build()
    assert auc(model, rows) == roc_auc_score(rows.labels, predict(model, rows.inputs))
    assert auc(model, Rows(rows.inputs, torch.ones(len(rows.labels)))) is None
    assert auc(model, Rows(rows.inputs[:0], rows.labels[:0])) is None


def test_calibration_of_a_true_probability_is_the_diagonal() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(size=50_000).astype(np.float32)
    labels = (random.random(50_000) < 1 / (1 + np.exp(-logits))).astype(np.float32)
    found = calibration(logits, labels, bins=10)
    assert sum(found["rows"]) == 50_000
    np.testing.assert_allclose(found["predicted"], found["observed"], atol=0.03)
    assert calibration(logits[:0], labels[:0]) == {}
