import io
import json

import numpy as np
import pytest
from rich.console import Console

from data_exchange_center.settings import Settings
from extras import replay
from research.evaluation.baselines import best_unseen
from research.evaluation.metrics import HEADLINES
from research.evaluation.one_table import evaluate, main, show, summary
from tests.unit.extras.replay.test_holdout import LAST_FOUR, N_ITEMS, made_up


def test_a_run_is_written_with_the_artifacts(released: Settings) -> None:
    main(released)
    path = released.offline_dir / "evaluation" / "evaluation_offline.json"
    found = json.loads(path.read_text())
    assert found == evaluate(released, "make evaluate-offline")
    channels = [channel.name for channel in released.recipe.recall.channels]
    stages = [*(f"channel {channel}" for channel in channels), "recall", "ranked"]
    systems = [f"{released.recipe_name}: {stage}" for stage in stages]
    assert list(found["table"]) == ["popularity", *systems]
    shown = Console(record=True, width=80, file=io.StringIO())
    show(found, shown)
    text = shown.export_text()
    assert all(metric in text for metric in HEADLINES)  # each heading in full
    assert "returning:" in text


def test_the_summary_is_of_all_and_of_returning_users() -> None:
    holdout = replay.hold_out(made_up(), LAST_FOUR)
    wide = best_unseen(holdout.relevance.toarray(), holdout.past.seen(), N_ITEMS)
    lists = np.pad(wide, ((0, 0), (0, 200 - wide.shape[1])))
    lists[1:] = 0  # only the first user, who comes back, is given anything
    found = summary(holdout, lists)
    assert found["returning: recall@200"] == pytest.approx(1)
    assert found["recall@200"] == pytest.approx(
        1 / np.count_nonzero(np.diff(holdout.relevance.indptr))
    )
    assert set(found) == {*HEADLINES, "returning: recall@200"}
