from __future__ import annotations

import hashlib
import re
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient

from extras.page.hook import find, folded, projected
from tests.unit.extras.asking import conforms
from tests.unit.extras.conftest import BOTH_KINDS, Fakes
from tests.unit.online.world import (
    AT,
    BLANK_USER,
    LAST_EVENT,
    UNKNOWN_USER,
    ShopWorld,
)

OTHER = "bbbbbbbbbbbb"


def got(http: FlaskClient, path: str, schema: str) -> Any:
    response = http.get(path)
    assert response.status_code == 200, response.text
    conforms(response.json, schema)
    return response.json


def users(http: FlaskClient, query: str) -> dict[Any, int]:
    """Own ids and numbers of events, in their order."""
    found = got(http, f"/ml/users?{query}", "Users")["users"]
    return {user["userid"]: user["events"] for user in found}


def test_users_are_listed_by_id_or_activity(http: FlaskClient, fakes: Fakes) -> None:
    events = {user: len(history) for user, history in fakes.world.histories.items()}
    everybody = sorted(fakes.world.userids, key=str)
    expected = [(user, events[user]) for user in everybody]
    assert list(users(http, "size=100").items()) == expected
    fewest = users(http, "fewest=true&size=3")
    assert next(iter(fewest.items())) == (BLANK_USER, 0)
    assert list(fewest.values()) == sorted(events.values())[:3]


def test_users_are_found_by_id_prefix_exact_match_first(http: FlaskClient) -> None:
    assert list(users(http, "q=1")) == [1, 10, 11, 12]
    assert list(users(http, "q=1&fewest=true")) == [1, 10, 11, 12]
    assert users(http, "q=99") == users(http, "q=x") == {}


def test_a_user_with_events_only_is_found_by_exact_id(http: FlaskClient) -> None:
    assert users(http, f"q={UNKNOWN_USER}") == {}
    event = {"eventid": "a", "userid": UNKNOWN_USER, "itemid": 4}
    rating = {**event, "type": "rating", "value": 5}
    assert http.post("/ml/event", json=rating).status_code == 200
    for text in (f"{UNKNOWN_USER}", f"{UNKNOWN_USER}%20"):
        assert users(http, f"q={text}") == {UNKNOWN_USER: 1}


@pytest.mark.parametrize("kind", [ShopWorld])
def test_ids_may_be_any_text(http: FlaskClient, fakes: Fakes) -> None:
    assert next(iter(users(http, "q=u-8"))) == "u-8f3a"
    history = got(http, "/ml/history?userid=a/b%20c", "UserHistory")
    newest = int(fakes.world.histories[2].item_numbers[0])
    assert history["item_list"][0]["itemid"] == fakes.world.own_item(newest)


def test_a_history_is_newest_first_with_values_and_titles(
    http: FlaskClient, fakes: Fakes
) -> None:
    world = fakes.world
    answer = got(http, "/ml/history?userid=1&size=5", "UserHistory")
    history, levels = world.histories[1], world.published.manifest.dataset.levels
    expected = {"events": len(history), "last": LAST_EVENT}
    assert expected.items() <= answer.items()
    numbers, codes = history.item_numbers[:5].tolist(), history.ratings[:5].tolist()
    for item, number, code in zip(answer["item_list"], numbers, codes, strict=True):
        assert (item["itemid"], item["title"]) == (number, world.titles[number])
        assert (item["value"], item["liked"]) == (levels[code - 1], code > 3)
        assert item["genres"] == world.attributes(number)["genres"]


def test_items_are_found_by_title(http: FlaskClient, fakes: Fakes) -> None:
    first, *others = got(http, "/ml/items?q=E film 7", "Items")["item_list"]
    assert len(others) == 9
    assert all("7" in item["title"] for item in (first, *others))
    assert first.keys() == {"itemid", "title", *fakes.world.attributes(first["itemid"])}


