from __future__ import annotations

from pathlib import Path

import pytest

from data_exchange_center import artifacts
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from research.bench.against import OtherCheckout, ratios
from research.bench.load import Answered, Run, summary


def test_a_commit_that_was_trained_on_other_data_is_not_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its answers to unknown users are cheap: it looked three times as fast."""
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for folder, name in ((ours, "ml-1m"), (theirs, "ml-100k")):
        artifacts.DATASET.write(folder, {"name": name})
    monkeypatch.setattr(OtherCheckout, "_run", lambda *_: True)
    monkeypatch.setattr(OtherCheckout, "_serve_all", lambda _: True)
    settings = Settings(exchange_dir=ours, services_dir=tmp_path / "services")
    other = OtherCheckout("HEAD", settings, theirs, shares_services=False)
    (tmp_path / "services" / "bench" / "HEAD" / "checkout").mkdir(parents=True)
    with (
        pytest.raises(
            StepError, match="trained on ml-100k, this checkout's release on ml-1m"
        ),
        other.running(keep=True),
    ):
        pass


def test_a_ratio_is_the_median_of_adjacent_turns() -> None:
    this, other = (
        [
            Run(seconds, (Answered(ms / 1e3),) * 10, 0.1, {"server": 0.1})
            for seconds, ms in turns
        ]
        for turns in (
            ((1.0, 5.0), (2.0, 8.0), (1.0, 9.0)),
            ((2.0, 10.0), (2.0, 10.0), (4.0, 10.0)),
        )
    )
    found = ratios(this, other)
    assert found["turns"]["requests_per_s"] == [2.0, 1.0, 4.0]
    assert found["requests_per_s"] == 2.0
    assert (found["p50_ms"], found["turns"]["p50_ms"]) == (0.8, [0.5, 0.8, 0.9])
    assert found["p99_ms"] == 0.9  # of all turns together
    assert summary(this)["turns"]["requests_per_s"] == [10.0, 5.0, 10.0]
    assert summary(this)["requests_per_s"] == 10.0
