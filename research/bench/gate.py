"""Whether a change makes requests cost more: the decision over what `research.bench.compare` has measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from research.bench.generator import ANSWERED

AT_MOST: Final = 1.1  # times the other's p50 and processor time
MORE: Final = 0.01  # share of requests that may be degraded beyond the other's
_JUDGED: Final = {"p50_ms": ("p50", "stage_p50_ms"), "processor_ms": ("processor time", "processor_ms")}
_SUMS: Final = ("all", "total")


def grown(levels: Sequence[Mapping[str, Any]], this: str, other: str, at_most: float = AT_MOST) -> list[str]:
    """A sentence for each level and each figure that is more than ``at_most`` times the other's: empty, if none is.

    Each names the stage, or the process, that grew most in milliseconds.
    """
    found = []
    for level in levels:
        for key, (name, by_stage) in _JUDGED.items():
            ratio = level["ratio"][key]
            if ratio > at_most:
                stage, before, after = _most_grown(level[other][by_stage], level[this][by_stage])
                found.append(
                    f"{level['level']}: {name} is {ratio:.2f} times what it was (at most {at_most:g}); most of it: "
                    f"{stage}, {before:.2f} ms before, {after:.2f} ms now"
                )
        mine, theirs = _degraded(level[this]), _degraded(level[other])
        if mine > theirs + MORE:
            found.append(f"{level['level']}: {mine:.1%} of the answers are degraded, {theirs:.1%} were")
    return found


def unanswered(levels: Sequence[Mapping[str, Any]], this: str) -> list[str]:
    """A sentence for each level at which less than `ANSWERED` of the requests was answered: that is no result."""
    return [
        f"{level['level']}: {of['refused']} requests were refused and {of['failed']} failed, {of['answered']} answered"
        for level in levels
        if (of := level[this])["answered"] < ANSWERED * (of["answered"] + of["refused"] + of["failed"])
    ]


def _degraded(side: Mapping[str, Any]) -> float:
    return float(side["degraded"] / side["answered"])


def _most_grown(before: Mapping[str, float], after: Mapping[str, float]) -> tuple[str, float, float]:
    """The stage that grew most. Where no stage is known to both, the sum speaks for all."""
    known = [stage for stage in after if stage in before and stage not in _SUMS] or [s for s in _SUMS if s in after]
    stage = max(known, key=lambda name: after[name] - before.get(name, 0.0))
    return stage, before.get(stage, 0.0), after[stage]
