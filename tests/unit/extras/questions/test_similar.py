from __future__ import annotations

from typing import Any

import numpy as np
from flask.testing import FlaskClient

from extras.questions.similar import tables_of
from tests.unit.extras.asking import SHOP, ask, conforms, ids
from tests.unit.extras.conftest import BOTH_KINDS, Fakes
from tests.unit.online.conftest import SERVICES
from tests.unit.online.world import NO_VECTOR_ITEM

ITEM = 4


def similar(http: FlaskClient, *itemids: Any, size: int = 20) -> dict[str, Any]:
    query = {"itemid": itemids, "size": size}
    response = http.get("/ml/similar", query_string=query)
    assert response.status_code == 200, response.text
    conforms(response.json, "Similar")
    return dict(response.json or {})


@BOTH_KINDS
def test_similar_items_say_what_they_share(fakes: Fakes, http: FlaskClient) -> None:
    answer = similar(http, ITEM)
    assert len(answer["item_list"]) == 20
    assert ITEM not in ids(answer)
    genres = set(fakes.world.attributes(ITEM)["genres"])
    for item in answer["item_list"]:
        assert f"“Film [{ITEM}] é (1999)”" in item["why"]
        for genre in genres & set(item["genres"]):
            assert genre in item["why"]
    assert ids(similar(http, ITEM, size=5)) == ids(answer)[:5]


@BOTH_KINDS
def test_it_is_near_by_the_cosine_of_a_channels_item_vectors(
    fakes: Fakes, http: FlaskClient
) -> None:
    opened = fakes.recommender.releases.get()
    name = fakes.world.recipe.recall.vector_channels[0].name
    fitted = {channel.name: channel for channel in opened.channels.channels}
    vectors = fakes.world.item_vectors[name]
    if name in fitted:  # without popularity and filler
        rows = fitted[name].items[1:]  # type: ignore[attr-defined]
        vectors = dict(zip(opened.channels.item_numbers.tolist(), rows, strict=True))
    unit = {each: row / np.linalg.norm(row) for each, row in vectors.items()}
    others = [itemid for itemid in fakes.world.trained if itemid != ITEM]
    best = sorted(others, key=lambda itemid: -unit[itemid] @ unit[ITEM])
    nearest = [each for each in tables_of(opened) if "vector" in each.sentence]
    assert nearest[0].best([ITEM])[:5].tolist() == best[:5]


def test_several_items_are_taken_together(http: FlaskClient) -> None:
    answer = similar(http, ITEM, 10, ITEM)
    assert not {ITEM, 10} & set(ids(answer))
    assert ids(answer) != ids(similar(http, ITEM))
    assert "these 2" in answer["item_list"][0]["why"]


@BOTH_KINDS
def test_an_item_that_nobody_has_rated_answers_by_its_attributes(
    fakes: Fakes, http: FlaskClient
) -> None:
    answer = similar(http, NO_VECTOR_ITEM)
    genres = sorted(fakes.world.attributes(NO_VECTOR_ITEM)["genres"])
    assert len(answer["item_list"]) == 20
    for item in answer["item_list"]:
        assert sorted(item["genres"]) == genres
        assert item["why"].startswith("Similar attributes")
        assert f"In common: {', '.join(genres)}." in item["why"]


def test_it_needs_no_service(fakes: Fakes, http: FlaskClient) -> None:
    ask(http)
    before = similar(http, ITEM)
    fakes.down(*SERVICES)
    assert similar(http, ITEM) == before


@SHOP
def test_ids_may_be_strings_and_attributes_may_be_missing(
    fakes: Fakes, http: FlaskClient
) -> None:
    own = fakes.world.own_item
    assert len(similar(http, own(ITEM))["item_list"]) == 20
    assert similar(http, own(NO_VECTOR_ITEM))["item_list"] == []
