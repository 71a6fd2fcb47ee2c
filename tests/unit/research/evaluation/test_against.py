"""A release is compared with one that was evaluated before."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from extras import replay
from research.evaluation.against import main
from research.evaluation.metrics import per_user
from research.evaluation.one_table import folder_of, keep, kept
from tests.unit.extras.replay.conftest import exchange, holdout_of, settings_of  # noqa: F401 (a fixture)


def report(settings: Settings) -> dict[str, object]:
    found: dict[str, object] = json.loads(
        (folder_of(settings) / "evaluation_offline.json").read_text()
    )
    return found


def test_a_release_is_compared_with_one_evaluated_before(exchange: Path) -> None:  # noqa: F811
    folder = exchange.with_name("against") / "default"
    shutil.copytree(exchange / "default", folder)
    settings = Settings(exchange_dir=folder)
    with pytest.raises(StepError, match="evaluated"):
        main(settings, "source")
    holdout = holdout_of(settings)
    exact = replay.answers(settings, holdout)
    worse = {
        name: np.where(np.isnan(v), v, 0.0)
        for name, v in per_user(holdout.relevance, exact.ranked).items()
    }
    keep(kept(settings, "0" * 12, server=False), "source", holdout, worse)
    for other in ("source", "0" * 12):  # by recipe, by release
        main(settings, other)
        found = report(settings)
        compared = found["against"]
        assert (compared["release"], compared["recipe"]) == ("0" * 12, "source")
        for name, row in compared["metrics"].items():
            assert row["difference"] == pytest.approx(
                found["table"]["default: ranked"][name], rel=1e-3
            )
            assert row["low"] <= row["difference"] <= row["high"]
            assert row["baseline"] == 0
    main(settings, found["release"])
    assert report(settings)["against"]["metrics"]["recall@50"]["difference"] == 0
