from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from data_exchange_center.settings import Settings
from stack import containers
from stack.service import StackError


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> dict[Path, int]:
    """Calls of chown: path and owner."""
    handed: dict[Path, int] = {}
    monkeypatch.setattr(
        os, "chown", lambda path, uid, gid, **_: handed.__setitem__(path, uid)
    )
    return handed


@pytest.fixture
def owner(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Whose a file is said to be: {name: user}; everything else is root's."""
    known: dict[str, int] = {}
    real = Path.lstat

    def lstat(path: Path) -> os.stat_result:
        values = list(real(path))
        values[4] = known.get(path.name, 0)
        return os.stat_result(values)

    monkeypatch.setattr(Path, "lstat", lstat)
    return known


def test_only_roots_files_are_handed_over(
    tmp_path: Path, given: dict[Path, int], owner: dict[str, int]
) -> None:
    owner["mine.aof"] = 1234
    folder = tmp_path / "online/redis"
    folder.mkdir(parents=True)
    for name in ("mine.aof", "roots.aof"):
        (folder / name).write_bytes(b"kept")
    containers.main(Settings(exchange_dir=tmp_path), "1234")
    assert given[folder / "roots.aof"] == 1234
    assert folder / "mine.aof" not in given
    assert (
        (folder / "mine.aof").read_bytes()
        == (folder / "roots.aof").read_bytes()
        == b"kept"
    )


def test_redis_gets_a_password_that_only_its_owner_reads(
    tmp_path: Path, given: dict[Path, int], owner: dict[str, int]
) -> None:
    settings = Settings(exchange_dir=tmp_path)
    containers.main(settings, "1234")
    file = settings.password_file("redis")
    assert len(password := file.read_text()) >= 32
    assert (
        stat.S_IMODE(file.parent.stat().st_mode),
        stat.S_IMODE(file.stat().st_mode),
    ) == (0o700, 0o600)
    assert given[file] == given[file.parent] == 1234
    containers.main(settings, "1234")
    assert file.read_text() == password


def test_a_sentence_says_whose_a_file_is(
    tmp_path: Path, given: dict[Path, int], owner: dict[str, int]
) -> None:
    owner["theirs.aof"] = 4321
    (tmp_path / "online/redis").mkdir(parents=True)
    (tmp_path / "online/redis/theirs.aof").touch()
    with pytest.raises(
        StackError,
        match=r"theirs\.aof belongs to user 4321.* run as user 1234.*RECSYS_UID=4321",
    ):
        containers.main(Settings(exchange_dir=tmp_path), "1234")


@pytest.mark.parametrize("said", ["0", "", "me", "-1"])
def test_an_invalid_uid_or_root_is_refused(tmp_path: Path, said: str) -> None:
    with pytest.raises(StackError, match=r"RECSYS_UID.*1000 where you are root"):
        containers.main(Settings(exchange_dir=tmp_path), said)
