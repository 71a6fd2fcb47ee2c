from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, Page, Route, expect
from tenacity import Retrying, stop_after_delay

from extras.faults import hook as faults_hook
from tests.browser.conftest import Said, Site
from tests.unit.extras.conftest import Fakes

OTHER = "bbbbbbbbbbbb"
VIEWS = ("list", "whyNot", "compare", "trace", "map", "add", "status")


def titles(page: Page) -> list[str]:
    return page.locator(".card h3").all_inner_texts()


def give(page: Page, key: str) -> None:
    """Fill the field, which appears where the server has refused something."""
    page.evaluate("dispatchEvent(new Event('needs-key'))")
    page.get_by_label("API key").fill(key)


def view(page: Page, name: str) -> None:
    page.get_by_role("navigation").get_by_role("link", name=name, exact=True).click()


def eventually(page: Page, condition: Callable[[], bool]) -> None:
    """Wait, while the browser's events arrive."""
    for attempt in Retrying(stop=stop_after_delay(60), reraise=True):
        with attempt:
            page.wait_for_timeout(50)
            assert condition()


def second_release(fakes: Fakes) -> None:
    fakes.add(replace(fakes.world, release=OTHER, seed=1, model_version=2))
    fakes.users.history.append(OTHER)
    fakes.follow()


def test_the_fifty_are_cards_in_the_servers_order(page: Page) -> None:
    assert page.locator(".card").count() == 50
    answer = page.request.post(f"{page.url}ml/rec", data={"userid": 1}).json()
    years = [item["title"].replace("(1999)", "1999") for item in answer["item_list"]]
    assert titles(page) == years
    first = page.locator(".card").first
    expect(first.locator(".score")).to_contain_text(
        f"{answer['item_list'][0]['score']:.3f}"
    )
    expect(first.locator(".tags span").first).to_have_text(
        answer["item_list"][0]["genres"][0]
    )
    explained = page.request.post(
        f"{page.url}ml/rec", data={"userid": 1, "explain": True}
    ).json()["explained"][0]
    expect(first.locator(".reason")).to_have_text(explained["reason"]["sentence"]["en"])
    first.get_by_text("Details").click()
    for name, place in explained["channels"].items():
        expect(first.get_by_role("row", name=name)).to_contain_text(
            f"{place['rank'] or '–'}{place['of']}"
        )
    expect(first.get_by_text("What moved the ranking model")).to_be_visible()


def test_list_filtered_by_genre_and_similar_items_on_a_card(page: Page) -> None:
    choice = page.get_by_label("Only")
    choice.select_option("Comedy")
    expect(page.locator("main")).to_have_attribute("aria-busy", "false")
    expect(page.locator(".card")).to_have_count(50)
    for card in page.locator(".card .tags").all():
        assert "Comedy" in card.inner_text()
    first = page.locator(".card").first
    first.get_by_text("More like this").click()
    expect(first.locator(".alike li")).to_have_count(6)
    choice.select_option("everything")
    expect(page.locator(".card .tags", has_not_text="Comedy").first).to_be_visible()


def test_titles_are_searched_by_words_and_the_list_comes_back(
    page: Page, fakes: Fakes
) -> None:
    before = titles(page)
    wanted = max(set(fakes.world.trained) - set(fakes.world.seen[1]))
    box = page.get_by_role("searchbox", name="Search", exact=True)
    box.fill(f"[{wanted}] adventure")
    box.press("Enter")
    expect(page.locator(".card h3").first).to_contain_text(f"[{wanted}]")
    box.fill("zzz")
    page.get_by_role("button", name="Find", exact=True).click()
    expect(page.get_by_text("No title has these words.")).to_be_visible()
    assert Axe().run(page).violations_count == 0
    box.fill("")
    box.press("Enter")
    expect(page.locator(".card")).to_have_count(50)
    assert titles(page) == before


def test_typed_words_stay_when_an_answer_arrives(page: Page, fakes: Fakes) -> None:
    box = page.get_by_role("searchbox", name="Search", exact=True)
    box.fill("half a tit")
    with page.expect_response("**/ml/rec"):
        page.get_by_role("radio", name="an hour after it").check()
    expect(page.get_by_role("status").filter(has_text="50 titles")).to_be_visible()
    expect(box).to_have_value("half a tit")


