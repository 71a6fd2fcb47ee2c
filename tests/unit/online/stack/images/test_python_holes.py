"""What pip-audit's report becomes, and when its service was not asked at all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from online.stack.images.findings import Findings, Hole
from online.stack.images.python_holes import NoAnswerError, ask_pip_audit, python_holes, rounds

PINNED = {
    ("flask", "0.5"): ("requirements.txt", "server.txt"),
    ("numpy", "1.26"): ("t.txt",),
    ("numpy", "2.4"): ("r.txt",),
}
HOLE = {
    "id": "PYSEC-2019-179",
    "fix_versions": ["1.0", "0.12.3"],
    "aliases": ["GHSA-5wv5-4vpf-pj6m", "CVE-2019-1010083"],
}


class PipAudit:
    """In its place: `vulns` and `skipped` by package, `dead` services."""

    def __init__(self, vulns: Mapping[str, Any] = {}, skipped: Iterable[str] = (), dead: Iterable[str] = ()) -> None:
        self.vulns, self.skipped, self.dead = dict(vulns), set(skipped), set(dead)
        self.asked: list[tuple[str, list[tuple[str, str]]]] = []

    def __call__(self, service: str, pinned: Iterable[tuple[str, str]]) -> Mapping[str, Any]:
        if service in self.dead:
            raise NoAnswerError("no such host")
        self.asked.append((service, list(pinned)))
        return {"dependencies": [self._package(*pin) for pin in self.asked[-1][1]], "fixes": []}

    def _package(self, name: str, version: str) -> dict[str, Any]:
        if name in self.skipped:
            return {
                "name": name,
                "skip_reason": f"Dependency not found on PyPI and could not be audited: {name} ({version})",
            }
        return {"name": name, "version": version, "vulns": self.vulns.get(name, [])}


def test_two_versions_of_a_package_are_asked_in_two_rounds() -> None:
    assert rounds(PINNED) == [[("flask", "0.5"), ("numpy", "1.26")], [("numpy", "2.4")]]


def test_a_hole_has_its_cve_its_fixes_and_the_files_that_pin_it() -> None:
    found = python_holes(PINNED, PipAudit({"flask": [HOLE]}))
    assert found == Findings((Hole("requirements.txt, server.txt", "flask", "0.5", "CVE-2019-1010083", "1.0, 0.12.3"),))


def test_a_hole_without_a_cve_or_a_fix() -> None:
    found = python_holes(PINNED, PipAudit({"flask": [{"id": "PYSEC-1", "fix_versions": []}]}))
    assert found.holes == (Hole("requirements.txt, server.txt", "flask", "0.5", "PYSEC-1", ""),)


def test_nothing_known() -> None:
    pip_audit = PipAudit()
    assert python_holes(PINNED, pip_audit) == Findings()
    assert {service for service, _ in pip_audit.asked} == {"pypi"}


def test_a_service_that_knows_no_package_was_not_reached() -> None:
    """pip-audit then says `No known vulnerabilities found`, with exit code 0."""
    found = python_holes(PINNED, PipAudit(skipped=["flask", "numpy"], dead=["osv"]))
    assert found.holes == ()
    assert found.unreached == (
        "PyPI could not be asked about Python packages: it knows none of 3 packages.",
        "OSV (osv.dev) could not be asked about Python packages: no such host.",
    )


def test_where_pypi_does_not_answer_osv_is_enough() -> None:
    found = python_holes(PINNED, PipAudit({"flask": [HOLE]}, dead=["pypi"]))
    assert [hole.package for hole in found.holes] == ["flask"]
    assert found.unreached == ()


def test_packages_that_the_service_does_not_know_are_told() -> None:
    found = python_holes(PINNED, PipAudit(skipped=["numpy"]))
    assert found.unreached == ("PyPI does not know numpy, numpy: not audited.",)


def test_pip_audit_itself_says_what_is_read_here(osv: str) -> None:
    def ask(service: str, pinned: Iterable[tuple[str, str]]) -> Mapping[str, Any]:
        if service == "pypi":
            raise NoAnswerError("not asked in this test")
        return ask_pip_audit(service, pinned)

    found = python_holes({("flask", "0.5"): ("a.txt",), ("numpy", "2.4.6"): ("a.txt",)}, ask)
    assert found == Findings((Hole("a.txt", "flask", "0.5", "CVE-2019-1010083", "1.0"),))


def test_pip_audit_that_does_not_reach_its_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_AUDIT_OSV_URL", "http://127.0.0.1:9/v1/query")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(NoAnswerError, match=r"^no connection to 127\.0\.0\.1$"):
        ask_pip_audit("osv", [("flask", "0.5")])
