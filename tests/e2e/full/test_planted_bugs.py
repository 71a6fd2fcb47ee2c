"""A broken model or pipeline is noticed: bugs planted in the demo's artifacts or in the functions that read them.

The healthy artifacts are evaluated in ``tests/e2e/demo/test_demo.py``; with each of these the same check must fail.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from data_exchange_center import artifacts, candidates, provenance
from data_exchange_center.columns import Columns
from data_exchange_center.exact import ExactItems
from data_exchange_center.recipes import DEFAULT
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from offline import offline_ranker
from offline.rank import s2_model_train
from offline.readers import read_with_holdout
from offline.recall import s2_vector_recall
from research.evaluation import evaluate, report
from tests.e2e.pipeline import Pipeline

Plant = Callable[[Settings, pytest.MonkeyPatch], Settings | None]


@pytest.fixture
def copied(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """Settings of a copy of the artifacts, in which a file that has changed since is not refused for that alone."""
    folder = pipeline.settings.artifacts_dir / "offline"
    shutil.copytree(folder, tmp_path / "offline")
    monkeypatch.setattr(provenance, "expect_one_run", lambda *_: None)
    return pipeline.settings.model_copy(update={"exchange_dir": tmp_path})


def rolled(settings: Settings, artifact: artifacts.Table, key: str) -> None:
    """Each row gets its neighbour's values."""
    table = artifact.read(settings.exchange_dir)
    values = {
        name: np.roll(table[name].to_numpy(), 1)
        for name in table.columns
        if name != key
    }
    artifact.write(settings.exchange_dir, table.assign(**values))


def labels_are_shuffled(settings: Settings, patch: pytest.MonkeyPatch) -> None:
    """The ranker is trained on lists in which chance says what was liked."""
    lists, rng = artifacts.LISTS.read(settings.exchange_dir), np.random.default_rng(0)
    liked = [np.asarray(rng.permutation(each)) for each in lists["liked"]]
    artifacts.LISTS.write(settings.exchange_dir, lists.assign(liked=liked))
    s2_model_train.main(settings)


def the_holdout_is_trained_on(settings: Settings, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(s2_vector_recall, "read_inputs", read_with_holdout)
    s2_vector_recall.main(settings)


def fusion_weights_are_swapped(settings: Settings, patch: pytest.MonkeyPatch) -> None:
    real = candidates.fusion.fuse
    patch.setattr(
        candidates.fusion,
        "fuse",
        lambda hits, weights, size: real(hits, weights[::-1], size),
    )


def seen_items_are_returned(settings: Settings, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        ExactItems,
        "allowed",
        lambda self, query: np.ones(len(self.item_numbers), np.bool_),
    )


def scores_are_negated(settings: Settings, patch: pytest.MonkeyPatch) -> None:
    real = offline_ranker.score
    patch.setattr(offline_ranker, "score", lambda *given: -real(*given))


def users_are_mixed_up(settings: Settings, patch: pytest.MonkeyPatch) -> None:
    rolled(settings, artifacts.USER_STATE, Columns.USER)


def items_are_mixed_up(settings: Settings, patch: pytest.MonkeyPatch) -> None:
    rolled(settings, artifacts.ITEM_VECTORS, Columns.ITEM)


def the_oldest_event_comes_first(settings: Settings, patch: pytest.MonkeyPatch) -> None:
    table = artifacts.USER_STATE.read(settings.exchange_dir)
    events = (Columns.ITEMS, Columns.RATINGS, Columns.TIMES)
    turned = {
        name: table[name].map(lambda each: np.asarray(each)[::-1].copy())
        for name in events
    }
    artifacts.USER_STATE.write(settings.exchange_dir, table.assign(**turned))


BUGS = [
    labels_are_shuffled,
    the_holdout_is_trained_on,
    fusion_weights_are_swapped,
    seen_items_are_returned,
    scores_are_negated,
    users_are_mixed_up,
    items_are_mixed_up,
    the_oldest_event_comes_first,
]


@pytest.mark.parametrize("plant", BUGS, ids=lambda plant: plant.__name__)
def test_a_planted_bug_is_caught(
    copied: Settings, plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(copied, monkeypatch)
    found = evaluate.evaluate(copied, "a planted bug")
    with pytest.raises(StepError, match=f"the {DEFAULT.name} recipe on ml-100k: "):
        report.check(found)