def test_user_with_few_ratings_and_unknown_user(page: Page, fakes: Fakes) -> None:
    """Somebody else than who is there, though chance would have it so."""
    fewest = sorted(
        fakes.world.userids, key=lambda userid: len(fakes.world.histories[userid])
    )[:15]
    page.evaluate(
        "share => { Math.random = () => share; }",
        (fewest.index(1) + 0.01) / len(fewest),
    )
    page.get_by_role("button", name="User with few ratings").click()
    heading = page.locator("aside h2")
    others = [userid for userid in fewest if userid != 1]
    expect(heading).to_have_text(
        re.compile("|".join(f"^User {userid}$" for userid in others))
    )
    page.get_by_role("button", name="Unknown user").click()
    expect(page.get_by_text("Nothing yet: an unknown user.")).to_be_visible()
    expect(page.get_by_text("This user is unknown here")).to_be_visible()
    assert page.locator(".card").count() == 50


def test_user_is_kept_after_a_page_reload(page: Page, fakes: Fakes, site: Site) -> None:
    """An unknown user too, with what was rated; in another tab somebody else may ask."""
    give(page, site.key)
    page.get_by_role("button", name="Unknown user").click()
    expect(page.get_by_text("This user is unknown here")).to_be_visible()
    unknown_user = page.locator("aside h2").inner_text()
    page.locator(".card").first.get_by_role("button", name="Rate 5").click()
    expect(page.get_by_text("1 newest of 1")).to_be_visible()
    page.reload()
    expect(page.locator("aside h2")).to_have_text(unknown_user)
    expect(page.get_by_text("1 newest of 1")).to_be_visible()
    other = page.context.new_page()
    other.goto(page.url)
    expect(other.locator("aside h2")).to_have_text(f"User {fakes.world.userids[0]}")
    page.evaluate("sessionStorage.setItem('userid', '\"of another kind\"')")
    page.reload()
    expect(page.locator("aside h2")).to_have_text(f"User {fakes.world.userids[0]}")


def test_a_browser_that_keeps_nothing_is_served(
    context: BrowserContext, site: Site
) -> None:
    context.add_init_script(
        "for (const name of ['localStorage', 'sessionStorage'])"
        " Object.defineProperty(window, name, { get() { throw new DOMException('denied', 'SecurityError'); } });"
    )
    page = context.new_page()
    page.goto(site.url)
    page.locator(".card").first.wait_for()
    page.get_by_role("button", name="中文").click()
    expect(page.get_by_role("heading", name="为你推荐")).to_be_visible()


@pytest.mark.parametrize("width", [320, 1280])
def test_titles_may_be_anything(
    context: BrowserContext, fakes: Fakes, site: Site, said: Said, width: int
) -> None:
    """HTML, without a space, from right to left."""
    odd = [
        "<img src=x onerror=alert(1)><b>bold</b>",
        "x" * 150,
        "שלום (עולם) 3 (1999)",
        "{n} & {title} ${0}",
        "\u202eevil",
    ]
    world = fakes.world
    world.titles.update(
        {itemid: odd[n % len(odd)] for n, itemid in enumerate(world.itemids)}
    )
    fakes.recommender.releases.reload(world.release)
    fakes.follow()
    page = context.new_page()
    page.on("dialog", lambda dialog: said.complaints.append(dialog.message))
    page.on("pageerror", lambda error: said.complaints.append(str(error)))
    page.set_viewport_size({"width": width, "height": 700})
    page.goto(site.url)
    page.locator(".card").first.wait_for()
    give(page, site.key)
    page.locator(".card").first.get_by_role("button", name="Hide").click()
    page.locator(".done").wait_for()
    assert page.locator(".card img, .card b").count() == 0
    for name in VIEWS:
        page.goto(f"{site.url}#{name}")
        page.locator("main[aria-busy=false]").wait_for()
        overflow = page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        assert overflow <= 0, f"{name} is {overflow} pixels wider than the screen"
    page.goto(f"{site.url}#list")
    from_the_right = page.locator(".card h3").filter(has_text="שלום").first
    assert from_the_right.inner_text() == "\u2068שלום (עולם) 3\u2069 1999", (
        "the year stays behind it"
    )
    assert said.complaints == []


