from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient

from data_exchange_center.channel_file import channel_arrays
from data_exchange_center.dataset import OwnId
from extras.items.projection import BEFORE, Extended, base_of
from extras.items.store import LIKES, Follower, Record
from tests.unit.extras.asking import SHOP, USER, ask, ids
from tests.unit.extras.conftest import BOTH_KINDS, Fakes
from tests.unit.online.world import AT, World

NEW = 5_000
BAD_TITLES = (None, 5, "", " ", "\u3000\t", "\u200b", "a\nb", "a\x85", "\u202eabc")


@pytest.fixture
def shop(with_a_key: FlaskClient, fakes: Fakes) -> FlaskClient:
    fakes.recommender.releases.follow()
    return with_a_key


def post(http: FlaskClient, path: str, body: Any, status: int = 200) -> dict[str, Any]:
    response = http.post(path, json=body)
    assert response.status_code == status, response.text
    return dict(response.json or {})


def add(http: FlaskClient, status: int = 200, **item: Any) -> dict[str, Any]:
    return post(http, "/ml/item", {"itemid": NEW, "title": "Brand new", **item}, status)


def rate(http: FlaskClient, userid: int, eventid: str, **event: Any) -> dict[str, Any]:
    """Send an event of the new item."""
    about = {"eventid": eventid, "userid": userid, "itemid": NEW, "type": "rating"}
    return post(http, "/ml/event", about | event)


def genres(world: World) -> dict[str, Any]:
    return {"genres": ["Comedy"]} if world.spec.genres else {}


def everywhere(http: FlaskClient, world: World, wanted: OwnId) -> dict[str, bool]:
    """Where an item is found, by a way of answering."""
    user, others = world.own_user(USER), [wanted, world.own_item(world.trained[0])]
    asked = {"size": 200, "only": [wanted]}
    answers = {
        "rec": ask(http, userid=user, size=200, only=others, explain=True),
        "popular": ask(http, userid=world.own_user(99_999), **asked),
        "rank": ask(http, 200, "/ml/rank", userid=user, candidates=[wanted]),
        "page": http.get("/ml/items", query_string={"q": "new", "size": 5}).json,
    }
    if world.spec.genres:
        comedies = {"genres": ["Comedy"]}
        answers["where"] = ask(http, userid=user, where=comedies, **asked)
    similar = http.get("/ml/similar", query_string={"itemid": [wanted]})
    found = {name: wanted in ids(answer) for name, answer in answers.items()}
    return found | {"similar": similar.status_code == 200}


@BOTH_KINDS
@pytest.mark.parametrize(
    "down", [(), ("elasticsearch",), ("elasticsearch", "triton")], ids=str
)
def test_a_new_item_is_found_everywhere(
    shop: FlaskClient, fakes: Fakes, world: World, down: tuple[str, ...]
) -> None:
    item = world.own_item(NEW)
    added = add(shop, itemid=item, attributes=genres(world))
    assert added["title"] == "Brand new"
    assert added["attributes"].get("genres") == genres(world).get("genres")
    for name in down:
        fakes.service(name).down = True
    assert all(everywhere(shop, world, item).values())
    assert shop.delete(f"/ml/item/{item}").status_code == 200
    assert not any(everywhere(shop, world, item).values())


@BOTH_KINDS
def test_a_release_item_is_changed_hidden_and_restored(
    shop: FlaskClient, world: World
) -> None:
    number = next(itemid for itemid in world.trained if itemid not in world.seen[USER])
    item, user = world.own_item(number), world.own_user(USER)

    def ranked() -> dict[str, Any]:
        answer = ask(shop, 200, "/ml/rank", userid=user, candidates=[item])
        return dict(answer["item_list"][0])

    before = ranked()
    assert add(shop, 409, itemid=item)["error"]["code"] == "conflict"
    changed = shop.patch(f"/ml/item/{item}", json={"title": "Another title"}).json
    assert changed["title"] == "Another title"
    own = world.attributes(number)
    assert changed["attributes"].get("genres") == own.get("genres")
    assert ranked() == before | {"title": "Another title"}
    shop.delete(f"/ml/item/{item}")
    assert not any(everywhere(shop, world, item).values())
    assert item not in ids(ask(shop, userid=user, size=200))
    assert shop.delete(f"/ml/item/{item}").status_code == 404
    add(shop, itemid=item, title="It is back")
    assert ranked() == before | {"title": "It is back"}


