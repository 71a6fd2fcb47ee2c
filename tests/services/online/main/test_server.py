"""Right answers of the whole server over the real services."""

from collections.abc import Iterator
from contextlib import closing

import numpy as np
import pytest
from flask.testing import FlaskClient

from data_exchange_center.settings import Settings
from online.main.s1_server import create_app
from online.recommend.recommend import Recommender
from tests.unit.online.world import (
    AT,
    BLANK_USER,
    LATER,
    LONG_HISTORY_USER,
    NO_TERMS_USER,
    NO_VECTOR_USER,
    World,
)


@pytest.fixture(scope="module")
def http(patient: Settings, world: World) -> Iterator[FlaskClient]:
    with closing(Recommender.from_settings(patient)) as recommender:
        app = create_app(recommender)
        recommender.releases.follow()
        yield app.test_client()


@pytest.mark.parametrize(
    "userid", [1, LONG_HISTORY_USER, NO_TERMS_USER, NO_VECTOR_USER, BLANK_USER]
)
@pytest.mark.parametrize("timestamp", [AT, LATER])
def test_the_answer_is_the_models_order_of_unseen_items(
    http: FlaskClient, world: World, userid: int, timestamp: int
) -> None:
    request = {
        "userid": world.own_user(userid),
        "size": 200,
        "timestamp": timestamp,
        "strict": True,
    }
    response = http.post("/ml/rec", json=request)
    assert response.status_code == 200, response.text
    items = response.json["item_list"]
    itemids = [world.item_numbers[item["itemid"]] for item in items]
    scores = [item["score"] for item in items]
    assert len(itemids) == len(set(itemids)) > 100
    assert not set(itemids) & set(world.seen[userid])
    assert scores == sorted(scores, reverse=True)
    np.testing.assert_allclose(
        scores, world.expected_scores(userid, itemids, timestamp), atol=1e-5
    )
    assert [item["title"] for item in items] == [
        world.titles[itemid] for itemid in itemids
    ]
