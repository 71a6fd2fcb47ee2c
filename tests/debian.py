"""Programs of Debian's packages, which a test installs where they are missing and it runs as root."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import suppress

INSTALL_S = 300


def found(*names: str) -> str | None:
    """The first of the programs that is here."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin"
    return next((program for name in names if (program := shutil.which(name, path=path))), None)


def program(package: str, *names: str) -> str | None:
    """Where the first of the programs is that ``package`` brings (left out: one of its name); None where none can be
    had."""
    names = names or (package,)
    if found(*names) is None and os.geteuid() == 0 and shutil.which("apt-get"):
        _install(package)
    return found(*names)


def _install(package: str) -> None:
    """Where the mirror gives it in time; nobody is asked anything."""
    command = f"apt-get update -qq && apt-get install -y -qq --no-install-recommends {package}"
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    nothing = subprocess.DEVNULL
    with suppress(subprocess.TimeoutExpired):
        subprocess.run(
            ["sh", "-c", command], env=environment, stdin=nothing, stdout=nothing, stderr=nothing,
            timeout=INSTALL_S, check=False,
        )  # fmt: skip
