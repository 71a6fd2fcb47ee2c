"""Download MovieLens as it is published: step 0 does so where RECSYS_DATA names no other data."""

import logging
from pathlib import Path

import requests

from data_exchange_center.files import written_in_place
from data_exchange_center.steps import StepError, progress
from extras.wheels import digest, download_wheel

log = logging.getLogger(__name__)

GROUPLENS_URL = "https://files.grouplens.org/datasets/movielens/ml-1m.zip"
GROUPLENS_MD5 = "c4d9eecfca2ab87c1945afe126590906"
TIMEOUT_S = (5.0, 20.0)  # to connect, between two reads
WHEEL = "recbole==1.2.0"  # carries MovieLens-100K as its example
WHEEL_SHA256 = "075820e2ea8f182ec4d30c4ec9067d5ac7b07c2f5e3ae1adeb8a5fbee2d4204d"


def fetch(folder: Path) -> tuple[Path, str]:
    """Fetch MovieLens-1M from GroupLens, or MovieLens-100K from PyPI where GroupLens cannot be reached.

    Returns the archive in ``folder`` and where it is from. Raises StepError when neither can be had.
    """
    try:
        return download_ml_1m(folder), GROUPLENS_URL
    except requests.RequestException as error:
        log.warning(
            "GroupLens cannot be reached (%s): taking MovieLens-100K out of %s. To have MovieLens-1M later, name it in "
            "RECSYS_DATA and run this step again.",
            type(error).__name__,
            WHEEL,
        )
        return download_wheel(folder, WHEEL, WHEEL_SHA256), WHEEL


def download_ml_1m(folder: Path) -> Path:
    """Download GroupLens's ml-1m.zip into ``folder``, and check its MD5.

    Raises requests.RequestException when GroupLens cannot be reached, StepError when it sends something else.
    """
    target = folder / "ml-1m.zip"
    if target.is_file() and digest(target, "md5") == GROUPLENS_MD5:
        return target
    with written_in_place(target) as temporary:
        with (
            requests.get(GROUPLENS_URL, stream=True, timeout=TIMEOUT_S) as response,
            temporary.open("wb") as file,
        ):
            response.raise_for_status()
            total = int(response.headers.get("Content-Length", 0)) or None
            with progress(
                total=total, unit="B", unit_scale=True, desc=target.name
            ) as bar:
                for chunk in response.iter_content(1 << 16):
                    bar.update(file.write(chunk))
        if digest(temporary, "md5") != GROUPLENS_MD5:
            raise StepError(
                f"{GROUPLENS_URL} does not send the published file: its MD5 is another. Fetch it another way and name "
                "it in RECSYS_DATA."
            )
    return target
