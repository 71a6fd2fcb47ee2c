"""After `make demo`: fifty good films, and a server that answers as the README says."""

import json
import re
import subprocess
from collections.abc import Iterator

import pytest
import requests
from playwright.sync_api import Browser, Page, expect
from tenacity import Retrying, stop_after_delay, wait_fixed

from research.evaluation import evaluate, report
from tests import readmes
from tests.e2e.pipeline import ROOT, Pipeline


def test_the_demo_prints_fifty_films_and_where_the_server_is(
    pipeline: Pipeline,
) -> None:
    answer = pipeline.recommend(1).json()
    assert len(answer["item_list"]) == 50
    for item in answer["item_list"][:3]:
        assert item["title"][:20] in pipeline.output
    assert f"{pipeline.settings.server.url}/ml/rec" in pipeline.output


def test_a_bare_curl_works(pipeline: Pipeline) -> None:
    done = pipeline.run(
        "curl",
        "-s",
        "-d",
        '{"userid": 1, "strict": true}',
        f"{pipeline.settings.server.url}/ml/rec",
    )
    answer = json.loads(done.stdout)
    assert answer["userid"] == 1
    assert answer["cold_start"] is False
    assert re.fullmatch(r"[0-9a-f]{12}", answer["release"])
    scores = [item["score"] for item in answer["item_list"]]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)
    assert all(item["title"] and item["genres"] for item in answer["item_list"])
    assert {"redis", "elasticsearch", "feast", "triton", "total"} <= set(
        answer["took_ms"]
    )


def test_no_answer_holds_a_seen_film(pipeline: Pipeline) -> None:
    pipeline.check_unseen()


def test_status_shows_everything_ready(pipeline: Pipeline) -> None:
    for attempt in Retrying(
        stop=stop_after_delay(120), wait=wait_fixed(1), reraise=True
    ):
        with attempt:
            # which fails where one is not, or takes its time
            shown = pipeline.stack("status").lower()
            for service in ("redis", "elasticsearch", "feast", "triton", "server"):
                assert re.search(rf"^ *{service} +yes ", shown, re.MULTILINE), shown


def test_the_development_server_of_flask_answers_too(pipeline: Pipeline) -> None:
    port = pipeline.settings.server.port + 1
    name = "test_the_development_server_of_flask_answers_too"
    shown = next(
        command.text
        for command in readmes.commands("online/README.md")
        if command.run_by == name
    )
    assert shown.endswith(" run)")
    command = shown.replace(" run)", f" run --port={port})").replace(
        "&& flask", "&& exec flask"
    )
    server = subprocess.Popen(
        ["bash", "-c", command.strip("()")], cwd=ROOT, env=pipeline.activated()
    )
    try:
        for attempt in Retrying(
            stop=stop_after_delay(60), wait=wait_fixed(0.2), reraise=True
        ):
            with attempt:
                response = requests.post(
                    f"http://127.0.0.1:{port}/ml/rec", data='{"userid": 1}', timeout=30
                )
        assert len(response.json()["item_list"]) == 50
    finally:
        server.terminate()
        server.wait(timeout=120)


def test_the_artifacts_recommend_as_well_as_they_did(pipeline: Pipeline) -> None:
    """Checks of ``make evaluate-full``. That they catch bugs: ``tests/e2e/full/test_planted_bugs.py``."""
    found = evaluate.evaluate(pipeline.settings, "make evaluate-full")
    assert found["dataset"] == "ml-100k"
    report.check(found)


# The page in a real browser, on the demo's stack: what people see first, every view of it, and a rating that counts.


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
