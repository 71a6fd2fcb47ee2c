from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from data_exchange_center.steps import StepError
from offline import downloads, movielens
from tests.datasets import tables_of
from tests.http_server import serving

CONTENT = bytes(range(256)) * 400


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    """Files that a server has sent; the content of each is the last of them, at first the published one."""
    sent = [CONTENT]

    def send(*_: object) -> tuple[int, bytes]:
        sent.append(sent[-1])
        return 200, sent[-1]

    monkeypatch.setattr(downloads, "GROUPLENS_MD5", hashlib.md5(CONTENT, usedforsecurity=False).hexdigest())
    with serving(send) as port:
        monkeypatch.setattr(downloads, "GROUPLENS_URL", f"http://127.0.0.1:{port}/ml-1m.zip")
        yield sent


def test_a_download_is_checked_and_left_in_place(sent: list[bytes], tmp_path: Path) -> None:
    path = downloads.download_ml_1m(tmp_path)
    assert path.read_bytes() == CONTENT
    assert [file.name for file in tmp_path.iterdir()] == ["ml-1m.zip"]
    downloads.download_ml_1m(tmp_path)
    assert len(sent) == 2  # the second time nothing is fetched


def test_another_file_than_the_published_one_is_refused(sent: list[bytes], tmp_path: Path) -> None:
    sent.append(b"something else")
    with pytest.raises(StepError, match="does not send the published file"):
        downloads.download_ml_1m(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_without_any_source_the_message_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(StepError, match="RECSYS_DATA"):
        downloads.download_ml_100k(tmp_path)


def damaged_zip(folder: Path, how: str) -> Path:
    """A zip with the three files of MovieLens-1M whose directory is whole, and whose members cannot be read."""
    path = folder / "ml-1m.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("ratings.dat", "users.dat", "movies.dat"):
            archive.writestr(f"ml-1m/{name}", b"1::2::3::4\n" * 500)
        first = archive.infolist()[0]
        start = first.header_offset + 30 + len(first.filename)
    raw = bytearray(path.read_bytes())
    if how == "deflate":
        raw[start : start + 8] = b"\xff" * 8
    elif how == "checksum":
        raw[start + first.compress_size - 4] ^= 0xFF
    else:
        for at in (raw.index(b"PK\x03\x04") + 6, raw.index(b"PK\x01\x02") + 8):
            raw[at] |= 1  # the flag for an encrypted member
    path.write_bytes(raw)
    return path


@pytest.mark.parametrize("how", ["deflate", "checksum", "encrypted"])
def test_a_zip_with_a_member_that_cannot_be_read_is_one_sentence(tmp_path: Path, how: str) -> None:
    path = damaged_zip(tmp_path, how)
    with pytest.raises(StepError, match=r"ml-1m/ratings\.dat") as error:
        tables_of(path)
    assert str(path) in str(error.value)
    assert "RECSYS_DATA" in str(error.value)


@pytest.mark.parametrize("limit", ["LARGEST_ZIP", "LARGEST_RATIO"])
def test_a_zip_that_unpacks_to_too_much_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("ratings.dat", bytes(1 << 20))
    monkeypatch.setattr(movielens, limit, 100)
    monkeypatch.setattr(movielens, "SMALL_ZIP", 1 << 10)
    with pytest.raises(StepError, match=r"bomb\.zip would unpack to 0\.0 GB from 0\.0 MB: no data set packs so well"):
        tables_of(path)


def test_without_a_reader_the_data_set_that_it_reads_is_refused_with_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that is missing is enough to be without it."""
    (tmp_path / "dataset.toml").write_text('name = "shop"')
    monkeypatch.setattr("data_exchange_center.plugins.find", lambda group: {})
    with pytest.raises(StepError, match=r"holds no data set.* MovieLens: .*this installation lacks: extras.own_data"):
        tables_of(tmp_path)
