"""The page in a browser over the real services: what tests/browser does over fakes, once along the main road."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import redis
from playwright.sync_api import Page, expect
from werkzeug.serving import make_server

from data_exchange_center import wire
from data_exchange_center.settings import Settings
from extras.keys import hook as keys
from online.main.s1_server import create_app
from online.recommend.recommend import Recommender
from tests.browser.conftest import Said, Site, context, page, said  # noqa: F401 (fixtures)
from tests.unit.online.world import DefaultWorld, World

pytestmark = pytest.mark.parametrize("world", [DefaultWorld], ids=["DefaultWorld"], indirect=True)
USER = 1  # whom the page begins with


@pytest.fixture
def site(patient: Settings, world: World, tmp_path: Path) -> Iterator[Site]:
    path = tmp_path / "api_keys"
    server = patient.server.model_copy(update={"keys_file": path, "budget_ms": 10_000})
    settings, key = patient.model_copy(update={"server": server}), keys.add(path, "person")
    with closing(Recommender.from_settings(settings)) as recommender, redis.Redis(port=patient.redis.port) as store:
        http = make_server("127.0.0.1", 0, create_app(recommender, settings), threaded=True)
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield Site(f"http://127.0.0.1:{http.server_port}/", key)
        http.shutdown()
        thread.join()
        log = wire.event_log_key(world.dataset, wire.event_partition(USER))
        store.delete(wire.user_events_key(world.dataset, USER), log, f"ml:items:{world.dataset}")


def test_from_the_list_to_a_title_of_ones_own(page: Page, site: Site, said: Said) -> None:  # noqa: F811
    said.expected.append("401")
    cards, main = page.locator(".card"), page.locator("main")
    answer = page.request.post(f"{site.url}ml/rec", data={"userid": USER}).json()
    assert "degraded" not in answer
    expect(cards).to_have_count(50)
    expect(cards.first.get_by_role("heading")).to_contain_text(answer["item_list"][0]["title"].split(" (")[0])
    expect(cards.first.locator(".reason")).not_to_be_empty()
    # Only comedies, and what is like the first
    page.get_by_label("Only").select_option("Comedy")
    expect(page.locator(".card .tags", has_not_text="Comedy")).to_have_count(0)
    cards.first.get_by_text("More like this").click()
    expect(cards.first.locator(".alike li")).to_have_count(6)
    # Rated once there is a key, and gone from the list
    first = cards.first.get_by_role("heading").inner_text()
    cards.first.get_by_role("button", name="Rate 5").click()
    expect(page.get_by_role("alert")).to_contain_text("This needs a key")
    page.get_by_label("API key").fill(site.key)
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("region", name="What you did")).to_contain_text("rated 5 ★")
    expect(main).to_have_attribute("aria-busy", "false")
    expect(page.get_by_role("heading", name=first, exact=True)).to_have_count(0)
    # A title of one's own, placed by its genre, and taken away again
    page.get_by_role("navigation").get_by_role("link", name="Add a title").click()
    page.get_by_label("Title", exact=True).fill("A film of mine (2026)")
    page.get_by_label("Comedy").check()
    page.get_by_role("button", name="Add it").click()
    verdict = page.get_by_role("article")
    expect(verdict.get_by_role("row", name="tower")).to_be_visible()
    expect(verdict.locator("ul").first.get_by_role("listitem")).to_have_count(6)
    verdict.get_by_role("button", name="Take it away again").click()
    expect(verdict).to_have_count(0)
