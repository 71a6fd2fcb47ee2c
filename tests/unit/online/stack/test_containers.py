"""What containers mount is there before they start, and belongs to whom they run as."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from data_exchange_center.settings import Settings
from online.stack import containers
from online.stack.feast.service import STATIC_FILES


def test_folders_are_made_and_feasts_static_files_put_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1234)
    settings = Settings(exchange_dir=tmp_path)
    containers.main(settings)
    names = ["redis", "elasticsearch/data", "feast/feature_repo", "triton"]
    assert containers.mounted_folders(settings) == [tmp_path / "online" / name for name in names]
    assert all(folder.is_dir() for folder in containers.mounted_folders(settings))
    for name in ("feature_store.yaml", "definitions.py", ".feastignore"):
        assert (tmp_path / "online/feast/feature_repo" / name).read_bytes() == (STATIC_FILES / name).read_bytes()


def test_root_gives_everything_to_the_containers_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[Path, int] = {}
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "chown", given.__setitem__)
    data = tmp_path / "online/redis/appendonly.aof"
    data.parent.mkdir(parents=True)
    data.write_bytes(b"kept")
    containers.main(Settings(exchange_dir=tmp_path))
    assert given[data] == given[data.parent] == containers.CONTAINER_UID
    assert data.read_bytes() == b"kept"
