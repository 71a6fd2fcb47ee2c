"""Known holes of the Python packages that the lock files pin, as pip-audit is told by PyPI or, failing that, by OSV.

pip-audit's own variables hold, such as PIP_AUDIT_OSV_URL for a mirror of OSV.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Mapping
from textwrap import shorten
from typing import Any, Final

from online.stack.images.findings import Findings, Hole
from online.stack.images.locks import Pin
from online.stack.service import BIN

SERVICES: Final = {"pypi": "PyPI", "osv": "OSV (osv.dev)"}  # the same advisories; one that answers is enough

Ask = Callable[[str, Iterable[Pin]], Mapping[str, Any]]


class NoAnswerError(Exception):
    """pip-audit could not ask its service. The message is the last line of what it said."""


def ask_pip_audit(service: str, pinned: Iterable[Pin]) -> Mapping[str, Any]:
    """pip-audit's report on packages, no name twice. Raises NoAnswerError."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as lock:
        lock.writelines(f"{name}=={version}\n" for name, version in pinned)
        lock.flush()
        words = ("--vulnerability-service", service, "--no-deps", "--disable-pip", "--progress-spinner", "off")
        command = [str(BIN / "pip-audit"), *words, "--format", "json", "--desc", "off", "--requirement", lock.name]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        report: Mapping[str, Any] = json.loads(done.stdout)
    except json.JSONDecodeError as error:
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        host = re.search(r"ConnectionError: .*\(host='([^']+)'", said)
        raise NoAnswerError(f"no connection to {host[1]}" if host else shorten(said, 120)) from error
    return report


def rounds(pinned: Iterable[Pin]) -> list[list[Pin]]:
    """The pins, so divided that no name is twice in a round: pip-audit refuses two versions of one package."""
    divided: list[dict[str, str]] = []
    for name, version in pinned:
        free = next((names for names in divided if name not in names), None)
        if free is None:
            free = {}
            divided.append(free)
        free[name] = version
    return [list(names.items()) for names in divided]


def _packages(service: str, pinned: Iterable[Pin], ask: Ask) -> list[Mapping[str, Any]]:
    packages = [package for part in rounds(pinned) for package in ask(service, part)["dependencies"]]
    if packages and all("skip_reason" in package for package in packages):
        raise NoAnswerError(f"it knows none of {len(packages)} packages")  # "no known vulnerabilities", says pip-audit
    return packages


def _read(packages: Iterable[Mapping[str, Any]], service: str, where: Mapping[Pin, tuple[str, ...]]) -> Findings:
    skipped = [package["name"] for package in packages if "skip_reason" in package]
    holes = [
        Hole(
            ", ".join(where[package["name"], package["version"]]),
            package["name"],
            package["version"],
            next((alias for alias in hole.get("aliases", ()) if alias.startswith("CVE-")), hole["id"]),
            ", ".join(hole["fix_versions"]),
        )
        for package in packages
        for hole in package.get("vulns", ())
    ]
    unknown = (f"{SERVICES[service]} does not know {', '.join(skipped)}: not audited.",) if skipped else ()
    return Findings(tuple(holes), unknown)


def python_holes(pinned: Mapping[Pin, tuple[str, ...]], ask: Ask = ask_pip_audit) -> Findings:
    """Of every pin, from the first service that answers."""
    unreached: list[str] = []
    for service, title in SERVICES.items():
        try:
            return _read(_packages(service, pinned, ask), service, pinned)
        except NoAnswerError as error:
            unreached.append(f"{title} could not be asked about Python packages: {error}.")
    return Findings(unreached=tuple(unreached))
