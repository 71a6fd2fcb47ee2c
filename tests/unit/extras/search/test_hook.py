from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.unit.extras.asking import USER, ask, ids, refused
from tests.unit.extras.conftest import Fakes
from tests.unit.online.conftest import SERVICES
from tests.unit.online.world import (
    NO_VECTOR_ITEM,
    UNKNOWN_USER,
    World,
)

USERS = pytest.mark.parametrize("userid", [USER, UNKNOWN_USER])


def of_genre(world: World, genre: str) -> set[int]:
    items = world.itemids
    return {each for each in items if genre in world.attributes(each)["genres"]}


def unseen(fakes: Fakes) -> list[int]:
    """The items that the user has not seen, from the last of the list."""
    seen = fakes.world.seen[USER]
    return [each for each in reversed(fakes.world.trained) if each not in seen]


def lacks(answer: dict[str, Any]) -> dict[str, str]:
    """Service that an answer does without -> what it has instead."""
    degraded = answer.get("degraded", [])
    return {each["service"]: each["instead"] for each in degraded}


@USERS
def test_a_title_is_first_for_every_user(
    fakes: Fakes, http: FlaskClient, userid: int
) -> None:
    wanted = unseen(fakes)[0]
    answer = ask(http, userid=userid, query=f"film {wanted}", size=10)
    assert ids(answer)[0] == wanted
    assert answer["cold_start"] == (userid == UNKNOWN_USER)
    assert "degraded" not in answer


@pytest.mark.parametrize("down", ["", *SERVICES])
@USERS
def test_matches_come_whatever_service_is_down(
    fakes: Fakes, http: FlaskClient, userid: int, down: str
) -> None:
    ask(http, userid=userid)
    fakes.down(down)
    answer = ask(http, userid=userid, query="comedy", size=200)
    seen = fakes.world.seen[USER] if userid == USER else []
    assert set(ids(answer)) <= of_genre(fakes.world, "Comedy") - set(seen)
    assert len(ids(answer)) > 100
    if userid == USER or down in ("", "elasticsearch"):
        assert [*lacks(answer)] == ([down] if down else [])
    if down == "elasticsearch":
        assert lacks(answer) == {down: "exact_search"}
    assert answer["cold_start"] == (userid == UNKNOWN_USER and down != "redis")


def test_equal_matches_are_in_the_rankers_order(http: FlaskClient) -> None:
    where = {"genres": {"all": ["Comedy"], "none": ["Drama"]}}
    items = ask(http, query="comedy", size=20, where=where)["item_list"]
    scores = [item["score"] for item in items if item["genres"] == ["Comedy"]]
    assert scores == sorted(scores, reverse=True)
    assert len(scores) > 1


def test_strict_request_fails_without_elasticsearch(
    fakes: Fakes, http: FlaskClient
) -> None:
    ask(http)
    fakes.text.down = True
    for userid in (USER, UNKNOWN_USER):
        strict = ask(http, 503, userid=userid, query="comedy", strict=True)
        assert strict["error"]["service"] == "elasticsearch"


@USERS
def test_query_with_filter_ids_and_exclusion(
    fakes: Fakes, http: FlaskClient, userid: int
) -> None:
    where = {"genres": {"none": ["Drama"]}}
    body: dict[str, Any] = {"query": "comedy", "where": where, "userid": userid}
    matches = of_genre(fakes.world, "Comedy") - of_genre(fakes.world, "Drama")
    seen = fakes.world.seen[USER] if userid == USER else []
    found = ids(ask(http, **body, size=200))
    assert set(found) == matches - set(seen)
    assert set(ids(ask(http, **body, size=200, exclude=found[:3]))) == set(found[3:])
    assert set(ids(ask(http, **body, only=found[4:6]))) == set(found[4:6])


@USERS
def test_query_that_nothing_matches_gets_an_empty_list(
    http: FlaskClient, userid: int
) -> None:
    answer = ask(http, userid=userid, query="zzz")
    assert (ids(answer), answer["short"]) == ([], "query")
    assert "degraded" not in answer


def test_items_added_since_the_release_are_found(
    fakes: Fakes, with_a_key: FlaskClient
) -> None:
    genres = {"genres": ["Comedy"]}
    item = {"itemid": 9_000, "title": "Unheard Of", "attributes": genres}
    assert with_a_key.post("/ml/item", json=item).status_code == 200
    assert ids(ask(with_a_key, query="unheard film", size=5))[0] == 9_000


@pytest.mark.parametrize("down", [False, True], ids=["healthy", "Elasticsearch down"])
@USERS
def test_changed_items_are_found_by_their_new_words(
    fakes: Fakes, with_a_key: FlaskClient, userid: int, down: bool
) -> None:
    wanted = unseen(fakes)[0]
    title = {"title": "Unheard Of"}
    assert with_a_key.patch(f"/ml/item/{wanted}", json=title).status_code == 200
    fakes.text.down = down
    assert ids(ask(with_a_key, userid=userid, query="unheard", size=5)) == [wanted]
    assert wanted not in ids(ask(with_a_key, userid=userid, query=f"[{wanted}]"))


def test_removed_items_are_not_found(fakes: Fakes, with_a_key: FlaskClient) -> None:
    wanted = unseen(fakes)[0]
    assert with_a_key.delete(f"/ml/item/{wanted}").status_code == 200
    for fakes.text.down in (False, True):
        for userid in (USER, UNKNOWN_USER):
            assert ids(ask(with_a_key, userid=userid, query=f"[{wanted}]")) == []


def test_short_names_the_query_before_the_filter(http: FlaskClient) -> None:
    where = {"genres": {"none": ["Drama"]}}
    answer = ask(http, query=f"[{NO_VECTOR_ITEM}]", where=where, size=5)
    assert answer["short"] == "query"


@pytest.mark.parametrize(
    "query", ["", " ", "!?", "x" * 201, 7, None, ["comedy"], {"any": "comedy"}]
)
@USERS
def test_bad_query_is_refused(http: FlaskClient, userid: int, query: object) -> None:
    assert refused(http, userid=userid, query=query) == "query"
