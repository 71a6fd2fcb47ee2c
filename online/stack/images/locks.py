"""The Python packages that the lock files pin, and which files pin them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from packaging.utils import canonicalize_name
from pip_requirements_parser import RequirementsFile

from online.stack.service import ROOT
from online.stack.triton.service import REQUIREMENTS

IMAGES: Final = Path(__file__).parent
LOCKS: Final = (ROOT / "requirements.txt", *sorted(IMAGES.glob("*.txt")), REQUIREMENTS)

Pin = tuple[str, str]  # name, version


def pins(locks: Iterable[Path] = LOCKS) -> dict[Pin, tuple[str, ...]]:
    """Every pin -> the files that hold it, relative to the repository."""
    found: defaultdict[Pin, list[str]] = defaultdict(list)
    for lock in locks:
        shown = str(lock.relative_to(ROOT)) if lock.is_relative_to(ROOT) else lock.name
        for requirement in RequirementsFile.from_file(str(lock)).requirements:
            if requirement.marker is None or requirement.marker.evaluate():
                found[canonicalize_name(requirement.name), requirement.get_pinned_version].append(shown)
    return {pin: tuple(found[pin]) for pin in sorted(found)}
