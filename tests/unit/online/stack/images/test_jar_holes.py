"""The locked jars are asked for, and what OSV says becomes holes."""

from __future__ import annotations

import pytest

from online.stack.elasticsearch.jars import Jar, locked_jars
from online.stack.images.findings import Findings, Hole
from online.stack.images.jar_holes import jar_holes

LOG4J = Jar("org.apache.logging.log4j:log4j-core:2.14.0", "00")


def test_a_hole_has_its_cve_and_the_version_that_fixes_it(osv: str) -> None:
    name = "org.apache.logging.log4j:log4j-core"
    assert jar_holes([LOG4J, Jar("a:b:1", "00")], osv) == Findings(
        (Hole("jars.lock", name, "2.14.0", "CVE-2019-1010083", "1.0"),)
    )


def test_every_locked_jar_can_be_asked_for(osv: str) -> None:
    assert [hole.package for hole in jar_holes(locked_jars(), osv).holes] == ["org.apache.logging.log4j:log4j-core"]


def test_without_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    found = jar_holes([LOG4J], "http://127.0.0.1:9/v1/query")
    assert found == Findings(unreached=("OSV (osv.dev) could not be asked about the jars: no connection.",))


def test_a_service_that_answers_with_an_error_was_not_asked(osv: str) -> None:
    found = jar_holes([LOG4J, Jar("a:broken:1", "00")], osv)
    assert found.holes == ()
    (sentence,) = found.unreached
    assert sentence.startswith("OSV (osv.dev) could not be asked about the jars: 500 Server Error")
