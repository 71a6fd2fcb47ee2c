"""What the audit prints, and its exit code."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from online.stack.images import audit, engine
from online.stack.images.engine import Image
from online.stack.images.findings import Findings, Hole
from online.stack.images.licences import Licensed
from online.stack.service import StackError

HOLE = Hole("p-redis", "libssl3", "3.0.20", "https://tracker/openssl", "3.0.22")
FINE, FOREIGN = Licensed("a", "1", "MIT", "permissive"), Licensed("b", "2", "AGPL-3.0-only", None)


@pytest.mark.parametrize(
    ("findings", "licensed", "code"),
    [
        (Findings(), [FINE], 0),
        (Findings((HOLE,)), [FINE], 1),
        (Findings(), [FINE, FOREIGN], 1),
        (Findings(unreached=("PyPI could not be asked.",)), [FINE], 2),
        (Findings((HOLE,), ("PyPI could not be asked.",)), [FINE], 1),
    ],
)
def test_exit_code(findings: Findings, licensed: list[Licensed], code: int) -> None:
    assert audit.exit_code(findings, licensed) == code


def test_a_hole_that_two_images_have_is_one_row() -> None:
    other = Hole("p-feast", *(HOLE.package, HOLE.version, HOLE.advisory, HOLE.fixed_in))
    assert audit.hole_rows([HOLE, other]) == [
        ("libssl3", "3.0.20", "3.0.22", "https://tracker/openssl", "p-redis, p-feast")
    ]


def test_the_licence_on_no_list_comes_first() -> None:
    assert audit.licence_rows([FINE, FOREIGN]) == [
        ("AGPL-3.0-only", "ON NO LIST", "b"),
        ("MIT", "permissive", "a"),
    ]


def test_the_report_ends_with_what_was_not_asked_and_the_sum() -> None:
    printed = io.StringIO()
    audit.report(Findings((HOLE,), ("PyPI could not be asked.",)), [FINE, FOREIGN], Console(file=printed, width=160))
    lines = printed.getvalue().splitlines()
    assert lines[-2:] == [
        "PyPI could not be asked.",
        "2 Python packages; licences on no list: 1; packages with known holes: 1; sources not reached: 1.",
    ]
    assert any("libssl3" in line and "3.0.22" in line for line in lines)


def test_images_that_are_not_built_are_told_and_the_others_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    redis, feast, official = Image("redis", "p-redis", True), Image("feast", "p-feast", True), Image("t", "t:1", False)
    monkeypatch.setattr(engine, "images", lambda: (redis, feast, official))
    monkeypatch.setattr(engine, "is_present", lambda image: image == redis)
    monkeypatch.setattr(audit, "debian_holes", lambda image: Findings((HOLE,)) if image == redis else Findings())
    assert audit.images_findings() == Findings(
        (HOLE,), ("Not built, so not looked at: p-feast (make docker-up builds them).",)
    )


def test_without_an_engine_the_rest_is_audited(monkeypatch: pytest.MonkeyPatch) -> None:
    def images() -> tuple[Image, ...]:
        raise StackError("docker is not installed, or not on PATH.")

    monkeypatch.setattr(engine, "images", images)
    assert audit.images_findings().unreached == (
        "The images could not be looked at: docker is not installed, or not on PATH.",
    )


def test_a_pin_that_is_not_installed_is_told() -> None:
    sentence = "Not installed here, so of unknown licence: a 1, b 2 (make setup)."
    assert audit.not_installed([("a", "1"), ("b", "2")]) == Findings(unreached=(sentence,))
    assert audit.not_installed([]) == Findings()
