import pytest
from flask.testing import FlaskClient

from data_exchange_center.dataset import OwnId
from online.clients.feast import FeatureQuery
from online.recommend.outcomes import WrongIdError
from online.recommend.types import read_id
from tests.unit.online.conftest import Fakes
from tests.unit.online.world import (
    AT,
    STRANGE_IDS,
    DefaultWorld,
    ShopWorld,
    SourceWorld,
)

SHOP = pytest.mark.parametrize("kind", [ShopWorld])


@SHOP
@pytest.mark.parametrize("userid", STRANGE_IDS)
def test_a_string_of_any_content_is_a_users_id(
    http: FlaskClient, fakes: Fakes, userid: str
) -> None:
    world = fakes.world
    number = world.numbers[userid]
    wanted = {"userid": userid, "timestamp": AT, "explain": "recall"}
    answer = http.post("/ml/rec", json=wanted).get_json()
    assert (answer["userid"], answer["cold_start"]) == (userid, False)
    assert fakes.features.calls[-1] == FeatureQuery("user", world.release, (number,))
    seen = {world.own_item(itemid) for itemid in world.seen[number]}
    unseen = {world.own_item(itemid) for itemid in world.itemids} - seen
    for item in answer["item_list"]:
        assert list(item) == ["itemid", "score", "title"]
        assert item["title"] == item["itemid"]
        assert item["itemid"] in unseen
    assert answer["recall"]["fused"] == [
        world.own_item(itemid) for itemid in world.recalled(number).ids.tolist()
    ]


@pytest.mark.parametrize(
    ("kind", "userid", "said"),
    [
        (
            ShopWorld,
            7,
            r'must be a string in this release, for example {"userid": "7"}',
        ),
        (DefaultWorld, "7", "must be a whole number from 1 on in this release"),
        (SourceWorld, "nobody", "must be a whole number from 1 on in this release"),
    ],
)
def test_an_id_of_the_wrong_kind_is_400_that_says_the_right_kind(
    http: FlaskClient, fakes: Fakes, userid: OwnId, said: str
) -> None:
    response = http.post("/ml/rec", json={"userid": userid})
    assert response.status_code == 400
    error = response.get_json()["error"]
    assert (error["code"], error["field"]) == ("bad_request", "userid")
    assert said in error["message"]
    assert not fakes.users.calls


@pytest.mark.parametrize(
    "text",
    ["01", "0700021", "+1", " 1", "\u0661", "1.0", "2147483648", "9" * 5_000, ""],
)
def test_an_id_in_an_address_is_written_in_one_way(text: str) -> None:
    with pytest.raises(WrongIdError, match="whole number"):
        read_id("userid", text, "integer")
    assert (
        read_id("userid", "700021", "integer"),
        read_id("userid", "01", "string"),
    ) == (700021, "01")
