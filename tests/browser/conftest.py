"""The page in a real browser, over a server in this process whose four services are in memory."""

from __future__ import annotations

import faulthandler
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page
from playwright.sync_api import TimeoutError as PageTimeout

from data_exchange_center.settings import Settings
from extras.keys import store as keys
from online.main.s1_server import create_app
from tests.unit.extras.conftest import Fakes, core_fakes, fakes, serving  # noqa: F401 (fixtures)
from tests.unit.online.world import DefaultWorld, World

PATIENCE_MS = 30_000  # a busy machine's


@pytest.fixture
def kind() -> type[World]:
    return DefaultWorld


@dataclass
class Site:
    """A running server: where, and a key that it knows."""

    url: str
    key: str


@pytest.fixture
def site(
    fakes: Fakes,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Site]:
    path = tmp_path / "api_keys"
    monkeypatch.setenv("RECSYS_SERVER__FAULTS", "on")
    app = create_app(
        fakes.recommender, Settings(server={"keys_file": path}), fakes.stores
    )
    fakes.app = app
    with serving(app) as address:
        yield Site(f"{address}/", keys.add(path, "person"))


@dataclass
class Said:
    """Errors in the browser's console; a test that provokes one names the status that it may have."""

    complaints: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)

    @property
    def unexpected(self) -> list[str]:
        return [
            each
            for each in self.complaints
            if not any(status in each for status in self.expected)
        ]


@pytest.fixture
def said() -> Said:
    return Said()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(
        viewport={"width": 1280, "height": 900}, locale="en-US"
    )
    context.set_default_timeout(PATIENCE_MS)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext, site: Site, said: Said) -> Iterator[Page]:
    """The page, with the first user's list. Afterwards: nothing was complained of that was not expected."""
    page = context.new_page()
    page.on(
        "console",
        lambda message: (
            said.complaints.append(message.text) if message.type == "error" else None
        ),
    )
    page.on("pageerror", lambda error: said.complaints.append(str(error)))
    page.goto(site.url)
    try:
        page.locator(".card").first.wait_for()
    except PageTimeout as error:
        faulthandler.dump_traceback()  # what the server's threads do
        shown = page.locator("body").inner_text()
        raise AssertionError(f"no list; {said.complaints}; shown: {shown}") from error
    yield page
    assert said.unexpected == []
