"""Take the pictures of the page, from the running server, in Debian's Chromium.

The lists are of a user who is not in MovieLens, with made-up ratings, which are taken back at the end: MovieLens's own
ratings may not be redistributed. The trace is of one of its users, without the ratings.

Reads   the page at the server's address, with a release of MovieLens-1M; RECSYS_SERVER__KEY where events need a key
Writes  pic/page_light.png, pic/page_dark.png, pic/page_phone.png
Run     make screenshots        (apt install chromium fonts-wqy-microhei)
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Literal

from playwright.sync_api import Browser, Error, sync_playwright

from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError, run
from extras.client import Client
from research.figures import PICTURES

MADE_UP: Final = 7001
# Film of MovieLens-1M -> stars, the oldest rating first: Lion King, Aladdin, Matrix, Star Wars, Schindler's List, ...
RATINGS: Final = {
    364: 4,
    588: 4,
    2571: 5,
    260: 5,
    527: 4,
    1197: 5,
    1270: 4,
    2355: 3,
    1: 4,
    593: 3,
    318: 5,
    1265: 4,
}


@dataclass(frozen=True)
class Shot:
    """One picture."""

    name: str
    scheme: Literal["light", "dark"]
    width: int
    height: int
    view: str
    user: int = MADE_UP
    # selector of an element; None: all that fits into the window
    part: str | None = None


SHOTS = (
    Shot("page_light.png", "light", 1280, 860, "list"),
    Shot(
        "page_dark.png", "dark", 1280, 760, "trace", user=6, part=".stage"
    ),  # without the ratings
    Shot("page_phone.png", "light", 390, 844, "list"),
)


@contextmanager
def rated(client: Client) -> Iterator[None]:
    """Record `RATINGS` of `MADE_UP`; afterwards retract them. Raises ServerError."""
    event = {"userid": MADE_UP, "type": "rating"}
    client.record(
        *(
            {**event, "itemid": film, "value": stars, "eventid": uuid.uuid4().hex}
            for film, stars in RATINGS.items()
        )
    )
    try:
        yield
    finally:
        client.record(
            *(
                {**event, "type": "undo", "itemid": film, "eventid": uuid.uuid4().hex}
                for film in RATINGS
            )
        )


def take(browser: Browser, url: str, shot: Shot) -> None:
    context = browser.new_context(
        viewport={"width": shot.width, "height": shot.height},
        color_scheme=shot.scheme,
        locale="en-US",
        reduced_motion="reduce",
    )
    page = context.new_page()
    page.goto(f"{url}/#{shot.view}")
    page.get_by_label("User id").fill(str(shot.user))
    page.get_by_role("list", name="Users").get_by_role("button").first.click()
    page.get_by_role("heading", name=f"User {shot.user}", exact=True).wait_for()
    page.locator("main[aria-busy=false]").wait_for()
    page.wait_for_load_state("networkidle")  # the reasons come after the list
    (page.locator(shot.part) if shot.part else page).screenshot(
        path=PICTURES / shot.name
    )
    context.close()


def main(settings: Settings) -> None:
    """Raises StepError."""
    chromium = shutil.which("chromium")
    if chromium is None:
        raise StepError("chromium is missing", "Install it: apt install chromium.")
    with (
        Client.of(settings.server) as client,
        rated(client),
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox"]
        )
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
