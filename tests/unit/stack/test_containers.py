import os
import stat
from pathlib import Path

import pytest

from data_exchange_center.settings import Settings
from stack import containers
from stack.service import StackError


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Calls of chown: a file's name and its new owner. Whose a file is said to be: its name, or root's."""
    handed: dict[str, int] = {}
    real = Path.lstat

    def lstat(path: Path) -> os.stat_result:
        values = list(real(path))
        values[4] = int(path.name) if path.name.isdecimal() else 0
        return os.stat_result(values)

    def chown(path: Path, uid: int, *_: int, follow_symlinks: bool) -> None:
        handed[path.name] = uid

    monkeypatch.setattr(Path, "lstat", lstat)
    monkeypatch.setattr(os, "chown", chown)
    return handed


@pytest.fixture
def redis(tmp_path: Path) -> Path:
    folder = tmp_path / "online" / "redis"
    folder.mkdir(parents=True)
    return folder


def test_only_roots_files_are_handed_over(
    tmp_path: Path, redis: Path, given: dict[str, int]
) -> None:
    for name in ("1234", "roots.aof"):
        (redis / name).write_bytes(b"kept")
    containers.main(Settings(exchange_dir=tmp_path), "1234")
    assert given["roots.aof"] == 1234
    assert "1234" not in given
    assert {path.read_bytes() for path in redis.iterdir()} == {b"kept"}


def test_redis_gets_a_password_that_only_its_owner_reads(
    tmp_path: Path, given: dict[str, int]
) -> None:
    settings = Settings(exchange_dir=tmp_path)
    containers.main(settings, "1234")
    file = settings.password_file("redis")
    assert len(password := file.read_text()) >= 32
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (file.parent, file)]
    assert modes == [0o700, 0o600]
    assert given[file.name] == given[file.parent.name] == 1234
    containers.main(settings, "1234")
    assert file.read_text() == password


@pytest.mark.usefixtures("given")
def test_a_sentence_says_whose_a_file_is(tmp_path: Path, redis: Path) -> None:
    (redis / "4321").touch()
    said = r"4321 belongs to user 4321.* run as user 1234.*RECSYS_UID=4321"
    with pytest.raises(StackError, match=said):
        containers.main(Settings(exchange_dir=tmp_path), "1234")


@pytest.mark.parametrize("said", ["0", "", "me", "-1"])
def test_an_invalid_uid_or_root_is_refused(tmp_path: Path, said: str) -> None:
    with pytest.raises(StackError, match=r"RECSYS_UID.*1000 where you are root"):
        containers.main(Settings(exchange_dir=tmp_path), said)