def test_another_time_reorders_the_list(page: Page) -> None:
    before = titles(page)
    page.get_by_text("in the last session").click()
    page.locator(".moved").first.wait_for()
    after = titles(page)
    assert after != before
    for rank, title in enumerate(after):
        card = page.locator(".card").nth(rank)
        if title not in before:
            expect(card.locator(".moved")).to_have_text("new")
        elif before.index(title) != rank:
            way = "up" if before.index(title) > rank else "down"
            expect(card.locator(".moved")).to_contain_text(
                f"{way} {abs(before.index(title) - rank)}"
            )
    page.get_by_text("now", exact=True).click()
    expect(page.locator(".card h3").first).to_have_text(before[0])
    assert titles(page) == before


def test_a_diverse_list_is_the_servers_in_every_view(page: Page) -> None:
    before = titles(page)
    page.get_by_label("Diversity").fill("0.5")
    page.locator(".moved").first.wait_for()
    url = page.url.split("#")[0]
    answer = page.request.post(
        f"{url}ml/rec", data={"userid": 1, "diversity": 0.5, "explain": True}
    ).json()
    assert (
        titles(page)
        == [item["title"].replace("(1999)", "1999") for item in answer["item_list"]]
        != before
    )
    expect(page.locator(".diversity output")).to_have_text("0.50")
    card = page.locator(".card").nth(9)
    expect(card.locator(".reason")).not_to_have_text("…")
    card.get_by_text("Details").click()
    ranked = answer["explained"][9]["ranked"]
    expect(card.get_by_role("row", name="ranking")).to_contain_text(
        f"{ranked['rank']}{ranked['of']}"
    )
    expect(card.get_by_role("row", name="made diverse")).to_contain_text(
        f"10{ranked['of']}"
    )
    view(page, "Request trace")
    expect(page.locator(".trace h3").last).to_contain_text("Diversity")
    expect(page.locator(".trace")).to_contain_text("50 that differ")
    view(page, "Why not?")
    page.get_by_label("Search a title").fill(answer["item_list"][4]["title"])
    page.get_by_role("list", name="Titles").get_by_role("button").first.click()
    expect(page.get_by_text("It is number 5 of the list.")).to_be_visible()
    view(page, "For you")
    page.get_by_label("Diversity").fill("0")
    expect(page.locator(".card h3").first).to_have_text(before[0])
    page.locator("main[aria-busy=false]").wait_for()
    assert titles(page) == before
    page.get_by_role("button", name="中文").click()
    expect(page.get_by_label("多样性")).to_be_visible()


COUNT_ANIMATIONS = """
    window.animations = 0;
    const animate = Element.prototype.animate;
    Element.prototype.animate = function (...all) { window.animations += 1; return animate.apply(this, all); };
"""


@pytest.mark.parametrize("motion", ["no-preference", "reduce"])
def test_cards_are_animated_unless_motion_is_not_wanted(
    page: Page, motion: str
) -> None:
    page.emulate_media(reduced_motion=motion)  # type: ignore[arg-type]
    page.add_init_script(COUNT_ANIMATIONS)
    page.reload()
    page.locator(".card").first.wait_for()
    page.get_by_text("in the last session").click()
    page.locator(".moved").first.wait_for()
    assert (page.evaluate("window.animations") > 0) == (motion == "no-preference")


def test_any_title_can_be_explained(page: Page, fakes: Fakes) -> None:
    seen = int(fakes.world.histories[1].item_numbers[0])
    listed = page.locator(".card h3").first.inner_text()
    view(page, "Why not?")
    for title, reported in (
        (f"[{seen}]", "The user has seen it"),
        (listed.split()[1], "It is number 1 of the list."),
    ):
        page.get_by_label("Search a title").fill(f"film {title}")
        page.get_by_role("list", name="Titles").get_by_role(
            "button", name=title
        ).first.click()
        expect(page.get_by_role("article").get_by_text(reported)).to_be_visible()
    expect(
        page.get_by_role("article").get_by_role("row", name="fusion")
    ).to_be_visible()
    page.get_by_label("Search a title").fill("no such words")
    expect(page.get_by_text("No title has these words.")).to_be_visible()


