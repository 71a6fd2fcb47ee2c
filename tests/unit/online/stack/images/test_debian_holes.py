"""What apt says in an image becomes holes."""

from __future__ import annotations

import pytest

from online.stack.images import debian_holes as debian
from online.stack.images.engine import Image
from online.stack.images.findings import Findings, Hole
from online.stack.service import StackError

IMAGE = Image("redis", "p-redis", built=True)
SAID = """\
libssl3/oldstable-security 3.0.22-1~deb12u2 amd64 [upgradable from: 3.0.20-1~deb12u2]
tzdata/oldstable-security,now 2026f-0+deb12u1 all [upgradable from: 2026b-0+deb12u1]

apt\tapt
libssl3\topenssl
tzdata\ttzdata
"""


def test_what_can_be_upgraded_from_the_security_archive_is_a_hole() -> None:
    assert debian.read(SAID, "redis") == (
        Hole("redis", "libssl3", "3.0.20-1~deb12u2", f"{debian.TRACKER}openssl", "3.0.22-1~deb12u2"),
        Hole("redis", "tzdata", "2026b-0+deb12u1", f"{debian.TRACKER}tzdata", "2026f-0+deb12u1"),
    )


def test_nothing_to_upgrade() -> None:
    assert debian.read("\napt\tapt\n", "redis") == ()


def test_it_runs_as_root_in_a_container_that_is_thrown_away(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, ...]] = []

    def docker(*words: str, given: str) -> str:
        asked.append(words)
        return SAID

    monkeypatch.setattr(debian, "docker", docker)
    assert len(debian.debian_holes(IMAGE).holes) == 2
    ((command, *options),) = asked
    assert command == "run"
    assert {"--rm", "root", "p-redis"} <= set(options)


def test_an_archive_that_is_not_reached_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def docker(*words: str, given: str) -> str:
        raise StackError("docker run: E: Some index files failed.")

    monkeypatch.setattr(debian, "docker", docker)
    assert debian.debian_holes(IMAGE) == Findings(
        unreached=(
            "Debian's security archive could not be asked about p-redis: docker run: E: Some index files failed.",
        )
    )
