from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from data_exchange_center.settings import ServerSettings, Settings
from data_exchange_center.steps import StepError
from offline.evaluation.replay import Holdout
from online.recommend.last_release import LastRelease
from online.recommend.recommender import Recommender
from research.measure.diversity import chosen, measure
from research.measure.list_diversity import NDCG, Kinds
from tests.unit.research.measure.test_degraded import EVERYBODY, WORLD, Services, holdout, services

__all__ = ["holdout", "services"]


@pytest.fixture
def recommender(services: Services, tmp_path: Path) -> Iterator[Recommender]:
    made = Recommender(*services, ServerSettings(), LastRelease(tmp_path / "last.json"))  # type: ignore[arg-type]
    made.warm_up().result(10)
    yield made
    made.close()


def kinds() -> Kinds:
    everything = sorted(WORLD.itemids)
    vectors = {
        name: np.stack([np.full(WORLD.vector_dims[name], np.nan)] + [
            each.get(itemid, np.full(WORLD.vector_dims[name], np.nan)) for itemid in everything
        ]).astype(np.float32)
        for name, each in WORLD.item_vectors.items()
    }  # fmt: skip
    flags = np.zeros((len(everything) + 1, len(WORLD.spec.genres)), np.float32)
    for row, itemid in enumerate(everything, start=1):
        flags[row, [code - 1 for code in WORLD.genres[itemid]]] = 1
    return Kinds(vectors, flags)


def test_lists_differ_more_at_each_strength_and_the_time_is_told(
    recommender: Recommender, holdout: Holdout
) -> None:  # fmt: skip
    found = measure(recommender, holdout, kinds(), WORLD.userids, EVERYBODY, (0, 0.2, 0.6))
    rows = found["diversity"]
    assert list(rows) == ["0", "0.2", "0.6"]
    unlike = [row["diversity by genres"]["mean"] + row["diversity by vectors"]["mean"] for row in rows.values()]
    assert unlike == sorted(unlike)
    assert rows["0"]["change"]["difference"] == 0
    assert rows["0.6"]["change"]["difference"] == pytest.approx(rows["0.6"][NDCG]["mean"] - rows["0"][NDCG]["mean"])
    assert 0 < found["ms"]["p50"] <= found["ms"]["p99"]


def test_the_strength_is_the_one_that_validation_chose(tmp_path: Path) -> None:
    settings = Settings(exchange_dir=tmp_path)
    with pytest.raises(StepError, match="tune_diversity_shop"):
        chosen(settings, "shop")
    path = tmp_path / "offline" / "evaluation" / "tune_diversity_shop.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"chosen": 0.15}))
    assert chosen(settings, "shop") == 0.15
