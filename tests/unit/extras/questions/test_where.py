from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient

from extras.questions.where import Attributes, Condition
from online.recommend.outcomes import BadRequestError
from tests.unit.extras.conftest import Fakes
from tests.unit.extras.document import conforms
from tests.unit.extras.questions.asking import USER, ask, ids
from tests.unit.online.conftest import SERVICES
from tests.unit.online.world import (
    NO_VECTOR_ITEM,
    UNKNOWN_USER,
    DefaultWorld,
    ShopWorld,
    World,
)

WHERE = {"genres": {"all": ["Comedy"], "none": ["Drama"]}}


def matching(world: World) -> list[int]:
    genres = {each: set(world.attributes(each)["genres"]) for each in world.itemids}
    return [
        itemid
        for itemid, has in genres.items()
        if "Comedy" in has and "Drama" not in has
    ]


@pytest.mark.parametrize("down", ["", "elasticsearch", "feast", "triton", "redis"])
def test_all_that_match_come_whatever_is_away(
    fakes: Fakes, http: FlaskClient, down: str
) -> None:
    ask(http)
    if down:
        fakes.service(down).down = True
    answer = ask(http, where=WHERE, size=200)
    conforms(answer, "Answer")
    unseen = set(matching(fakes.world)) - set(fakes.world.seen[USER])
    assert set(ids(answer)) == unseen
    assert len(unseen) > 50
    assert answer["matching"] == len(matching(fakes.world))
    degraded = {each["service"] for each in answer.get("degraded", [])}
    assert degraded == ({down} if down else set())


@pytest.mark.parametrize("down", [(), SERVICES])
def test_without_a_state_popular_matches_come(
    fakes: Fakes, http: FlaskClient, down: tuple[str, ...]
) -> None:
    matches = matching(fakes.world)
    popular = [itemid for itemid, _ in fakes.world.popular if itemid in matches]
    ask(http)
    fakes.down(*down)
    assert ids(ask(http, userid=UNKNOWN_USER, where=WHERE, size=60)) == popular[:60]


@pytest.mark.parametrize("userid", [USER, UNKNOWN_USER])
def test_ids_limit_the_list_and_are_left_out_of_it(
    fakes: Fakes, http: FlaskClient, userid: int
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


EMPTY: dict[str, dict[str, Any]] = {
    "no ids": {"only": []},
    "swapped bounds": {"where": {"genres": {"any": ["Comedy"], "none": ["Comedy"]}}},
    "all excluded": {"where": {"genres": ["Comedy"]}, "exclude": [*range(1, 2_000)]},
}


@pytest.mark.parametrize("userid", [USER, UNKNOWN_USER])
@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("body", EMPTY.values(), ids=EMPTY)
def test_a_filter_that_leaves_nothing_is_no_degradation(
    http: FlaskClient, userid: int, strict: bool, body: dict[str, Any]
) -> None:
    answer = ask(http, userid=userid, strict=strict, **body)
    conforms(answer, "Answer")
    found = (answer["item_list"], answer["short"], answer["matching"])
    assert found == ([], "filter", 0)
    assert "degraded" not in answer


def test_a_filter_that_leaves_few_is_no_degradation(
    fakes: Fakes, http: FlaskClient
) -> None:
    only = [i for i in fakes.world.itemids if i not in fakes.world.seen[USER]][:5]
    answer = ask(http, only=only)
    assert (len(answer["item_list"]), answer["short"]) == (5, "filter")
    assert "degraded" not in answer
    assert "short" not in ask(http, only=only, size=5)


def test_seen_items_stay_away(fakes: Fakes, http: FlaskClient) -> None:
    seen = fakes.world.seen[USER]
    assert ids(ask(http, only=seen)) == []
    assert set(ids(ask(http, userid=UNKNOWN_USER, only=seen))) == set(seen)


def test_without_a_filter_nothing_is_done(
    fakes: Fakes, http: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Attributes, "of", None)
    assert "matching" not in ask(http)
    assert fakes.items.answered == len(fakes.world.recipe.recall.searched)


@pytest.mark.parametrize("kind", [ShopWorld], indirect=True)
def test_items_without_attributes_are_chosen_by_their_ids(
    fakes: Fakes, http: FlaskClient
) -> None:
    user = fakes.world.own_user(USER)
    error = ask(http, 400, userid=user, where={"genres": ["x"]})["error"]
    assert error["field"] == "where"
    best = ids(ask(http, userid=user))
    assert set(ids(ask(http, userid=user, only=best[:5]))) == set(best[:5])
    assert ask(http, 400, userid=user, only=[7])["error"]["field"] == "only"


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
        ({"genres": Condition(none=["War"])}, [10, 20]),
        ({"genres": Condition(any=["War"], none=["Comedy"])}, [40]),
        ({"year": [1980.0]}, [10]),
        ({"year": Condition(gte=1980)}, [10, 30, 40]),
        ({"year": Condition(gt=1980)}, [30, 40]),
        ({"year": Condition(lt=1990)}, [10]),
        ({"year": Condition(gte=1981, lte=1989)}, []),
        ({"year": Condition(none=[1990])}, [10, 20]),
        ({"genres": ["Comedy"], "year": Condition(lte=1990, gte=1985)}, [30]),
    ],
)
def test_all_conditions_hold(where: dict[str, Any], found: list[int]) -> None:
    assert FILMS.itemids[FILMS.select(where)].tolist() == found


def test_errors_name_a_numbers_range_or_similar_values() -> None:
    many = Attributes.of({n: {"brand": [f"brand {n}"]} for n in range(100)})
    with pytest.raises(
        BadRequestError, match=r"among the 100 that there are: brand 77, "
    ):
        many.select({"brand": ["brand77"]})
    for value in (1985.0, "1990"):
        with pytest.raises(
            BadRequestError, match=r"as year; values are from 1980 to 1990\."
        ):
            FILMS.select({"year": [value]})


@pytest.mark.parametrize(
    ("condition", "place"),
    [
        ({"min": 1995}, "where.year.min"),
        ({"gte": "1995"}, "where.year.gte"),
        ([], "where.year"),
        (7, "where.year"),
    ],
)
def test_errors_name_the_wrong_key(
    http: FlaskClient, condition: object, place: str
) -> None:
    assert ask(http, 400, where={"year": condition})["error"]["field"] == place


@pytest.mark.parametrize("kind", [DefaultWorld], indirect=True)
def test_scores_continue_below_a_channels_list(fakes: Fakes, http: FlaskClient) -> None:
    """Of 55 items of which 54 have vectors, all are scored by both channels, in the order of their products."""
    only = [i for i in fakes.world.itemids if i not in fakes.world.seen[USER]][:55]
    assert NO_VECTOR_ITEM in only
    answer = ask(http, only=only, size=200, explain="recall")
    assert (
        set(answer["recall"]["tower"])
        == set(answer["recall"]["ease"])
        == set(only) - {NO_VECTOR_ITEM}
    )
    assert answer["recall"]["fused"][-1] == NO_VECTOR_ITEM
    assert len(answer["item_list"]) == 55
    assert np.isfinite([item["score"] for item in answer["item_list"]]).all()
