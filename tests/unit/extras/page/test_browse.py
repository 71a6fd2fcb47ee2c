from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient

from extras.page.hook import find, folded, projected
from tests.unit.extras.conftest import Fakes
from tests.unit.extras.document import conforms
from tests.unit.online.world import (
    AT,
    BLANK_USER,
    LAST_EVENT,
    UNKNOWN_USER,
    DefaultWorld,
    ShopWorld,
    SourceWorld,
)

OTHER = "bbbbbbbbbbbb"


def got(http: FlaskClient, path: str, schema: str) -> Any:
    response = http.get(path)
    assert response.status_code == 200, response.text
    conforms(response.json, schema)
    return response.json


def test_users_are_listed_by_id_or_activity(http: FlaskClient, fakes: Fakes) -> None:
    world = fakes.world
    answer = got(http, "/ml/users?size=100", "Users")
    by_text = sorted(world.userids, key=str)
    assert answer["users"] == [
        {"userid": user, "events": len(world.histories[user])} for user in by_text
    ]
    fewest = got(http, "/ml/users?fewest=true&size=3", "Users")["users"]
    assert fewest[0] == {"userid": BLANK_USER, "events": 0}
    assert [user["events"] for user in fewest] == sorted(
        len(each) for each in world.histories.values()
    )[:3]


def test_users_are_found_by_id_prefix_exact_match_first(http: FlaskClient) -> None:
    assert [
        user["userid"] for user in got(http, "/ml/users?q=1", "Users")["users"]
    ] == [1, 10, 11, 12]
    ones = [
        user
        for user in got(http, "/ml/users?q=1&fewest=true", "Users")["users"]
        if user["userid"] != 1
    ]
    assert [user["events"] for user in ones] == sorted(user["events"] for user in ones)
    assert {user["userid"] for user in ones} == {10, 11, 12}
    assert got(http, "/ml/users?q=99", "Users")["users"] == []
    assert got(http, "/ml/users?q=x", "Users")["users"] == []


def test_a_user_with_events_only_is_found_by_exact_id(http: FlaskClient) -> None:
    assert got(http, f"/ml/users?q={UNKNOWN_USER}", "Users")["users"] == []
    event = {
        "eventid": "a",
        "userid": UNKNOWN_USER,
        "itemid": 4,
        "type": "rating",
        "value": 5,
    }
    assert http.post("/ml/event", json=event).status_code == 200
    for text in (f"{UNKNOWN_USER}", f"{UNKNOWN_USER}%20"):
        assert got(http, f"/ml/users?q={text}", "Users")["users"] == [
            {"userid": UNKNOWN_USER, "events": 1}
        ]


@pytest.mark.parametrize("kind", [ShopWorld], indirect=True)
def test_ids_may_be_any_text(http: FlaskClient, fakes: Fakes) -> None:
    assert got(http, "/ml/users?q=u-8", "Users")["users"][0]["userid"] == "u-8f3a"
    history = http.get("/ml/history", query_string={"userid": "a/b c"}).json
    conforms(history, "UserHistory")
    assert history["known"] is True
    assert history["item_list"][0]["itemid"] == fakes.world.own_item(
        int(fakes.world.histories[2].item_numbers[0])
    )


def test_a_history_is_newest_first_with_values_and_titles(
    http: FlaskClient, fakes: Fakes
) -> None:
    world = fakes.world
    answer = got(http, "/ml/history?userid=1&size=5", "UserHistory")
    history, dataset = world.histories[1], world.published.manifest.dataset
    assert (answer["events"], answer["last"], answer["known"]) == (
        len(history),
        LAST_EVENT,
        True,
    )
    assert [item["itemid"] for item in answer["item_list"]] == history.item_numbers[
        :5
    ].tolist()
    assert [item["value"] for item in answer["item_list"]] == [
        dataset.levels[c - 1] for c in history.ratings[:5]
    ]
    assert [item["liked"] for item in answer["item_list"]] == (
        history.ratings[:5] > 3
    ).tolist()
    assert answer["item_list"][0]["title"] == world.titles[int(history.item_numbers[0])]
    assert (
        answer["item_list"][0]["genres"]
        == world.attributes(int(history.item_numbers[0]))["genres"]
    )


