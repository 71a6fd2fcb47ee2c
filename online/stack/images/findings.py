"""What an audit finds: holes, and which sources of data could not be asked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Hole:
    """A known hole of one package."""

    where: str  # an image, or the lock files that pin it
    package: str
    version: str
    advisory: str  # an id, or the address of the page that has them
    fixed_in: str  # empty: in no version yet


@dataclass(frozen=True)
class Findings:
    """Of one source or of several."""

    holes: tuple[Hole, ...] = ()
    unreached: tuple[str, ...] = ()  # a sentence for each source that could not be asked


def together(findings: Iterable[Findings]) -> Findings:
    every = list(findings)
    return Findings(tuple(h for f in every for h in f.holes), tuple(s for f in every for s in f.unreached))
