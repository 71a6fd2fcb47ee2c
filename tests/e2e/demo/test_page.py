"""The page in a real browser, on the demo's stack: what people see first, every view of it, and a rating that counts.

What the page does in every case that there is, over services in memory, stands in ``tests/browser``.
"""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.pipeline import Pipeline

PATIENCE_MS = 30_000  # a busy machine's
VIEWS = ("list", "whyNot", "compare", "trace", "map", "status")


@pytest.fixture
def page(browser: Browser, pipeline: Pipeline) -> Iterator[Page]:
    """The first user's list. Afterwards: the browser has complained of nothing."""
    complaints: list[str] = []
    with browser.new_context(
        viewport={"width": 1280, "height": 900}, locale="en-US"
    ) as context:
        context.set_default_timeout(PATIENCE_MS)
        page = context.new_page()
        page.on(
            "console",
            lambda each: (
                complaints.append(f"{each.text} {each.location}")
                if each.type == "error"
                else None
            ),
        )
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(pipeline.settings.server.url)
        page.locator(".card").first.wait_for()
        yield page
    assert complaints == []


def test_every_view_is_filled_by_the_real_services(page: Page) -> None:
    address = page.url.split("#")[0]
    for name in VIEWS:
        page.goto(f"{address}#{name}")
        page.locator(f"nav a[aria-current][href='#{name}']").wait_for()
        page.locator("main[aria-busy=false]").wait_for()
        expect(page.get_by_role("alert")).to_have_count(0)
    expect(page.locator(".service.good")).to_have_count(4)
    page.goto(f"{address}#trace")
    page.locator(".trace h3").first.wait_for()
    services = [text.split()[0] for text in page.locator(".trace h3").all_inner_texts()]
    assert services == ["redis", "elasticsearch", "feast", "triton"]


def test_ratings_of_an_unknown_user_change_the_list(page: Page) -> None:
    page.get_by_role("button", name="Unknown user").click()
    expect(page.get_by_text("This user is unknown here")).to_be_visible()
    titles = page.locator(".card h3").all_inner_texts()
    page.locator(".card").first.get_by_role("button", name="Rate 5").click()
    expect(page.get_by_text("1 newest of 1")).to_be_visible()
    expect(page.get_by_role("heading", name=titles[0], exact=True)).to_have_count(0)
    page.locator(".moved").first.wait_for()  # the list is ranked for what was rated