def test_two_releases_stand_side_by_side(page: Page, fakes: Fakes) -> None:
    second_release(fakes)
    page.reload()
    page.locator(".card").first.wait_for()
    view(page, "Compare")
    page.locator(".columns .rows li").first.wait_for()
    requested = [
        page.request.post(
            f"{page.url.split('#')[0]}ml/rec", data={"userid": 1, **named}
        ).json()
        for named in ({}, {"release": OTHER})
    ]
    left, right = (
        [item["itemid"] for item in answer["item_list"]] for answer in requested
    )
    expect(
        page.get_by_text(f"{len(set(left) & set(right))} titles in both")
    ).to_be_visible()
    columns = page.locator(".columns > div")
    assert columns.nth(0).get_by_text("only here").count() == len(
        set(left) - set(right)
    )
    assert columns.nth(1).locator("h3").inner_text() == f"Right {OTHER}"


def test_request_trace_shows_each_stage(page: Page, fakes: Fakes) -> None:
    view(page, "Request trace")
    stops = page.locator(".trace h3")
    expect(stops).to_have_count(4)
    assert [stop.split()[0] for stop in stops.all_inner_texts()] == [
        "redis",
        "elasticsearch",
        "feast",
        "triton",
    ]
    pipeline = page.locator(".trace")
    expect(pipeline).to_contain_text(f"{len(fakes.world.histories[1])} ratings")
    for name in fakes.world.vector_dims:
        expect(pipeline).to_contain_text(f"{name}: ")
    expect(pipeline).to_contain_text(f"rows of {fakes.world.spec.width} columns")


def test_a_degraded_answer_is_marked(page: Page, fakes: Fakes) -> None:
    fakes.scorer.down = True
    view(page, "Request trace")
    page.get_by_role("button", name="Unknown user").click()
    page.get_by_label("User id").fill("1")
    page.get_by_role("list", name="Users").get_by_role("button").first.click()
    expect(page.get_by_text("not ranked, in recall's order")).to_be_visible()
    expect(page.locator(".stop.failed h3")).to_contain_text("triton")
    expect(page.locator(".stop.failed")).to_contain_text("did not answer")


def test_the_map_names_the_title_that_is_pointed_at(page: Page, fakes: Fakes) -> None:
    answer = page.request.get(f"{page.url}ml/map").json()
    assert len(answer["item_list"]) == len(fakes.world.trained)
    view(page, "Map")
    expect(
        page.get_by_text(
            f"{len(fakes.world.trained)} titles by the vectors of {answer['channel']}"
        )
    ).to_be_visible()
    canvas = page.get_by_role("application")
    drawn = "canvas => canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.some(each => each)"
    assert canvas.evaluate(drawn)
    box = canvas.bounding_box()
    item = answer["item_list"][0]
    page.mouse.move(
        box["x"] + 12 + (item["x"] + 1) / 2 * (box["width"] - 24),
        box["y"] + 12 + (1 - item["y"]) / 2 * (box["height"] - 24),
    )
    expect(page.locator(".near")).to_contain_text("Film")


def test_the_map_is_walked_with_the_arrow_keys(page: Page) -> None:
    view(page, "Map")
    page.get_by_role("application").focus()
    items = page.request.get(f"{page.url.split('#')[0]}ml/map").json()["item_list"]
    titles, near = {item["title"]: item for item in items}, []
    for _ in range(3):
        before = page.locator(".near").inner_text()
        page.keyboard.press("ArrowRight")
        expect(page.locator(".near")).not_to_have_text(before)
        near.append(
            page.locator(".near").inner_text().split(" ·")[0].replace("1999", "(1999)")
        )
    places = [titles[title]["x"] for title in near]
    assert 0 < places[0] < places[1] < places[2]


