from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient

from data_exchange_center.dataset import OwnId
from extras.items.projection import BEFORE, LIKES, Extended
from tests.unit.extras.conftest import Fakes
from tests.unit.extras.questions.asking import USER, ask, ids
from tests.unit.online.world import AT, DefaultWorld, ShopWorld, World

NEW = 5_000
ONE_WORLD = pytest.mark.parametrize("kind", [DefaultWorld], indirect=True)


@pytest.fixture
def shop(with_a_key: FlaskClient, fakes: Fakes) -> FlaskClient:
    fakes.recommender.warm_up().result()
    return with_a_key


def add(http: FlaskClient, status: int = 200, **item: Any) -> dict[str, Any]:
    response = http.post("/ml/item", json={"itemid": NEW, "title": "Brand new", **item})
    assert response.status_code == status, response.text
    return dict(response.json or {})


def genres(world: World) -> dict[str, Any]:
    return {"genres": ["Comedy"]} if world.spec.genres else {}


def everywhere(http: FlaskClient, world: World, wanted: OwnId) -> dict[str, bool]:
    """Where an item is found, by a way of answering."""
    user = world.own_user(USER)
    full = ask(http, userid=user, size=200, only=[wanted, world.own_item(world.trained[0])], explain=True)
    popular = ask(http, userid=world.own_user(99_999), size=200, only=[wanted])
    ranked = ask(http, 200, "/ml/rank", userid=user, candidates=[wanted])
    similar = http.get("/ml/similar", query_string={"itemid": [wanted]})
    searched = http.get("/ml/items", query_string={"q": "new", "size": 5})
    found = {
        "rec": wanted in ids(full), "popular": wanted in ids(popular), "rank": wanted in ids(ranked),
        "similar": similar.status_code == 200, "page": wanted in ids(dict(searched.json or {})),
    }  # fmt: skip
    if world.spec.genres:
        where = ask(http, userid=user, size=200, where={"genres": ["Comedy"]}, only=[wanted])
        found["where"] = wanted in ids(where)
    return found


@pytest.mark.parametrize("down", [(), ("elasticsearch",), ("elasticsearch", "triton")], ids=str)
def test_a_new_item_is_found_everywhere(shop: FlaskClient, fakes: Fakes, world: World, down: tuple[str, ...]) -> None:
    item = world.own_item(NEW)
    added = add(shop, itemid=item, attributes=genres(world))
    assert added["indexed"]
    assert added["title"] == "Brand new"
    assert added["attributes"].get("genres") == genres(world).get("genres")
    for name in down:
        fakes.service(name).down = True
    assert all(everywhere(shop, world, item).values())
    assert shop.delete(f"/ml/item/{item}").status_code == 200
    assert not any(everywhere(shop, world, item).values())


def test_one_of_the_releases_own_is_changed_hidden_and_comes_back(shop: FlaskClient, world: World) -> None:
    number = next(itemid for itemid in world.trained if itemid not in world.seen[USER])
    item, user = world.own_item(number), world.own_user(USER)
    before = ask(shop, 200, "/ml/rank", userid=user, candidates=[item])["item_list"]
    assert add(shop, 409, itemid=item)["error"]["code"] == "conflict"
    changed = shop.patch(f"/ml/item/{item}", json={"title": "Another title"})
    assert changed.json["title"] == "Another title"
    assert changed.json["attributes"].get("genres") == world.attributes(number).get("genres")
    after = ask(shop, 200, "/ml/rank", userid=user, candidates=[item])["item_list"]
    assert after[0] == before[0] | {"title": "Another title"}
    shop.delete(f"/ml/item/{item}")
    assert not any(everywhere(shop, world, item).values())
    assert item not in ids(ask(shop, userid=user, size=200))
    assert shop.delete(f"/ml/item/{item}").status_code == 404
    add(shop, itemid=item, title="It is back")
    back = ask(shop, 200, "/ml/rank", userid=user, candidates=[item])["item_list"]
    assert back[0] == before[0] | {"title": "It is back"}


@ONE_WORLD
def test_a_patch_places_it_again(shop: FlaskClient, fakes: Fakes, world: World) -> None:
    add(shop, attributes={"genres": ["Comedy"]})
    first = _added(fakes)
    assert shop.patch(f"/ml/item/{NEW}", json={"attributes": {"genres": ["Action", "Drama"]}}).status_code == 200
    second = _added(fakes)
    assert (first.terms, second.terms) == ((3,), (1, 4))
    assert not np.allclose(first.vectors["ease"], second.vectors["ease"])
    for body in ({}, {"title": ""}, {"title": "x", "itemid": 3}, {"attributes": {"genres": "Comedy"}}):
        assert shop.patch(f"/ml/item/{NEW}", json=body).status_code == 400
    assert shop.patch("/ml/item/5001", json={"title": "x"}).status_code == 404


