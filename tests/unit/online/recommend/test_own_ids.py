from __future__ import annotations

import json
import threading
import time
from contextlib import closing
from typing import Any

import pytest
from flask.testing import FlaskClient

from data_exchange_center.dataset import OwnId
from data_exchange_center.settings import ServerSettings
from online.clients.feast import FeatureQuery
from online.recommend import registry
from online.recommend.outcomes import NoReleaseError, Outcome, WrongIdError
from online.recommend.recommend import Recommender
from online.recommend.types import Answer, Request, read_id
from tests.unit.online.conftest import Fakes, outcomes
from tests.unit.online.world import AT, STRANGE_IDS, DefaultWorld, ShopWorld, SourceWorld

SHOP = pytest.mark.parametrize("kind", [ShopWorld])


def ask(fakes: Fakes, userid: OwnId, **fields: Any) -> Answer:
    return fakes.recommender.recommend(Request(userid=userid, timestamp=AT, explain="recall", **fields))


@SHOP
@pytest.mark.parametrize("userid", STRANGE_IDS)
def test_a_string_of_any_content_is_a_users_id(http: FlaskClient, fakes: Fakes, userid: str) -> None:
    answer = http.post("/ml/rec", data=json.dumps({"userid": userid, "timestamp": AT})).get_json()
    number = fakes.world.numbers[userid]
    assert (answer["userid"], answer["cold_start"]) == (userid, False)
    assert fakes.features.calls[-1] == FeatureQuery("user", fakes.world.release, (number,))
    seen = {fakes.world.own_item(itemid) for itemid in fakes.world.seen[number]}
    assert not seen & {item["itemid"] for item in answer["item_list"]}


@SHOP
def test_items_have_own_ids_and_only_existing_attributes(fakes: Fakes) -> None:
    answer = ask(fakes, "u-8f3a")
    reported = answer.model_dump(mode="json")
    assert {item["itemid"] for item in reported["item_list"]} <= {
        fakes.world.own_item(itemid) for itemid in fakes.world.itemids
    }
    for item in reported["item_list"]:
        assert list(item) == ["itemid", "score", "title"]
        assert item["title"] == item["itemid"]
    assert reported["recall"]["fused"] == [
        fakes.world.own_item(itemid) for itemid in fakes.world.recalled(1).ids.tolist()
    ]


@pytest.mark.parametrize(
    ("kind", "userid", "said"),
    [
        (ShopWorld, 7, r'must be a string in this release, for example {"userid": "7"}'),
        (DefaultWorld, "7", "must be a whole number from 1 on in this release"),
        (SourceWorld, "nobody", "must be a whole number from 1 on in this release"),
    ],
)
def test_an_id_of_the_wrong_kind_is_400_that_says_the_right_kind(http: FlaskClient, userid: OwnId, said: str) -> None:
    response = http.post("/ml/rec", json={"userid": userid})
    assert response.status_code == 400
    error = response.get_json()["error"]
    assert (error["code"], error["field"]) == ("bad_request", "userid")
    assert said in error["message"]


@pytest.mark.parametrize("text", ["01", "0700021", "+1", " 1", "\u0661", "1.0", "2147483648", "9" * 5_000, ""])
def test_an_id_in_an_address_is_written_in_one_way(text: str) -> None:
    with pytest.raises(WrongIdError, match="whole number"):
        read_id("userid", text, "integer")
    assert (read_id("userid", "700021", "integer"), read_id("userid", "01", "string")) == (700021, "01")


@pytest.mark.parametrize("kind", [SourceWorld])
def test_switching_id_kinds_and_back_needs_no_restart(fakes: Fakes) -> None:
    shop = ShopWorld(model="ml_rec_28")
    fakes.add(shop)
    first = ask(fakes, 1)
    fakes.users.live_release = shop.release
    answer = ask(fakes, "u-8f3a")  # at once: the former release has no such ids
    assert answer.release == shop.release
    assert set(answer.itemids) <= {shop.own_item(itemid) for itemid in shop.itemids}
    with pytest.raises(WrongIdError, match="a string"):
        ask(fakes, 1)
    fakes.users.live_release = fakes.world.release
    assert ask(fakes, 1).item_list == first.item_list
    with pytest.raises(WrongIdError, match="a whole number"):
        ask(fakes, "u-8f3a")


@pytest.mark.parametrize("kind", [SourceWorld])
def test_no_id_is_refused_while_a_release_that_may_know_it_opens(fakes: Fakes, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = ShopWorld(model="ml_rec_28")
    fakes.add(shop)
    ask(fakes, 1)
    gate = fakes.items.gate = threading.Event()
    try:
        fakes.users.live_release = shop.release
        for limits in ({"budget_ms": 500}, {}):  # its own budget limits the wait, else the constant does
            monkeypatch.setattr(registry, "LOADING_WAIT_S", 60.0 if limits else 0.05)
            with pytest.raises(NoReleaseError, match="is loading"):
                ask(fakes, "u-8f3a", strict=True, **limits)
            started = time.perf_counter()
            answer = ask(fakes, "u-8f3a", **limits)
            assert time.perf_counter() - started < 2.5  # a part of the longest budget is 3
            assert (answer.release, outcomes(answer)) == (fakes.world.release, (Outcome.POPULAR,))
    finally:
        gate.set()
    monkeypatch.setattr(registry, "LOADING_WAIT_S", 60.0)
    assert ask(fakes, "u-8f3a").release == shop.release


@pytest.mark.parametrize("kind", [SourceWorld])
@pytest.mark.parametrize("named", [False, True])
def test_the_first_answer_after_opening_a_release_is_ranked(fakes: Fakes, named: bool) -> None:
    """Opening takes longer than the budget: what is left of it would not do for the services."""
    shop = ShopWorld(model="ml_rec_28")
    fakes.add(shop)
    server = ServerSettings(budget_ms=600, warm_up_s=0)
    with closing(Recommender(*fakes.services, server, None)) as recommender:  # type: ignore[arg-type]
        recommender.releases.get_active(60)
        gate = fakes.items.gate = threading.Event()
        threading.Timer(1.0, gate.set).start()
        if not named:
            fakes.users.live_release = shop.release
        request = Request(userid="u-8f3a", timestamp=AT, release=shop.release if named else None)
        answer = recommender.recommend(request)
    assert (answer.release, outcomes(answer)) == (shop.release, ())


def test_a_wrong_kind_of_id_costs_one_lookup(fakes: Fakes) -> None:
    right = fakes.world.own_user(1)
    ask(fakes, right)
    fakes.users.calls.clear()
    with pytest.raises(WrongIdError):
        ask(fakes, 1 if isinstance(right, str) else "1")
    assert len(fakes.users.calls) == 1


@pytest.mark.parametrize("kind", [DefaultWorld])
def test_attributes_are_fields_of_an_answer(http: FlaskClient, fakes: Fakes, monkeypatch: pytest.MonkeyPatch) -> None:
    attributes = {"brand": ["acme", "b & c"], "price (€)": 9.5, "weight": None}
    monkeypatch.setattr(type(fakes.world), "attributes", lambda *_: attributes)
    answer = http.post("/ml/rec", json={"userid": 1, "size": 1}).get_json()
    (item,) = answer["item_list"]
    assert {name: item[name] for name in attributes} == attributes
    assert "genres" not in item
