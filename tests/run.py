"""Run the parts of the tests side by side, in two queues, and say at the end what each found and how long it took.

A part that fails does not stop the others, and fails the whole. Each part's output goes to build/tests/<part>.log and
is printed when the part ends. Parts of the second queue take what the first one leaves of the processor: what has a
deadline stands in the first.

Writes  build/tests/<part>.log, build/tests/times.json
Run     python -m tests.run test            make test
        python -m tests.run full [package]  make test-full [package=events]
        python -m tests.run gate            .ci/run
Expect  the closing line of every part, and the list of what this machine lacks
"""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOGS = ROOT / "build" / "tests"
PYTEST = f"{shlex.quote(sys.executable)} -m pytest -q --durations 12 --durations-min 5"
OWN_TARGETS = (
    "cluster",
    "past_one_machine",
    "containers",
)  # of make; removal: the gate's
CLOSING = re.compile(
    r"^(?:=+ )?(\d+ (?:passed|failed|skipped|error|deselected)\b.* in [\d.]+s.*?)(?: =+)?$",
    re.MULTILINE,
)
NOT_TESTED = re.compile(r"^NOT TESTED: .+$", re.MULTILINE)

# part -> its command, for the shell
LINT = {"lint": "make lint"}
UNIT = {"unit": "make test-unit"}
CORE = {"unit": "make test-unit of=core"}
OUTER = {"unit": "make test-unit of=outer"}
DEMO = {"demo": f"{PYTEST} tests/e2e/demo --timeout 1800"}
E2E = {"e2e": f"{PYTEST} tests/e2e --timeout 1800"}
# The gate leaves these to `make test-full`: a soak, which takes as long on any machine, and trainings.
LONG = (
    "test_long_run",
    "test_more_imported_models",
    "test_renewal_canary",
    "test_sequence",
)
FULL_ONLY = " ".join(f"--ignore tests/e2e/full/{name}.py" for name in LONG)
MOST_OF_E2E = {"e2e": f"{PYTEST} tests/e2e {FULL_ONLY} --timeout 1800"}
SERVICES = {"services": f"{PYTEST} tests/services"}
BROWSER = {"browser": f"{PYTEST} tests/browser"}
CLUSTERS = {"clusters": "make test-clusters"}
SPARK = {"spark": "make test-spark"}
REMOVAL = (
    {"removal": f"{PYTEST} tests/removal --timeout 1800"}
    if (ROOT / "tests/removal").is_dir()
    else {}
)
CONTAINERS = {
    "containers": f'engine=$(.ci/engine start); eval "$engine"; {PYTEST} tests/containers --timeout 1800'
}

KUBERNETES = {"kubernetes": "make test-kubernetes"}

QUEUES = {
    "test": (DEMO, LINT | CORE),
    "full": (SERVICES | KUBERNETES, OUTER | BROWSER | E2E),
    "gate": (
        SERVICES | CLUSTERS | BROWSER | REMOVAL,
        LINT | UNIT | CONTAINERS | SPARK | MOST_OF_E2E,
    ),
}


@dataclass(frozen=True)
class Result:
    """One part's end."""

    part: str
    queue: int
    seconds: int
    ok: bool
    closing: str  # pytest's closing line; empty where the part is not pytest


class Runner:
    """Runs queues of parts, and ends them all when it is interrupted."""

    def __init__(self) -> None:
        self.results: list[Result] = []
        self._printing = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._interrupted = False

    def queue(self, number: int, parts: dict[str, str]) -> None:
        for part, command in parts.items():
            if self._interrupted:
                return
            self._say(f"--- {part}: started")
            started = time.monotonic()
            log = LOGS / f"{part}.log"
            with log.open("wb") as output:
                process = subprocess.Popen(
                    [
                        "nice",
                        "-n",
                        str(5 * number),
                        "bash",
                        "-euo",
                        "pipefail",
                        "-c",
                        command,
                    ],
                    cwd=ROOT,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
                self._running.add(process)
                code = process.wait()
                self._running.discard(process)
            said = log.read_text(encoding="utf-8", errors="replace")
            closing = (CLOSING.findall(said) or [""])[-1]
            result = Result(
                part, number, round(time.monotonic() - started), code == 0, closing
            )
            self.results.append(result)
            self._say(
                f"\n=== {part} ===\n{said.rstrip()}\n--- {part}: {result.seconds} s"
            )

    def _say(self, text: str) -> None:
        with self._printing:
            print(text, flush=True)

    def interrupt(self) -> None:
        """End what runs, with time for each part to take its services down."""
        self._interrupted = True
        for process in list(self._running):
            with suppress(ProcessLookupError):  # it has just ended
                os.killpg(process.pid, signal.SIGINT)


def summary(command: str, results: list[Result], seconds: int) -> None:
    """Write the times, print the closing lines, and last what was not tested."""
    content = {
        "command": command,
        "python": platform.python_version(),
        "seconds": seconds,
        "parts": [asdict(result) for result in results],
    }
    (LOGS / "times.json").write_text(
        json.dumps(content, indent=2) + "\n", encoding="utf-8"
    )
    print(f"\n=== {command} ===")
    for result in results:
        state = "ok" if result.ok else "FAILED"
        print(f"{result.part:<12} {result.seconds:>5} s  {state:<6}  {result.closing}")
    print(
        f"{'all':<12} {seconds:>5} s  {'ok' if all(result.ok for result in results) else 'FAILED'}"
    )
    logs = [
        (LOGS / f"{result.part}.log").read_text(encoding="utf-8", errors="replace")
        for result in results
    ]
    for line in dict.fromkeys(
        line for said in logs for line in NOT_TESTED.findall(said)
    ):
        print(line)


def of_package(package: str) -> dict[str, str]:
    """The tests of a package: all files below ``tests`` in whose path its name stands."""
    tests = ROOT / "tests"
    paths = [path.relative_to(tests) for path in sorted(tests.rglob("test_*.py"))]
    found = [
        path
        for path in paths
        if package in path.as_posix() and path.parts[0] not in OWN_TARGETS
    ]
    if not found:
        packages = sorted(
            {
                part
                for path in paths
                for part in path.parts[:-1]
                if path.parts[0] not in OWN_TARGETS
            }
        )
        sys.exit(
            f"No test of a package called {package!r}; there are: {', '.join(packages)}."
        )
    return {
        package.replace(
            "/", "-"
        ): f"{PYTEST} {shlex.join(f'tests/{path}' for path in found)}"
    }


def main(what: str, package: str = "") -> int:
    queues = (of_package(package),) if package else QUEUES[what]
    LOGS.mkdir(parents=True, exist_ok=True)
    runner, started = Runner(), time.monotonic()
    # parts must not inherit that it is ignored
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    with ThreadPoolExecutor(len(queues)) as threads:
        running = [
            threads.submit(runner.queue, number, parts)
            for number, parts in enumerate(queues)
        ]
        try:
            for each in running:
                each.result()
        except KeyboardInterrupt:
            runner.interrupt()
    summary(
        " ".join(["tests", what, *([package] if package else [])]),
        runner.results,
        round(time.monotonic() - started),
    )
    complete = len(runner.results) == sum(len(parts) for parts in queues)
    return 0 if complete and all(result.ok for result in runner.results) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