def test_status_says_what_runs_and_what_does_not(page: Page, fakes: Fakes) -> None:
    view(page, "Status")
    expect(page.get_by_text("All services are ready.")).to_be_visible()
    expect(page.locator(".service.good")).to_have_count(4)
    fakes.features.down = True
    for attempt in Retrying(
        stop=stop_after_delay(60), reraise=True
    ):  # the services are probed twice a second at most
        with attempt:
            page.get_by_role("button", name="Refresh").click()
            expect(page.get_by_text("Answers are degraded.")).to_be_visible(
                timeout=5_000
            )
    expect(page.locator(".service.bad h3")).to_contain_text("feast")


def test_a_service_is_broken_by_a_button_and_lists_are_compared(
    page: Page, site: Site, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over services in memory: a fault takes the fake down."""

    def inject(client: Any, *_: Any) -> Callable[[], None]:
        client.down = True
        return partial(setattr, client, "down", False)

    monkeypatch.setattr(faults_hook, "inject", inject)
    said.expected.append("401")
    before = titles(page)
    view(page, "Status")
    button = page.get_by_role("button", name="triton down")
    button.click()
    expect(page.get_by_role("alert")).to_contain_text("This needs a key")
    page.get_by_label("API key").fill(site.key)
    button.click()
    tile = page.get_by_role("listitem").filter(
        has=page.get_by_role("heading", name="triton down")
    )
    expect(tile).to_contain_text(re.compile(r"down, \d+ s left"))
    expect(page.locator(".notice.warn")).to_contain_text(
        "not ranked, in recall's order"
    )
    columns = page.locator(".columns > div")
    expect(columns.nth(0).locator("h3")).to_contain_text("Before")
    expect(columns.nth(0).locator(".title").first).to_contain_text(
        before[0].rsplit(" ", 1)[0]
    )
    expect(columns.nth(1).locator("h3")).to_contain_text("During")
    expect(page.get_by_text("titles in both")).to_be_visible()
    page.get_by_role("button", name="End all faults").click()
    expect(page.get_by_text("s left")).to_have_count(0)


def test_a_random_schedule_begins_faults_until_it_is_ended(
    page: Page, site: Site, fakes: Fakes
) -> None:
    give(page, site.key)
    view(page, "Status")
    button = page.get_by_role("button", name="Random faults")
    button.click()
    expect(button).to_have_attribute("aria-pressed", "true")
    first = len(fakes.faults.begun)
    fakes.faults.end()  # as one that is over: another one follows
    eventually(page, lambda: len(fakes.faults.begun) > first)
    page.get_by_role("button", name="End all faults").click()
    expect(button).to_have_attribute("aria-pressed", "false")
    expect(page.get_by_text("s left")).to_have_count(0)
    assert fakes.faults.active == {}


def test_running_experiments_and_the_users_arm_are_shown(
    page: Page, fakes: Fakes
) -> None:
    view(page, "Status")
    expect(page.locator(".service.good")).to_have_count(4)
    expect(page.get_by_role("heading", name="Running experiments")).to_have_count(0)
    second_release(fakes)
    fakes.trials.run("over", OTHER, OTHER)
    fakes.trials.stop("over")
    experiment = fakes.trials.run("ranker", fakes.world.release, OTHER)
    url = page.url.split("#")[0]
    for requested in (
        {"release": OTHER},
        {"experiments": False},
    ):  # that one is open, and the server has heard
        assert page.request.post(f"{url}ml/rec", data={"userid": 1, **requested}).ok
    page.goto(url)
    page.locator(".card").first.wait_for()
    expect(page.locator(".reason").last).not_to_have_text("…")
    assert all(reason for reason in page.locator(".reason").all_inner_texts())
    view(page, "Status")
    tile = page.locator(".release").filter(
        has=page.get_by_role("heading", name="ranker")
    )
    expect(tile).to_contain_text("100 % of the users")
    arms = [f"control: {fakes.world.release}, 50 %", f"treatment: {OTHER}, 50 %"]
    expect(tile.get_by_role("listitem")).to_have_text(arms)
    expect(page.get_by_role("heading", name="over", exact=True)).to_have_count(0)
    mine = experiment.arm_of(1)
    expect(tile).to_contain_text(f"User 1: {mine}")
    page.get_by_role("button", name="中文").click()
    expect(page.get_by_role("heading", name="正在运行的实验")).to_be_visible()
    expect(tile).to_contain_text(f"用户 1：{mine}")


def test_a_release_is_activated_with_the_key(
    page: Page, fakes: Fakes, site: Site, said: Said
) -> None:
    """The field for it appears when it is needed, and stays for the session."""
    said.expected.append("401")
    second_release(fakes)
    view(page, "Status")
    expect(page.get_by_label("API key")).to_have_count(0)
    page.get_by_role("button", name="Activate").click()
    expect(page.get_by_role("alert")).to_contain_text("This needs a key")
    assert fakes.users.live_release == fakes.world.release
    page.get_by_label("API key").fill(site.key)
    page.get_by_role("button", name="Activate").click()
    expect(page.get_by_text(f"Release {OTHER} is active now.")).to_be_visible()
    assert fakes.users.live_release == OTHER
    page.reload()
    expect(page.get_by_label("API key")).to_have_value(site.key)


def test_a_title_is_added_and_shows_where_it_goes(
    page: Page, fakes: Fakes, site: Site, said: Said
) -> None:
    said.expected.append("401")
    view(page, "Add a title")
    page.get_by_label("Title", exact=True).fill("A film of mine (2026)")
    page.get_by_label("Comedy").check()
    page.get_by_role("button", name="Add it").click()
    expect(page.get_by_role("alert")).to_contain_text("This needs a key")
    page.get_by_label("API key").fill(site.key)
    page.get_by_role("button", name="Try again").click()
    verdict = page.get_by_role("article")
    expect(verdict.get_by_role("heading", name="A film of mine 2026")).to_be_visible()
    expect(verdict.get_by_role("row", name="tower")).to_be_visible()
    expect(verdict.locator("ul").first.get_by_role("listitem")).to_have_count(6)
    verdict.get_by_role("button", name="Take it away again").click()
    expect(verdict).to_have_count(0)


def test_errors_say_what_to_do(page: Page, fakes: Fakes, said: Said) -> None:
    said.expected += ["503", "ERR_CONNECTION_REFUSED", "ERR_FAILED"]
    fakes.users.down = True
    page.get_by_role("button", name="Unknown user").click()
    expect(page.get_by_role("alert")).to_contain_text(
        "redis does not answer. “make status” says what runs"
    )
    fakes.users.down = False
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_text("Nothing yet: an unknown user.")).to_be_visible()
    page.route("**/ml/**", lambda route: route.abort())
    page.get_by_role("button", name="Unknown user").click()
    expect(page.get_by_role("alert")).to_contain_text("make serve")


def test_without_a_release_the_page_says_how_to_load_one(
    context: BrowserContext, fakes: Fakes, site: Site
) -> None:
    fakes.users.live_release = None
    fakes.users.history = []
    fakes.recommender.releases.loaded = {}  # as at a server's start
    fakes.recommender.releases.active = None
    fakes.follow()
    page = context.new_page()
    page.goto(site.url)
    expect(page.get_by_role("alert")).to_contain_text("make sync")


def test_chinese(page: Page) -> None:
    page.get_by_role("button", name="中文").click()
    expect(page.get_by_role("heading", name="为你推荐")).to_be_visible()
    assert page.evaluate("document.documentElement.lang") == "zh"
    for name in ("为什么没有？", "对比", "请求追踪", "地图", "状态"):
        view(page, name)
        expect(page.get_by_role("heading", name=name, exact=True)).to_be_visible()
    assert not re.search(
        r"[一-鿿][,:;] |[,:;] ?[一-鿿]", page.locator("main").inner_text()
    )
    view(page, "请求追踪")
    assert ", " not in page.locator("main").inner_text()
    page.reload()
    expect(page.get_by_role("button", name="English")).to_be_visible()


def test_the_keyboard_reaches_everything(page: Page) -> None:
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the list")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    page.get_by_label("User id").focus()
    page.keyboard.type("2")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="User 2")).to_be_visible()


def test_keyboard_focus_stays_after_rate_hide_and_undo(page: Page, site: Site) -> None:
    """What is rated or hidden leaves the list at once, and comes back when it is undone."""
    give(page, site.key)
    before = titles(page)
    star = page.locator(".card").nth(1).get_by_role("button", name="Rate 5")
    star.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name=before[1], exact=True)).to_have_count(0)
    expect(page.locator(".event").first).to_contain_text(before[1].split()[1])
    reported = page.locator("main > [role=status]")
    expect(reported).to_have_text(f"{before[1].rsplit(' ', 1)[0]}: rated 5 ★")
    expect(page.locator(".card").nth(1).locator("h3")).to_be_focused()
    for _ in range(6):  # past five stars
        page.keyboard.press("Tab")
    expect(
        page.locator(".card").nth(1).get_by_role("button", name="Hide")
    ).to_be_focused()
    hidden = page.locator(".card h3").nth(1).inner_text()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name=hidden, exact=True)).to_have_count(0)
    expect(reported).to_have_text(f"{hidden.rsplit(' ', 1)[0]}: hidden")
    expect(page.locator(".card").nth(1).locator("h3")).to_be_focused()
    undo = page.get_by_role("region", name="What you did").get_by_role(
        "button", name="Undo"
    )
    undo.first.focus()
    page.keyboard.press("Enter")
    expect(undo).to_have_count(1)
    expect(undo).to_be_focused()
    expect(reported).to_contain_text("undone")
    page.keyboard.press("Enter")
    expect(undo).to_have_count(0)
    expect(page.locator("main")).to_be_focused()
    expect(page.locator("main")).to_have_attribute("aria-busy", "false")
    assert titles(page) == before


def test_switching_users_shows_nothing_of_the_previous_user(page: Page) -> None:
    """Both answers are held back in turn: the list, then its reasons."""
    reason = page.locator(".card .reason").first
    expect(reason).not_to_have_text("…")
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/ml/rec", hold)
    page.get_by_role("button", name="Unknown user").click()
    expect(page.get_by_role("heading", name="User 1", exact=True)).to_have_count(0)
    expect(page.locator(".card")).to_have_count(0)
    expect(page.locator(".event")).to_have_count(0)
    eventually(page, lambda: len(held) == 1)
    held[0].continue_()
    expect(page.locator(".card")).to_have_count(50)
    expect(reason).to_have_text("…")
    eventually(page, lambda: len(held) == 2)
    held[1].continue_()
    expect(reason).not_to_have_text("…")


def test_a_list_without_its_reasons_is_a_list(page: Page, said: Said) -> None:
    said.expected.append("ERR_FAILED")

    def lose(route: Route) -> None:
        if "explain" in (route.request.post_data_json or {}):
            route.abort()
        else:
            route.fallback()

    page.route("**/ml/rec", lose)
    page.get_by_text("in the last session").click()
    expect(page.get_by_text("The reasons are not available.")).to_be_visible()
    expect(page.get_by_role("alert")).to_have_count(0)
    assert page.locator(".card").count() == 50
    page.unroute("**/ml/rec")
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_text("The reasons are not available.")).to_have_count(0)
    expect(page.locator(".card .reason").first).not_to_be_empty()


def test_a_rating_that_failed_is_sent_again_and_counts_once(
    page: Page, site: Site, fakes: Fakes, said: Said
) -> None:
    said.expected.append("ERR_FAILED")
    give(page, site.key)
    first, sent = titles(page)[0], []

    def lose_the_answer(route: Route) -> None:
        sent.append(route.request.post_data_json["eventid"])
        route.fetch()
        route.abort()

    page.route("**/ml/event", lose_the_answer)
    star = page.locator(".card").first.get_by_role("button", name="Rate 5")
    star.click()
    expect(page.get_by_role("alert")).to_be_visible()
    star.click()
    eventually(page, lambda: len(sent) == 2)
    page.unroute("**/ml/event")
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("region", name="What you did")).to_contain_text("rated 5 ★")
    expect(page.get_by_role("heading", name=first, exact=True)).to_have_count(0)
    assert set(sent) == {
        logged.event.eventid for logged in fakes.users.events_of(fakes.world.dataset, 1)
    }
    assert len(fakes.users.events_of(fakes.world.dataset, 1)) == 1


def test_looking_for_a_user_says_what_is_wrong(
    page: Page, fakes: Fakes, said: Said
) -> None:
    said.expected.append("503")
    fakes.users.down = True
    page.get_by_label("User id").fill("2")
    person = page.get_by_role("complementary", name="User")
    expect(person.get_by_role("alert")).to_contain_text("redis does not answer")
    expect(page.get_by_text("No user id starts with this.")).to_have_count(0)
    fakes.users.down = False
    person.get_by_role("button", name="Try again").click()
    expect(
        page.get_by_role("list", name="Users").get_by_role("button").first
    ).to_contain_text("2")
    expect(person.get_by_role("alert")).to_have_count(0)
    fakes.users.down = True
    page.get_by_role("button", name="User with few ratings").click()
    expect(person.get_by_role("alert")).to_contain_text("redis does not answer")
    fakes.users.down = False
    person.get_by_role("button", name="Try again").click()
    expect(person.get_by_role("alert")).to_have_count(0)
    expect(page.locator("aside h2")).not_to_have_text("User 1")


TYPE = """(field, texts) => {
    for (const text of texts) {
        field.value = text;
        field.dispatchEvent(new Event("input", { bubbles: true }));
    }
}"""


def test_users_are_fetched_when_typing_pauses(page: Page) -> None:
    requested: list[str] = []
    page.on(
        "request",
        lambda request: (
            requested.append(request.url) if "/ml/users" in request.url else None
        ),
    )
    page.get_by_label("User id").evaluate(TYPE, ["1", "12"])
    expect(
        page.get_by_role("list", name="Users").get_by_role("button").first
    ).to_contain_text("12")
    assert [url.split("?")[1] for url in requested] == ["q=12&size=8"]


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_each_view_is_accessible(
    page: Page, fakes: Fakes, scheme: str, width: int
) -> None:
    second_release(fakes)
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.set_viewport_size({"width": width, "height": 844})
    page.reload()
    for name in VIEWS:
        page.goto(f"{page.url.split('#')[0]}#{name}")
        page.locator(f"nav a[aria-current][href='#{name}']").wait_for()
        page.locator("main[aria-busy=false]").wait_for()
        page.wait_for_function("() => document.getAnimations().length === 0")
        results = Axe().run(page)
        assert results.violations_count == 0, results.generate_report()
        overflow = page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        assert overflow <= 0, f"{name} is {overflow} pixels wider than the screen"


def test_one_release_is_compared_at_two_moments(page: Page) -> None:
    view(page, "Compare")
    expect(page.get_by_text("RECSYS_RECIPE=source make offline sync")).to_be_visible()
    expect(page.get_by_text("titles in both")).to_be_visible()
    assert page.get_by_label("Requested").nth(1).input_value() == "session"
    page.get_by_label("Requested").nth(1).select_option("now")
    expect(page.get_by_text("50 titles in both")).to_be_visible()


def test_an_address_that_names_no_view_shows_the_list(page: Page) -> None:
    for name in ("constructor", "__proto__", "toString", "nowhere"):
        page.evaluate("location.hash = 'status'")
        expect(page.locator("#status-title")).to_be_visible()
        page.evaluate(f"location.hash = '{name}'")
        expect(page.locator("#list-title")).to_be_visible()


def test_an_aborted_request_is_not_reported_as_a_dead_server(page: Page) -> None:
    error = page.evaluate(
        """async () => {
            const { api } = await import("/page/api.js");
            const given_up = () => Promise.reject(new DOMException("", "AbortError"));
            window.fetch = async () => ({ ok: true, status: 200, json: given_up });
            return api.users({}).catch((error) => error.name);
        }"""
    )
    assert error == "AbortError"
