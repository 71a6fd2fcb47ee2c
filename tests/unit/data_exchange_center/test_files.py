import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from data_exchange_center.files import write_json, written_in_place
from stack.service import generated_secret


@pytest.fixture(autouse=True)
def open_umask() -> Iterator[None]:
    """Even with a umask that lets everybody read."""
    before = os.umask(0)
    yield
    os.umask(before)


def test_a_file_is_its_owners_alone_unless_a_mode_is_given(tmp_path: Path) -> None:
    write_json(tmp_path / "own", {})
    with written_in_place(tmp_path / "shared", mode=0o644) as temporary:
        temporary.touch()
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("own", "shared")] == [
        0o600,
        0o644,
    ]


def test_a_secret_is_generated_once_and_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "secrets" / "redis" / "password"
    secret = generated_secret(path)
    assert len(secret) > 40
    assert generated_secret(path) == secret != generated_secret(tmp_path / "other")
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (
        0o600,
        0o700,
    )