@BOTH_KINDS
def test_the_map_has_items_with_vectors_by_popularity(
    http: FlaskClient, fakes: Fakes
) -> None:
    answer, world = got(http, "/ml/map", "ItemMap"), fakes.world
    assert answer["channel"] == world.recipe.recall.vector_channels[0].name
    items = answer["item_list"]
    found = [item["itemid"] for item in items]
    popular = [itemid for itemid, _ in world.popular if itemid in world.trained]
    assert found[:3] == popular[:3]
    assert sorted(found) == sorted(world.trained)
    assert items[0]["title"] == world.titles[found[0]]
    assert len({(item["x"], item["y"]) for item in items}) > len(found) / 2


def test_a_map_is_made_once_while_the_release_is_open(
    http: FlaskClient, fakes: Fakes
) -> None:
    """Also by parallel requests, after a first one without Elasticsearch."""
    http.get("/ml/users")
    fakes.items.down = True
    answer = http.get("/ml/map")
    assert answer.status_code == 503
    conforms(answer.json, "ErrorAnswer")
    fakes.items.down = False
    app, before = http.application, len(fakes.items.calls)
    fakes.items.on_call = lambda: time.sleep(0.3)
    with ThreadPoolExecutor(8) as threads:
        ask = lambda _: app.test_client().get("/ml/map").text  # noqa: E731
        assert len(set(threads.map(ask, range(8)))) == 1
    assert len(fakes.items.calls) == before + 1
    fakes.publish(replace(fakes.world, release=OTHER, seed=1))
    assert got(http, f"/ml/map?release={OTHER}", "ItemMap")["release"] == OTHER


def test_items_that_are_all_alike_are_in_one_place() -> None:
    for each in (np.ones((5, 4), np.float32), np.zeros((5, 4), np.float32)):
        assert (projected(each, np.arange(5)) == 0).all()


def test_a_service_that_is_down_is_named(http: FlaskClient, fakes: Fakes) -> None:
    assert http.get("/ml/users").status_code == 200
    fakes.users.down = True
    response = http.get("/ml/history?userid=1")
    assert response.status_code == 503
    assert response.json["error"]["service"] == "redis"
    assert http.get("/ml/items?q=film").status_code == 200  # titles are in memory


def test_releases_are_listed_the_live_one_first(
    http: FlaskClient, fakes: Fakes
) -> None:
    """Without one of another format."""
    fakes.users.history.insert(0, "ffffffffffff")
    fakes.users.unreadable.add("ffffffffffff")
    fakes.add(replace(fakes.world, release=OTHER, seed=1, model_version=2))
    fakes.users.history.insert(0, OTHER)  # published after the one that is live
    fakes.follow()
    first, second = got(http, "/ml/releases", "KeptReleases")["releases"]
    assert (first["release"], first["live"]) == (fakes.world.release, True)
    assert (second["release"], second["live"]) == (OTHER, False)
    assert first["recipe"] == fakes.world.recipe.name
    assert first["event_types"]["rating"] == "rates"
    history = got(http, f"/ml/history?userid=1&release={OTHER}", "UserHistory")
    assert history["release"] == OTHER


@BOTH_KINDS
def test_stages_say_what_came(http: FlaskClient, fakes: Fakes) -> None:
    world = fakes.world
    request = {"userid": 1, "timestamp": AT, "stages": True, "explain": "recall"}
    answer: Any = http.post("/ml/rec", json=request).json
    conforms(answer, "Answer")
    counts = {each["stage"]: each["counts"] for each in answer["stages"]}
    assert list(counts) == ["redis", "elasticsearch", "feast", "triton"]
    assert counts["redis"]["history"] == len(world.histories[1])
    found = {name: len(answer["recall"][name]) for name in world.vector_dims}
    fused = len(answer["recall"]["fused"])
    assert counts["elasticsearch"] == {"found": found, "fused": fused}
    assert counts["triton"]["width"] == world.spec.width


