"""For every test: hypothesis without a deadline, a browser, a list of what was not tested, no unlisted skip in CI."""

from __future__ import annotations

import os
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests.needs import program

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# an example is judged by what it finds, however busy the machine
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

PATIENCE_MS = 30_000  # of the browser, on a busy machine
ALLOWED = Path(__file__).with_name("allowed_skips.toml")
NOT_TESTED = "NOT TESTED: "


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with the folder it is in."""
    for item in items:
        folder, *_ = item.path.relative_to(Path(__file__).parent).parts
        item.add_marker({"past_one_machine": "spark"}.get(folder, folder))


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, or Google's Chrome; without a window."""
    from playwright.sync_api import (
        expect,
        sync_playwright,
    )  # Spark's environment, which reads this file, has none

    chromium = program("chromium", "chromium", "chromium-browser", "google-chrome")
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox"]
        )
        yield browser
        browser.close()


def skips(reporter: pytest.TerminalReporter) -> Iterator[tuple[str, str]]:
    """Test and reason of each skip."""
    for report in reporter.stats.get("skipped", []):
        reason = (
            report.longrepr[2]
            if isinstance(report.longrepr, tuple)
            else str(report.longrepr)
        )
        yield report.nodeid, reason.removeprefix("Skipped: ")


def refused(found: list[tuple[str, str]]) -> list[str]:
    """Those that no entry of the list allows, a line each."""
    allowed = tomllib.loads(ALLOWED.read_text(encoding="utf-8"))["allowed"]
    return [
        f"{test}: {reason}"
        for test, reason in found
        if not any(
            test.startswith(each["test"]) and each["reason"] in reason
            for each in allowed
        )
    ]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI a skip that is not on the list fails the run."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if (
        reporter
        and os.environ.get("CI") == "true"
        and not hasattr(session.config, "workerinput")
    ):
        session.config.stash[REFUSED] = refused(list(skips(reporter)))
        if session.config.stash[REFUSED] and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


REFUSED = pytest.StashKey[list[str]]()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name what is missing on this machine, once, with the command that brings it."""
    missing = Counter(
        reason for _, reason in skips(terminalreporter) if reason.startswith(NOT_TESTED)
    )
    for reason, count in missing.items():
        terminalreporter.write_line(
            f"{reason} ({count} test{'s' if count > 1 else ''})", yellow=True
        )
    for line in terminalreporter.config.stash.get(REFUSED, []):
        terminalreporter.write_line(
            f"SKIPPED IN CI, and not in {ALLOWED.name}: {line}", red=True
        )
