"""Requests: the ids of users and items, the weights of objectives."""

from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient

from data_exchange_center.dataset import OwnId
from data_exchange_center.features import ModelInputs
from online.clients.feast import FeatureQuery
from online.clients.triton import ScoreQuery, TritonScores
from online.recommend.outcomes import BadRequestError, WrongIdError
from online.recommend.types import Request, objective_weights, read_id
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


TYPED = {"cart": 0.3, "buy": 1.0}


def test_the_weights_are_in_the_order_of_the_outputs() -> None:
    assert objective_weights({"buy": 2, "cart": 0.5}, TYPED) == (0.5, 2)
    assert objective_weights({"buy": 1}, TYPED) == (0, 1)


@pytest.mark.parametrize(
    ("of_release", "objectives", "message"),
    [
        (TYPED, {"view": 1.0}, "'view' must be one of: cart, buy"),
        (TYPED, {"buy": 0.0}, "above 0"),
        ({}, {"buy": 1.0}, r"has none: .*dataset\.toml"),
    ],
)
def test_wrong_objectives_are_refused(
    of_release: dict[str, float], objectives: dict[str, float], message: str
) -> None:
    with pytest.raises(BadRequestError, match=message) as error:
        objective_weights(objectives, of_release)
    assert error.value.field == "objectives"


@pytest.mark.parametrize("weight", [-1, float("nan"), float("inf")])
def test_a_weight_is_a_number_from_0(weight: float) -> None:
    with pytest.raises(ValueError, match="buy"):
        Request(userid=1, objectives={"buy": weight})


def test_the_score_is_the_weighted_mean_of_one_calls_outputs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = []

    def infer(self: Any, model: str, version: int, inputs: Any, *shape: int) -> Any:
        calls.append(shape)
        return np.array([0.1, 0.9, 0.5, 0.3], np.float32)

    monkeypatch.setattr(TritonScores, "infer", infer)
    inputs = ModelInputs(np.zeros((2, 3), np.float32))
    scorer = TritonScores.__new__(TritonScores)
    scores = scorer._call(ScoreQuery(inputs, 1, "ml", (1.0, 3.0)))
    assert scores == pytest.approx([0.7, 0.35])
    assert calls == [(2, 2)]
