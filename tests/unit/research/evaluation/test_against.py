"""A release is compared with one that was evaluated before."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from offline.evaluation import served
from offline.evaluation.evaluate import folder_of, keep, kept
from offline.evaluation.metrics import per_user
from research.evaluation.against import differences, main
from tests.unit.offline.evaluation.conftest import exchange, holdout_of, settings_of  # noqa: F401 (a fixture)


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
    exact = served.answers(settings, holdout)
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
    shown = Console(record=True, width=80, file=io.StringIO())
    shown.print(differences(compared))
    text = shown.export_text()
    assert all(
        heading in text for heading in ("baseline", "difference", "95% interval")
    )
    main(settings, found["release"])
    assert report(settings)["against"]["metrics"]["recall@50"]["difference"] == 0


def test_other_held_out_events_are_not_compared(exchange: Path) -> None:  # noqa: F811
    settings = settings_of("default", exchange)
    holdout = holdout_of(settings)
    values = per_user(holdout.relevance, served.answers(settings, holdout).ranked)
    keep(
        kept(settings, "1" * 12, server=False),
        "elsewhere",
        holdout.at(holdout.times + 1),
        values,
    )
    with pytest.raises(StepError, match="other held-out events"):
        main(settings, "elsewhere")
