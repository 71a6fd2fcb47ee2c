from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from extras.questions.where import Attributes, Condition
from online.recommend.outcomes import BadRequestError
from tests.unit.extras.asking import (
    SHOP,
    USER,
    ask,
    ids,
    refused,
)
from tests.unit.extras.conftest import BOTH_KINDS, Fakes
from tests.unit.online.conftest import SERVICES
from tests.unit.online.world import NO_VECTOR_ITEM, UNKNOWN_USER, World

WHERE = {"genres": {"all": ["Comedy"], "none": ["Drama"]}}
USERS = pytest.mark.parametrize("userid", [USER, UNKNOWN_USER])


def matching(world: World) -> list[int]:
    found = []
    for itemid in world.itemids:
        genres = world.attributes(itemid)["genres"]
        if "Comedy" in genres and "Drama" not in genres:
            found.append(itemid)
    return found


@BOTH_KINDS
@pytest.mark.parametrize("down", ["", *SERVICES])
def test_all_that_match_come_whatever_is_away(
    fakes: Fakes, http: FlaskClient, down: str
) -> None:
    ask(http)
    fakes.down(down)
    answer = ask(http, where=WHERE, size=200)
    unseen = set(matching(fakes.world)) - set(fakes.world.seen[USER])
    assert set(ids(answer)) == unseen
    assert len(unseen) > 50
    assert answer["matching"] == len(matching(fakes.world))
    degraded = {each["service"] for each in answer.get("degraded", [])}
    assert degraded == ({down} if down else set())


@BOTH_KINDS
@USERS
def test_ids_limit_the_list_and_are_left_out_of_it(
    http: FlaskClient, userid: int
) -> None:
    best = ids(ask(http, userid=userid))
    without = ids(ask(http, userid=userid, exclude=best[:10]))
    assert set(best[:10]).isdisjoint(without)
    assert len(without) == 50
    # one that no channel has a vector of comes, too
    only = [*best[40:50], NO_VECTOR_ITEM, 10**6]
    found = ask(http, userid=userid, only=only)
    assert set(ids(found)) == set(only[:-1])
    assert found["matching"] == 11
    both = ids(ask(http, userid=userid, only=only, exclude=[best[40]]))
    assert set(both) == set(only[1:-1])


@USERS
@pytest.mark.parametrize(
    "body",
    [
        {"only": [], "strict": True},
        {"where": {"genres": {"any": ["Comedy"], "none": ["Comedy"]}}},
        {"where": {"genres": ["Comedy"]}, "exclude": [*range(1, 2_000)]},
    ],
)
def test_a_filter_that_leaves_nothing_is_no_degradation(
    http: FlaskClient, userid: int, body: dict[str, Any]
) -> None:
    answer = ask(http, userid=userid, **body)
    found = (answer["item_list"], answer["short"], answer["matching"])
    assert found == ([], "filter", 0)
    assert "degraded" not in answer


@BOTH_KINDS
def test_a_filter_that_leaves_few_is_no_degradation(
    fakes: Fakes, http: FlaskClient
) -> None:
    seen = fakes.world.seen[USER]
    unseen = [itemid for itemid in fakes.world.itemids if itemid not in seen][:5]
    answer = ask(http, only=unseen)
    assert (len(answer["item_list"]), answer["short"]) == (5, "filter")
    assert "degraded" not in answer
    assert "short" not in ask(http, only=unseen, size=5)
    assert ids(ask(http, only=seen)) == []
    assert set(ids(ask(http, userid=UNKNOWN_USER, only=seen))) == set(seen)


@SHOP
def test_items_without_attributes_are_chosen_by_their_ids(
    fakes: Fakes, http: FlaskClient
) -> None:
    user = fakes.world.own_user(USER)
    assert refused(http, userid=user, where={"genres": ["x"]}) == "where"
    best = ids(ask(http, userid=user))[:5]
    assert set(ids(ask(http, userid=user, only=best))) == set(best)
    assert refused(http, userid=user, only=[7]) == "only"


FILMS = Attributes.of(
    {
        30: {"genres": ["Comedy", "War"], "year": 1990},
        10: {"genres": ["Comedy"], "year": 1980},
        20: {"genres": [], "year": None},
        40: {"genres": ["War"], "year": 1990},
    }
)


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ({}, [10, 20, 30, 40]),
        ({"genres": ["Comedy", "War"]}, [10, 30, 40]),
        ({"genres": Condition(all=["Comedy", "War"])}, [30]),
        ({"genres": Condition(any=["War"], none=["Comedy"])}, [40]),
        ({"year": [1980.0]}, [10]),
        ({"year": Condition(gte=1980)}, [10, 30, 40]),
        ({"year": Condition(lte=1989)}, [10]),
        ({"genres": ["Comedy"], "year": Condition(lte=1990, gte=1985)}, [30]),
    ],
)
def test_all_conditions_hold(where: dict[str, Any], found: list[int]) -> None:
    assert FILMS.itemids[FILMS.select(where)].tolist() == found


BRANDS = Attributes.of({n: {"brand": [f"brand {n}"]} for n in range(100)})
YEARS = "as year; there are: 1980, 1990"


@pytest.mark.parametrize(
    ("items", "name", "value", "says"),
    [
        (BRANDS, "brand", "brand77", "among the 100 that there are: brand 77, "),
        (FILMS, "year", 1985.0, YEARS),
        (FILMS, "year", "1990", YEARS),
    ],
)
def test_errors_name_similar_values(
    items: Attributes, name: str, value: Any, says: str
) -> None:
    with pytest.raises(BadRequestError, match=says):
        items.select({name: [value]})
