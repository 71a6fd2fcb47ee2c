from __future__ import annotations

from pathlib import Path

import pandas as pd

from data_exchange_center import artifacts
from data_exchange_center.settings import Settings
from research.measure.twin_release import one_user_changed


def test_one_user_is_changed_beside_the_artifacts(tmp_path: Path) -> None:
    settings = Settings(exchange_dir=tmp_path)
    settings.service_dir("triton").mkdir(parents=True)
    settings.release_dir.mkdir()
    preferences = pd.DataFrame({"userid": [1, 2], "genres": [[3, 4], [5]]})
    path = artifacts.USER_PREFERENCES.write(tmp_path, preferences)
    (settings.offline_dir / "ranker.pt").write_text("weights")
    before = path.read_bytes()
    with one_user_changed(settings) as twin:
        assert [list(row) for row in artifacts.USER_PREFERENCES.read(twin.exchange_dir)["genres"]] == [[], [5]]
        assert (twin.offline_dir / "ranker.pt").read_text() == "weights"
        (twin.service_dir("triton") / "model").touch()
        (twin.release_dir / "manifest").touch()
    assert path.read_bytes() == before
    assert (settings.service_dir("triton") / "model").exists()
    assert (settings.release_dir / "manifest").exists()
    assert (settings.offline_dir / "ranker.pt").exists()
    assert not twin.exchange_dir.exists()