def test_stages_say_which_failed_and_end_where_the_request_did(
    http: FlaskClient, fakes: Fakes
) -> None:
    def stages(userid: int) -> Any:
        body = {"userid": userid, "stages": True}
        answer: Any = http.post("/ml/rec", json=body).json
        return answer["stages"]

    assert stages(1)
    fakes.scorer.down = True
    last = stages(1)[-1]
    assert (last["stage"], last["failed"], last["counts"]) == ("triton", True, {})
    (only,) = stages(UNKNOWN_USER)
    assert (only["stage"], only["counts"]) == ("redis", {"users": 0})


def test_a_release_is_put_live_again(
    http: FlaskClient, with_a_key: FlaskClient, fakes: Fakes
) -> None:
    fakes.publish(replace(fakes.world, release=OTHER))
    response = with_a_key.post(f"/ml/releases/{OTHER}/activate")
    assert response.status_code == 200, response.text
    conforms(response.json, "Activated")
    assert fakes.users.listed() == (OTHER, [OTHER, fakes.world.release])
    assert http.post("/ml/rec", json={"userid": 1}).json["release"] == OTHER  # type: ignore[index]


def test_a_release_that_cannot_answer_is_not_activated(
    with_a_key: FlaskClient, fakes: Fakes
) -> None:
    unlisted = "cccccccccccc"
    fakes.publish(replace(fakes.world, release=OTHER, model_version=2))
    fakes.publish(replace(fakes.world, release=unlisted))
    del fakes.scorer.worlds[OTHER]
    fakes.users.unlisted.add(unlisted)
    wrong = {OTHER: 503, unlisted: 503, "ffffffffffff": 404, "nonsense": 400}
    for release, status in wrong.items():
        response = with_a_key.post(f"/ml/releases/{release}/activate")
        assert response.status_code == status
        conforms(response.json, "ErrorAnswer")
        assert fakes.users.live_release == fakes.world.release


TITLES = {
    4: "Titanic (1997)",
    1: "Amélie (2001)",
    2: "Star Wars (1977)",
    3: "Wars of the Stars",
    5: "A Bad Start",
}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("amelie", [1]),
        ("AMÉLIE 2001", [1]),
        ("wars star", [2, 3]),
        ("tar", [2, 3, 5]),
        ("nothing", []),
    ],
)
def test_title_search_matches_all_words_by_popularity(
    text: str, found: list[int]
) -> None:
    titles = [(itemid, folded(title)) for itemid, title in TITLES.items()]
    assert find(titles, text, 10) == found
    assert find(titles, text, 1) == found[:1]


STATIC = Path(__file__).parents[4] / "extras/page/static"
OURS = [
    path
    for path in sorted(STATIC.rglob("*"))
    if path.is_file() and "vendor" not in path.parts
]


def test_the_page_is_served_with_a_strict_policy(http: FlaskClient) -> None:
    for path in ("/", *(f"/page/{file.relative_to(STATIC)}" for file in OURS)):
        response = http.get(path)
        assert response.status_code == 200, path
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Cache-Control"] == "no-cache", (
            "browsers ask whether the file has changed"
        )
    assert http.get("/").mimetype == "text/html"
    for file in STATIC.rglob("*.*js"):
        assert "javascript" in http.get(f"/page/{file.relative_to(STATIC)}").mimetype
    assert http.get("/page/nothing.js").status_code == 404


def test_the_page_needs_no_key(fakes: Fakes) -> None:
    http = fakes.client(keys_for="all", keys_file="/nowhere/keys")
    assert [
        http.get(path).status_code for path in ("/", "/page/style.css", "/ml/releases")
    ] == [200, 200, 401]


def test_vendored_libraries_state_version_licence_and_hash() -> None:
    sums = (STATIC / "vendor/SHA256SUMS").read_text()
    for library in (STATIC / "vendor").glob("*.mjs"):
        line = f"{hashlib.sha256(library.read_bytes()).hexdigest()}  {library.name}"
        origin = rf"# {library.stem} \d+\.\d+\.\d+ of npm, \S+.*\n{line}\n"
        assert re.search(origin, sums), library
        assert "sourceMappingURL" not in library.read_text(), library
        assert library.with_suffix(".LICENSE").read_text().strip(), library