def test_a_patch_places_it_again(shop: FlaskClient, fakes: Fakes, world: World) -> None:
    add(shop, attributes={"genres": ["Comedy"]})
    first = _added(fakes)
    other = {"attributes": {"genres": ["Action", "Drama"]}}
    assert shop.patch(f"/ml/item/{NEW}", json=other).status_code == 200
    second = _added(fakes)
    assert (set(first.terms), set(second.terms)) == ({3}, {1, 4})
    assert not np.allclose(first.vectors["ease"], second.vectors["ease"])
    for body in (
        {},
        {"title": None},
        {"title": "x", "itemid": 3},
    ):
        assert shop.patch(f"/ml/item/{NEW}", json=body).status_code == 400
    assert shop.patch("/ml/item/5001", json={"title": "x"}).status_code == 404


def _added(fakes: Fakes) -> Any:
    opened = fakes.recommender.releases.active
    assert isinstance(opened, Extended)
    return opened.alone


def test_invalid_attributes_are_refused_with_valid_values(
    shop: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for item, field in (
        ({"attributes": {"genres": ["Comdy"]}}, "attributes"),
        ({"attributes": {"genre": ["Comedy"]}}, "attributes"),
        ({"attributes": {"genres": 3}}, "attributes"),
        ({"itemid": "5000"}, "itemid"),
        ({"itemid": 0}, "itemid"),
        *(({"title": title}, "title") for title in BAD_TITLES),
        ({"year": 1990}, "year"),
    ):
        assert add(shop, 400, **item)["error"]["field"] == field
    monkeypatch.setattr("extras.items.store.MAX_ITEMS", 2)
    for n in range(2):
        add(shop, itemid=NEW + n)
    assert "no more are kept" in add(shop, 409, itemid=NEW + 2)["error"]["message"]
    assert "item 5000 already" in add(shop, 409)["error"]["message"]


def test_nothing_is_written_while_redis_is_away(
    shop: FlaskClient, fakes: Fakes
) -> None:
    add(shop)
    fakes.new_items.down = True
    add(shop, 503, itemid=NEW + 1)
    assert ids(ask(shop, only=[NEW])) == [NEW]


def test_events_with_it_count(shop: FlaskClient, world: World) -> None:
    add(shop, attributes={"genres": ["Comedy"]})
    before = ask(shop, userid=99_999)
    recorded = rate(shop, 99_999, "e", value=5, timestamp=AT - 9)
    assert recorded["events"][0]["known_item"]
    after = ask(shop, userid=99_999)
    assert before["cold_start"]
    assert not after["cold_start"]
    assert NEW not in ids(after)


def test_likes_move_a_new_item(shop: FlaskClient, fakes: Fakes, world: World) -> None:
    add(shop, attributes={"genres": ["Comedy"]})
    placed = _added(fakes).vectors["tower"]
    for userid in world.userids:
        for value in (2, 5, 5):  # the last twice, which counts once
            rate(shop, userid, f"{userid}/{value}", value=value)
    kept = fakes.new_items.records[world.dataset][NEW].likes
    with_likes = [u for u in world.userids if (world.histories[u].ratings > 3).any()]
    assert [like.user for like in kept] == with_likes
    history = world.histories[world.userids[0]]
    liked = history.item_numbers[history.ratings > 3]
    assert list(kept[0].before) == liked[:BEFORE].tolist()
    shop.patch(f"/ml/item/{NEW}", json={"title": "Known by now"})
    moved = _added(fakes).vectors["tower"]
    assert not np.allclose(moved, placed)
    for userid in world.userids:
        rate(shop, userid, f"{userid}/1", value=1)
    assert not fakes.new_items.records[world.dataset][NEW].likes
    shop.patch(f"/ml/item/{NEW}", json={"title": "Liked no more"})
    assert np.allclose(_added(fakes).vectors["tower"], placed)


def test_the_newest_event_of_a_user_is_its_like(
    shop: FlaskClient, fakes: Fakes, world: World
) -> None:
    """By the time of the events: a like that arrives late, from before the retraction, does not count."""
    add(shop, attributes={"genres": ["Comedy"]})
    userid = next(u for u in world.userids if (world.histories[u].ratings > 3).any())
    like, dislike, undo = {"value": 5}, {"value": 1}, {"type": "undo"}
    steps = [
        (like, 9, 1),
        (like, 10, 1),
        (undo, 20, 0),
        (like, 15, 0),
        (like, 30, 1),
        (dislike, 25, 1),
        (undo, 31, 0),
    ]
    for sent, second, likes in steps:
        rate(shop, userid, f"{second}", timestamp=AT + second, **sent)
        kept = fakes.new_items.records[world.dataset][NEW].likes
        assert len(kept) == likes, second


def test_the_newest_likes_replace_the_oldest() -> None:
    record = Record(title="x")
    for n in range(LIKES + 5):
        record = record.with_like(n, (1, 2))
    assert [like.user for like in record.likes] == list(range(5, LIKES + 5))
    again = record.with_like(7, (3,))
    assert (len(again.likes), again.likes[-1]) == (LIKES, (7, (3,), 0))
    late = again.with_like(99, (4,), at=-1)
    assert 99 not in [like.user for like in late.likes]
    assert Record.model_validate_json(again.model_dump_json()) == again


def test_forgetting_a_user_deletes_their_likes(
    shop: FlaskClient, fakes: Fakes, world: World
) -> None:
    add(shop, attributes={"genres": ["Comedy"]})
    for userid in world.userids[:3]:
        rate(shop, userid, "e", value=5)
    assert shop.delete(f"/ml/user/{world.userids[0]}").status_code == 200
    kept = fakes.new_items.records[world.dataset][NEW].likes
    assert [like.user for like in kept] == world.userids[1:3]


@pytest.fixture
def world(fakes: Fakes) -> World:
    return fakes.world


@pytest.fixture
def follower(fakes: Fakes) -> Follower:
    """Of another process."""
    fakes.recommender.releases.follow()
    return Follower(fakes.recommender, fakes.new_items, 60)  # type: ignore[arg-type]


def titled(title: str) -> Any:
    return lambda before: Record(title=title)


@SHOP
def test_numbers_of_strings_are_none_of_the_releases(
    shop: FlaskClient, fakes: Fakes, world: World
) -> None:
    for n in range(2):
        add(shop, itemid=f"new {n}/\n")
    records = fakes.new_items.records[world.dataset].values()
    numbers = [record.number for record in records]
    assert len({*numbers, *world.itemids}) == len(world.itemids) + 2
    assert all(everywhere(shop, world, "new 0/\n").values())
    assert shop.delete("/ml/item/new%200%2F%0A").status_code == 200
    assert not any(everywhere(shop, world, "new 0/\n").values())


# --- lists of items


def test_a_list_is_added_and_removed_at_once(
    shop: FlaskClient, fakes: Fakes, world: World
) -> None:
    added = [{"itemid": NEW + n} for n in range(5)]
    items = [each | {"title": "New", "attributes": genres(world)} for each in added]
    answer = post(shop, "/ml/items", items)
    assert answer.pop("itemids") == [each["itemid"] for each in added]
    assert answer == {"release": world.release}
    assert all(everywhere(shop, world, NEW + 4).values())
    post(shop, "/ml/items/remove", added)
    assert not any(everywhere(shop, world, NEW + 4).values())
    assert fakes.new_items.version == 10


def test_of_a_list_with_an_error_nothing_is_written(
    shop: FlaskClient, fakes: Fakes, world: World
) -> None:
    add(shop)
    good = {"itemid": NEW + 1, "title": "Good"}
    for bad, field in (
        ({"title": " "}, "[1].title"),
        ({"itemid": "x"}, "[1].itemid"),
        ({"itemid": NEW + 1}, "[1].itemid"),
        ({"attributes": {"genre": ["Comedy"]}}, "[1].attributes"),
    ):
        sent = [good, {"itemid": NEW + 2, "title": "x"} | bad]
        assert post(shop, "/ml/items", sent, 400)["error"]["field"] == field
    post(shop, "/ml/items", [good, {"itemid": NEW, "title": "It is there"}], 409)
    many = [{**good, "itemid": NEW + n} for n in range(1_001)]
    for wrong in ([], many, good):
        post(shop, "/ml/items", wrong, 400)
    post(shop, "/ml/items/remove", [{"itemid": NEW}, {"itemid": NEW + 1}], 404)
    assert list(fakes.new_items.records[world.dataset]) == [NEW]


def test_increments_equal_a_rebuild(
    shop: FlaskClient, fakes: Fakes, world: World
) -> None:
    """Items are added, changed, removed and added again; half of them are the release's own."""
    rng = np.random.default_rng(0)
    items = [*range(NEW, NEW + 15), *world.trained[:15]]
    statuses = set()
    for _ in range(90):
        item = int(rng.choice(items))
        wanted = {"attributes": {"genres": [str(rng.choice(world.spec.genres))]}}
        change = rng.integers(3)
        if change == 0:
            body = {"itemid": item, "title": "Added"} | wanted
            response = shop.post("/ml/item", json=body)
        elif change == 1:
            response = shop.patch(f"/ml/item/{item}", json=wanted)
        else:
            response = shop.delete(f"/ml/item/{item}")
        statuses.add((change, response.status_code))
    assert statuses == {(0, 200), (0, 409), (1, 200), (1, 404), (2, 200), (2, 404)}
    step_by_step = fakes.recommender.releases.active
    other = Follower(fakes.recommender, fakes.new_items, 60)  # type: ignore[arg-type]
    other.catch_up()
    assert isinstance(step_by_step, Extended)
    rebuilt = other.view(base_of(step_by_step))
    assert isinstance(rebuilt, Extended)
    assert rebuilt is not step_by_step
    assert rebuilt.catalogue == step_by_step.catalogue
    for one, two in zip(arrays(rebuilt), arrays(step_by_step), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)


def arrays(opened: Extended) -> list[Any]:
    """What is searched, read of histories and ranked by."""
    exact = opened.exact
    found = [exact.item_numbers, opened.items.held.rows.values]
    found += exact.vectors.values()
    found += opened.alone.vectors.values()
    found += [exact.terms[code] for code in sorted(exact.terms)]
    for channel in opened.channels.channels:
        found += channel_arrays(channel).values()
    return found


def test_features_are_fetched_again_with_new_items(
    shop: FlaskClient, fakes: Fakes
) -> None:
    add(shop)
    opened = fakes.recommender.releases.get()
    before = opened.items.held.item_numbers.tolist()
    for items in (base_of(opened).items, opened.items):
        items._stale_at = 0
    calls = len(fakes.features.calls)
    fakes.recommender.releases.refresh_items()
    assert len(fakes.features.calls) > calls
    assert opened.items.held.item_numbers.tolist() == before


@SHOP
def test_a_text_id_that_is_added_again_is_one_item(
    fakes: Fakes, world: World, follower: Follower
) -> None:
    """The second time it has another number; a process may learn of both changes at once."""
    fakes.new_items.change(world.dataset, {"x": titled("first")})
    follower.catch_up()
    fakes.new_items.change(world.dataset, {"x": lambda before: None})
    fakes.new_items.change(world.dataset, {"x": titled("second")})
    follower._free_at = 0
    follower.catch_up()
    items = fakes.recommender.releases.get().catalogue.values()
    assert [item.title for item in items if item.own_id == "x"] == ["second"]


def test_similar_items_leave_removed_ones_out(shop: FlaskClient, world: World) -> None:
    query = {"itemid": [world.own_item(world.trained[0])]}
    nearest, *_ = ids(dict(shop.get("/ml/similar", query_string=query).json or {}))
    assert shop.delete(f"/ml/item/{nearest}").status_code == 200
    answer = shop.get("/ml/similar", query_string=query)
    assert answer.status_code == 200
    assert nearest not in ids(dict(answer.json or {}))


def test_writes_that_arrive_together_share_an_update(
    fakes: Fakes, world: World, follower: Follower
) -> None:
    base = base_of(fakes.recommender.releases.get())
    first = fakes.new_items.change(world.dataset, {NEW: titled("x")})
    second = fakes.new_items.change(world.dataset, {NEW + 1: titled("y")})
    follower.include(base, first)
    opened = fakes.recommender.releases.get()
    assert {NEW, NEW + 1} <= opened.numbers.keys()
    calls = len(fakes.new_items.calls)
    follower.include(base, second)
    assert len(fakes.new_items.calls) == calls
    assert fakes.recommender.releases.get() is opened


def test_polls_pause_between_updates(
    fakes: Fakes, world: World, follower: Follower
) -> None:
    fakes.new_items.change(world.dataset, {NEW: titled("x")})
    follower.catch_up()
    fakes.new_items.change(world.dataset, {NEW + 1: titled("y")})
    for free_at, is_there in ((math.inf, False), (0, True)):
        follower._free_at = free_at
        follower.catch_up()
        assert (NEW + 1 in fakes.recommender.releases.get().numbers) == is_there
