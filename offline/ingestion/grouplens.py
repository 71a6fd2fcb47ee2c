"""MovieLens-1M from GroupLens: resumed where it broke off, checked, fetched once."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import requests
from tenacity import retry, retry_if_exception_type, stop_after_attempt

from data_exchange_center.progress import progress
from data_exchange_center.steps import StepError

log = logging.getLogger(__name__)

GROUPLENS_URL = "https://files.grouplens.org/datasets/movielens/ml-1m.zip"
GROUPLENS_MD5 = "c4d9eecfca2ab87c1945afe126590906"
TIMEOUT_S = (5.0, 20.0)  # to connect, between two reads


def download_ml_1m(folder: Path) -> Path:
    """GroupLens's ml-1m.zip in ``folder``, checked. A broken download is resumed, a wrong one restarted once.

    Raises requests.RequestException when GroupLens cannot be reached, StepError when what it sends is wrong.
    """
    target = folder / "ml-1m.zip"
    if target.is_file() and _md5(target) == GROUPLENS_MD5:
        return target
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / "ml-1m.zip.part"
    for _ in range(2):
        _fetch(GROUPLENS_URL, part)
        if _md5(part) == GROUPLENS_MD5:
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
    """Append what ``part`` lacks of ``url``; begin anew when the server does not know ranges."""
    done = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={done}-"} if done else {}
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as response:
        if response.status_code == requests.codes.requested_range_not_satisfiable:
            return  # all of it is here
        response.raise_for_status()
        resumed = response.status_code == requests.codes.partial_content
        total = int(response.headers.get("Content-Length", 0)) + (done if resumed else 0)
        with (
            part.open("ab" if resumed else "wb") as file,
            progress(
                total=total or None, initial=done if resumed else 0, unit="B", unit_scale=True, desc=part.stem
            ) as bar,
        ):
            for chunk in response.iter_content(1 << 16):
                file.write(chunk)
                bar.update(len(chunk))


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
