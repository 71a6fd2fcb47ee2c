from __future__ import annotations

from pathlib import Path

import pytest

from data_exchange_center import artifacts
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from research.bench.against import OtherCheckout


def test_a_commit_that_was_trained_on_other_data_is_not_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its answers to strangers are cheap: it looked three times as fast."""
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for folder, name in ((ours, "ml-1m"), (theirs, "ml-100k")):
        artifacts.DATASET.write(folder, {"name": name})
    monkeypatch.setattr(OtherCheckout, "_run", lambda *_: True)
    monkeypatch.setattr(OtherCheckout, "_serve_all", lambda _: True)
    settings = Settings(exchange_dir=ours, services_dir=tmp_path / "services")
    other = OtherCheckout("HEAD", settings, theirs, shares_services=False)
    (tmp_path / "services" / "bench" / "HEAD" / "checkout").mkdir(parents=True)
    with (
        pytest.raises(StepError, match="trained on ml-100k, this checkout's release on ml-1m"),
        other.running(keep=True),
    ):
        pass
