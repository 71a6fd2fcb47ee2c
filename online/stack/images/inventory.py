"""What an image holds: Python packages, Debian packages, jars.

This file runs within an image too, from standard input, on whatever Python that has: the standard library only.
Run     docker run --rm -i --entrypoint python IMAGE - < online/stack/images/inventory.py
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
import shutil
import subprocess
from collections.abc import Iterable
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

JARS = Path("/jars")
DPKG_FIELDS = ("name", "version", "architecture", "source")
DPKG_FORMAT = r"${Package}\t${Version}\t${Architecture}\t${source:Package}\n"


def python_packages(found: Iterable[Distribution] | None = None) -> list[dict[str, Any]]:
    """Name, version and what the metadata says of the licence; the first of a name is what Python imports."""
    packages: dict[str, dict[str, Any]] = {}
    for distribution in distributions() if found is None else found:
        metadata = distribution.metadata
        if metadata["Name"] is None:  # the remains of a package that was removed
            continue
        name = re.sub(r"[-_.]+", "-", metadata["Name"]).lower()
        packages.setdefault(
            name,
            {
                "name": name,
                "version": distribution.version,
                "expression": _field(distribution, "License-Expression"),
                "licence": _field(distribution, "License"),
                "classifiers": metadata.get_all("Classifier") or [],
            },
        )
    return [packages[name] for name in sorted(packages)]


def _field(distribution: Distribution, name: str) -> str:
    return "".join((distribution.metadata.get_all(name) or [""])[:1])


def debian_packages() -> list[dict[str, str]]:
    """Installed packages with their source package; none where the image is no Debian."""
    if shutil.which("dpkg-query") is None:
        return []
    query = ["dpkg-query", "--show", "--showformat", DPKG_FORMAT]
    said = subprocess.run(query, capture_output=True, text=True, check=True).stdout
    return [dict(zip(DPKG_FIELDS, line.split("\t"), strict=True)) for line in said.splitlines()]


def jars(folder: Path = JARS) -> dict[str, str]:
    """File name -> sha256."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.jar"))}


def release() -> dict[str, str]:
    """/etc/os-release, where there is one."""
    try:
        return platform.freedesktop_os_release()
    except OSError:
        return {}


if __name__ == "__main__":
    held = {"release": release(), "python": python_packages(), "debian": debian_packages(), "jars": jars()}
    print(json.dumps(held))  # noqa: T201