def test_items_are_found_by_title(http: FlaskClient, fakes: Fakes) -> None:
    found = got(http, "/ml/items?q=E film 7", "Items")["item_list"]
    assert len(found) == 10
    assert {"7"} <= set("".join(item["title"] for item in found))
    assert found[0].keys() == {
        "itemid",
        "title",
        *fakes.world.attributes(found[0]["itemid"]),
    }


def test_the_map_has_items_with_vectors_by_popularity(
    http: FlaskClient, fakes: Fakes
) -> None:
    answer, world = got(http, "/ml/map", "ItemMap"), fakes.world
    assert answer["channel"] == world.recipe.recall.searched[0].name
    found = [item["itemid"] for item in answer["item_list"]]
    assert (
        found[:3]
        == [itemid for itemid, _ in world.popular if itemid in world.trained][:3]
    )
    assert sorted(found) == sorted(world.trained)
    assert answer["item_list"][0]["title"] == world.titles[found[0]]
    assert (
        len({(item["x"], item["y"]) for item in answer["item_list"]}) > len(found) / 2
    )


def test_a_map_is_made_once_while_the_release_is_open(
    http: FlaskClient, fakes: Fakes
) -> None:
    http.get("/ml/users")
    before = len(fakes.items.calls)
    assert http.get("/ml/map").json == http.get("/ml/map").json
    assert len(fakes.items.calls) == before + 1
    fakes.publish(replace(fakes.world, release=OTHER, seed=1))
    assert got(http, f"/ml/map?release={OTHER}", "ItemMap")["release"] == OTHER


def test_parallel_requests_for_a_map_make_it_once(
    http: FlaskClient, fakes: Fakes
) -> None:
    http.get("/ml/users")
    app, before = http.application, len(fakes.items.calls)
    fakes.items.on_call = lambda: time.sleep(0.3)
    with ThreadPoolExecutor(8) as threads:
        maps = list(
            threads.map(lambda _: app.test_client().get("/ml/map").text, range(8))
        )
    assert len(set(maps)) == 1
    assert len(fakes.items.calls) == before + 1


def test_the_map_without_elasticsearch_is_made_later(
    http: FlaskClient, fakes: Fakes
) -> None:
    http.get("/ml/users")
    fakes.items.down = True
    answer = http.get("/ml/map")
    assert answer.status_code == 503
    conforms(answer.json, "ErrorAnswer")
    fakes.items.down = False
    assert http.get("/ml/map").status_code == 200


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


def test_a_release_of_another_format_is_not_listed(
    http: FlaskClient, fakes: Fakes
) -> None:
    fakes.users.history.insert(0, OTHER)
    fakes.users.unreadable.add(OTHER)
    kept = got(http, "/ml/releases", "KeptReleases")["releases"]
    assert [each["release"] for each in kept] == [fakes.world.release]


def test_releases_are_listed_the_live_one_first(
    http: FlaskClient, fakes: Fakes
) -> None:
    other = replace(fakes.world, release=OTHER, seed=1, model_version=2)
    fakes.add(other)
    fakes.users.history.insert(0, OTHER)  # published after the one that is live
    fakes.follow()
    kept = got(http, "/ml/releases", "KeptReleases")["releases"]
    assert [(each["release"], each["live"]) for each in kept] == [
        (fakes.world.release, True),
        (OTHER, False),
    ]
    assert kept[0]["recipe"] == fakes.world.recipe.name
    assert kept[0]["event_types"]["rating"] == "rates"
    assert (
        got(http, f"/ml/history?userid=1&release={OTHER}", "UserHistory")["release"]
        == OTHER
    )


