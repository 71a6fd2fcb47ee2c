from __future__ import annotations

from typing import Any

import pytest

from data_exchange_center.steps import StepError
from offline import published


def report(losses: tuple[float, ...], **auc: float | None) -> dict[str, Any]:
    return {"auc": auc, "epochs": [{"epoch": n, "loss": loss, "auc": {}} for n, loss in enumerate(losses, start=1)]}


@pytest.mark.parametrize(
    ("kind", "trained", "message"),
    [
        ("fm", report((0.6, 0.5), test=0.8), "fm: test AUC 0.8000 is below the 0.8081"),
        ("tower", report((5.0, 5.2)), "tower: the loss went from 5.0000 to 5.2000"),
    ],
)
def test_a_model_that_learned_too_little_stops_the_step(kind: str, trained: dict[str, Any], message: str) -> None:
    with pytest.raises(StepError, match=message):
        published.expect_learned(published.ML_1M, kind, trained)
    published.expect_learned(published.OTHER, kind, trained)
