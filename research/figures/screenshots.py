"""Take the pictures of the page, from the running server, in Debian's Chromium.

Reads   the page at the server's address
Writes  pic/page_light.png, pic/page_dark.png, pic/page_phone.png
Run     make screenshots        (apt install chromium fonts-wqy-microhei)
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import Literal

from playwright.sync_api import Browser, Error, sync_playwright

from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError, run
from research.reports import PICTURES

USER = "6"  # the first whose id begins so


@dataclass(frozen=True)
class Shot:
    """One picture."""

    name: str
    scheme: Literal["light", "dark"]
    width: int
    height: int
    view: str


SHOTS = (
    Shot("page_light.png", "light", 1280, 860, "list"),
    Shot("page_dark.png", "dark", 1280, 760, "trace"),
    Shot("page_phone.png", "light", 390, 844, "list"),
)


def take(browser: Browser, url: str, shot: Shot) -> None:
    context = browser.new_context(
        viewport={"width": shot.width, "height": shot.height}, color_scheme=shot.scheme, locale="en-US",
        reduced_motion="reduce",
    )  # fmt: skip
    page = context.new_page()
    page.goto(f"{url}/#{shot.view}")
    page.get_by_label("User id").fill(USER)
    page.get_by_role("list", name="Users").get_by_role("button").first.click()
    page.get_by_role("heading", name=f"User {USER}", exact=True).wait_for()
    page.locator("main[aria-busy=false]").wait_for()
    page.wait_for_load_state("networkidle")  # the reasons come after the list
    page.screenshot(path=PICTURES / shot.name)
    context.close()


def main(settings: Settings) -> None:
    """Raises StepError."""
    chromium = shutil.which("chromium")
    if chromium is None:
        raise StepError("chromium is missing", "Install it: apt install chromium.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        try:
            for shot in SHOTS:
                take(browser, settings.server.url, shot)
        except Error as error:
            what = f"The page at {settings.server.url} cannot be taken: {error.message.splitlines()[0]}"
            raise StepError(what, "Start the server: make serve.") from error
        finally:
            browser.close()


if __name__ == "__main__":
    run(main, about=__doc__)
