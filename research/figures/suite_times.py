"""Keep what `make test` took, part by part, from what it printed.

Reads   the output of `make test` on standard input
Writes  pic/figures/test.json
Run     make bench-test
"""

from __future__ import annotations

import re
import sys
from typing import Any

from data_exchange_center.figures import FIGURES
from data_exchange_center.files import write_json
from data_exchange_center.machine import machine

OUTPUT = FIGURES / "test.json"
TIMED = re.compile(r"^--- (?P<what>lint|(?:unit|browser|service|end-to-end) tests): (?P<seconds>\d+) s$", re.MULTILINE)
PARTS = 5  # lint has no tests to count
COUNTED = re.compile(r"^(?:(?P<passed>\d+) passed|\d+ skipped).* in \d", re.MULTILINE)


def parts(printed: str) -> list[dict[str, Any]]:
    """Seconds and passed tests of each part. Empty when the run did not come to its end."""
    took = {found["what"]: int(found["seconds"]) for found in TIMED.finditer(printed)}
    passed = [int(found["passed"] or 0) for found in COUNTED.finditer(printed)]
    if len(took) != PARTS or len(passed) != PARTS - 1:
        return []
    counts = dict(zip(list(took)[1:], passed, strict=True))
    return [{"part": part, "seconds": seconds, "passed": counts.get(part)} for part, seconds in took.items()]


def main() -> None:
    found = parts(sys.stdin.read())
    if not found:
        sys.exit("make test did not run to its end: nothing is written.")
    content = {"command": "make bench-test", "machine": machine(), "parts": found}
    write_json(OUTPUT, content)


if __name__ == "__main__":
    main()