def test_a_deleted_release_is_not_found_and_not_replaced(
    http: FlaskClient, fakes: Fakes
) -> None:
    requested = {"userid": 1, "release": OTHER}
    assert http.post("/ml/rec", json=requested).status_code == 404
    assert http.get(f"/ml/items?q=a&release={OTHER}").status_code == 404
    fakes.publish(replace(fakes.world, release=OTHER))
    assert http.post("/ml/rec", json=requested).status_code == 200
    del fakes.users.worlds[OTHER]
    response = http.post("/ml/rec", json=requested | {"userid": UNKNOWN_USER})
    assert response.status_code == 404
    conforms(response.json, "ErrorAnswer")
    assert response.json["error"]["field"] == "release"


@pytest.mark.parametrize("kind", [SourceWorld, DefaultWorld, ShopWorld], indirect=True)
def test_stages_say_what_was_sent_and_what_came(
    http: FlaskClient, fakes: Fakes
) -> None:
    world, userid = fakes.world, fakes.world.own_user(1)
    answer = http.post(
        "/ml/rec",
        json={"userid": userid, "timestamp": AT, "stages": True, "explain": "recall"},
    ).json
    conforms(answer, "Answer")
    stages = {stage["stage"]: stage for stage in answer["stages"]}
    assert list(stages) == ["redis", "elasticsearch", "feast", "triton"]
    assert all(
        stage["began_ms"] >= 0 and not stage["failed"] for stage in stages.values()
    )
    assert stages["redis"]["received"]["history"] == len(world.histories[1])
    assert stages["elasticsearch"]["sent"]["vectors"] == world.vector_dims
    assert stages["elasticsearch"]["sent"]["excluded"] == len(world.seen[1])
    found = {
        name: len(ids)
        for name, ids in answer["recall"].items()
        if name in world.vector_dims
    }
    assert stages["elasticsearch"]["received"]["found"] == found
    rows = stages["triton"]["sent"]
    assert rows["rows"] == stages["triton"]["received"]["scores"]
    assert sum(rows["columns"].values()) == rows["width"] == world.spec.width
    assert rows["history"] == world.spec.sizes.events


def test_stages_say_which_failed_and_end_where_the_request_did(
    http: FlaskClient, fakes: Fakes
) -> None:
    assert http.post("/ml/rec", json={"userid": 1}).status_code == 200
    fakes.scorer.down = True
    stages = http.post("/ml/rec", json={"userid": 1, "stages": True}).json["stages"]  # type: ignore[index]
    assert [(stage["stage"], stage["failed"]) for stage in stages][-1] == (
        "triton",
        True,
    )
    assert stages[-1]["received"] == {}
    stages = http.post("/ml/rec", json={"userid": UNKNOWN_USER, "stages": True}).json[
        "stages"
    ]  # type: ignore[index]
    assert [(stage["stage"], stage["received"]) for stage in stages] == [
        ("redis", {"users": 0})
    ]


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
    for release in (OTHER, unlisted):
        fakes.publish(
            replace(
                fakes.world, release=release, model_version=2 if release == OTHER else 1
            )
        )
    del fakes.scorer.worlds[OTHER]
    fakes.users.unlisted.add(unlisted)
    for release, status in (
        (OTHER, 503),
        (unlisted, 503),
        ("ffffffffffff", 404),
        ("nonsense", 400),
    ):
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
        ("star", [2, 3, 5]),
        ("wars star", [2, 3]),
        ("tar", [2, 3, 5]),
        ("art", [5]),
        ("nothing", []),
    ],
)
def test_title_search_matches_all_words_by_popularity(
    text: str, found: list[int]
) -> None:
    assert (
        find([(itemid, folded(title)) for itemid, title in TITLES.items()], text, 10)
        == found
    )


def test_words_that_begin_so_come_before_the_others() -> None:
    for size in (10, 1):
        assert find([(1, "restart"), (2, "start")], "start", size) == [2, 1][:size]
