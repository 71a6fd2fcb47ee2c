"""A backup file is whole, or it is refused before anything is written; it is written only where its files belong."""

from __future__ import annotations

import stat
import tarfile
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from data_exchange_center.settings import Settings
from extras.backup.__main__ import KEYS, target_of
from extras.backup.archive import HEADER, BackupError, Header, pack, unpacked


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A backup of two files."""
    folder = tmp_path / "saved"
    (folder / "files").mkdir(parents=True)
    (folder / "redis.rdb").write_bytes(bytes(range(256)) * 400)
    (folder / "files" / "keys").write_text("a key")
    header = Header(version="2", made=datetime.now(UTC), live="a", releases=["a"])
    file = tmp_path / "backup.tar.gz"
    pack(folder, header, file)
    return file


def repacked(file: Path, **changed: bytes | None) -> None:
    """Write the members of a backup again, some of them changed, added, or left out (None)."""
    with tarfile.open(file) as tar:
        members = {each.name: tar.extractfile(each).read() for each in tar}  # type: ignore[union-attr]
    with tarfile.open(file, "w:gz") as tar:
        for name, content in {**members, **changed}.items():
            if content is not None:
                copy = file.with_name("member")
                copy.write_bytes(content)
                tar.add(copy, name)


def test_everything_comes_back(file: Path, tmp_path: Path) -> None:
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with unpacked(file, tmp_path / "exchange") as (header, folder):
        assert (header.live, header.releases) == ("a", ["a"])
        assert (folder / "files" / "keys").read_text() == "a key"
        assert (folder / "redis.rdb").read_bytes() == bytes(range(256)) * 400
    assert list((tmp_path / "exchange").iterdir()) == []


DAMAGES = {
    "absent": lambda file: file.unlink(),
    "empty": lambda file: file.write_bytes(b""),
    "foreign": lambda file: file.write_text("something else"),
    "cut off": lambda file: file.write_bytes(file.read_bytes()[:-200]),
    "another header": lambda file: repacked(file, **{HEADER: b"{}"}),
    "no header": lambda file: repacked(file, **{HEADER: None}),
    "another format": lambda file: repacked(file, **{HEADER: b'{"format": 2}'}),
    "a changed file": lambda file: repacked(file, **{"redis.rdb": b"1"}),
    "a missing file": lambda file: repacked(file, **{"redis.rdb": None}),
    "one file more": lambda file: repacked(file, **{"files/online": b"1"}),
    "a file elsewhere": lambda file: repacked(file, **{"../elsewhere": b"1"}),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_or_foreign_file_is_refused(
    file: Path, tmp_path: Path, damage: str
) -> None:
    DAMAGES[damage](file)
    with pytest.raises(BackupError), unpacked(file, tmp_path / "exchange"):
        pass
    assert list((tmp_path / "exchange").iterdir()) == []
    assert not (tmp_path / "elsewhere").exists()


def test_a_changed_byte_never_changes_what_comes_back(
    file: Path, tmp_path: Path
) -> None:
    whole = file.read_bytes()
    for place in range(0, len(whole), len(whole) // 60):
        changed = bytearray(whole)
        changed[place] ^= 255
        file.write_bytes(changed)
        # a byte that says nothing, as a time stamp of the compression, may change
        with suppress(BackupError), unpacked(file, tmp_path / "to") as (_, folder):
            assert (folder / "files" / "keys").read_text() == "a key"
            assert (folder / "redis.rdb").read_bytes() == bytes(range(256)) * 400


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