def _added(fakes: Fakes) -> Any:
    opened = fakes.recommender.releases.active
    assert isinstance(opened, Extended)
    return opened.added[0]


@ONE_WORLD
def test_what_cannot_be_is_refused_and_says_what_there_is(shop: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    for item, said in (
        ({"attributes": {"genres": ["Comdy"]}}, "No item has 'Comdy' as genres; there are: Action, Adventure"),
        ({"attributes": {"genre": ["Comedy"]}}, "no attribute 'genre' here; there are: genres"),
        ({"attributes": {"genres": 3}}, "genres must be a list of values"),
        ({"itemid": "5000"}, "itemid must be a whole number"),
        ({"itemid": 0}, "itemid must be a whole number from 1"),
        ({"title": ""}, "title must be a string of 1 to 500"),
        ({"year": 1990}, "'year' is not a field of this request; there are: itemid, title, attributes."),
    ):
        assert said in add(shop, 400, **item)["error"]["message"]
    monkeypatch.setattr("extras.items.store.MAX_ITEMS", 2)
    for n in range(2):
        add(shop, itemid=NEW + n)
    assert "no more are kept" in add(shop, 409, itemid=NEW + 2)["error"]["message"]
    assert add(shop, 409, itemid=NEW)["error"]["message"].startswith("There is an item 5000 already")


@ONE_WORLD
def test_nothing_is_written_while_redis_is_away(shop: FlaskClient, fakes: Fakes) -> None:
    assert add(shop)["indexed"]
    fakes.new_items.down = True
    assert shop.post("/ml/item", json={"itemid": NEW + 1, "title": "x"}).status_code == 503
    assert ids(ask(shop, only=[NEW])) == [NEW]


@ONE_WORLD
def test_events_with_it_count(shop: FlaskClient, world: World) -> None:
    add(shop, attributes={"genres": ["Comedy"]})
    before = ask(shop, userid=99_999)
    event = {"eventid": "e", "userid": 99_999, "itemid": NEW, "type": "rating", "value": 5, "timestamp": AT - 9}
    recorded = shop.post("/ml/event", json=event)
    assert recorded.json["events"][0]["known_item"]
    after = ask(shop, userid=99_999)
    assert before["cold_start"]
    assert not after["cold_start"]
    assert NEW not in ids(after)


@ONE_WORLD
def test_its_first_likes_move_it(shop: FlaskClient, fakes: Fakes, world: World) -> None:
    add(shop, attributes={"genres": ["Comedy"]})
    placed = _added(fakes).vectors["tower"]
    for n, userid in enumerate(world.userids):
        for value in (2, 5):
            event = {"eventid": f"{n}/{value}", "userid": userid, "itemid": NEW, "type": "rating", "value": value}
            assert shop.post("/ml/event", json=event).status_code == 200
            assert shop.post("/ml/event", json=event).status_code == 200  # once more, which counts once
    kept = fakes.new_items.records[world.dataset][NEW].likes
    with_likes = [u for u in world.userids if (world.histories[u].ratings > 3).any()]
    assert len(kept) == min(len(with_likes), LIKES) == LIKES
    history = world.histories[world.userids[0]]
    assert list(kept[0]) == history.itemids[history.ratings > 3][:BEFORE].tolist()
    shop.patch(f"/ml/item/{NEW}", json={"title": "Known by now"})
    assert not np.allclose(_added(fakes).vectors["tower"], placed)


def test_without_new_items_a_release_is_what_was_read(shop: FlaskClient, fakes: Fakes, world: World) -> None:
    serving = fakes.recommender.releases.active
    assert not isinstance(serving, Extended)
    ask(shop, userid=world.own_user(USER))
    assert fakes.recommender.releases.active is serving
    add(shop, itemid=world.own_item(NEW))
    shop.delete(f"/ml/item/{world.own_item(NEW)}")
    assert len(fakes.recommender.releases.active.catalogue) == len(world.itemids)  # type: ignore[union-attr]


@pytest.fixture
def world(fakes: Fakes) -> World:
    return fakes.world


@pytest.mark.parametrize("kind", [ShopWorld], indirect=True)
def test_numbers_of_strings_are_none_of_the_releases(shop: FlaskClient, fakes: Fakes, world: World) -> None:
    for n in range(2):
        add(shop, itemid=f"new {n}/\n")
    numbers = [record.number for record in fakes.new_items.records[world.dataset].values()]
    assert len({*numbers, *world.itemids}) == len(world.itemids) + 2
    assert all(everywhere(shop, world, "new 0/\n").values())
    assert shop.delete("/ml/item/new%200%2F%0A").status_code == 200
    assert not any(everywhere(shop, world, "new 0/\n").values())
