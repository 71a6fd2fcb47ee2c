"""A backup writes only where a backup's files belong."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_exchange_center.settings import Settings
from extras.backup.__main__ import KEYS, target_of
from extras.backup.archive import BackupError


def test_files_go_where_they_were(tmp_path: Path) -> None:
    settings = Settings(exchange_dir=tmp_path)
    model = "online/triton/ml_rec/1/model.onnx"
    assert target_of(settings, model) == tmp_path / model
    assert target_of(settings, KEYS) == settings.keys_file


@pytest.mark.parametrize(
    "place", ["online/secrets/redis/password", "online/triton-more/x", "modelsx/y", "x"]
)
def test_no_other_file_is_written(tmp_path: Path, place: str) -> None:
    with pytest.raises(BackupError):
        target_of(Settings(exchange_dir=tmp_path), place)
