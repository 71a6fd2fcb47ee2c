from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from data_exchange_center.settings import Settings
from online.main.s1_server import create_app
from online.recommend.types import Answer
from tests.unit.extras.asking import conforms
from tests.unit.extras.conftest import BOTH_KINDS, Fakes
from tests.unit.online.world import AT, UNKNOWN_USER

USER = 8


def ask(
    fakes: Fakes, diversity: float | None, userid: int = USER, **more: object
) -> Answer:
    given = {"userid": userid, "timestamp": AT, "diversity": diversity, **more}
    return fakes.recommender.recommend(fakes.parts.request_model.model_validate(given))


def test_without_diversity_the_answer_is_what_it_was(http: FlaskClient) -> None:
    def body(**more: object) -> dict[str, object]:
        requested = {"userid": USER, "timestamp": AT, "explain": True} | more
        found = dict(http.post("/ml/rec", json=requested).json or {})
        assert "diversity" not in str(found)
        del found["recommendation"], found["took_ms"]
        return found

    assert body() == body(diversity=0) == body(diversity=None)


@BOTH_KINDS
def test_the_answer_has_the_diversity_and_its_time(
    fakes: Fakes, http: FlaskClient
) -> None:
    requested = {"userid": USER, "timestamp": AT, "size": 20, "diversity": 0.5}
    shown = {"explain": True, "stages": True}
    answer = http.post("/ml/rec", json=requested | shown).json
    conforms(answer, "Answer")
    assert answer["diversity"] == 0.5
    assert list(answer["took_ms"])[-2:] == ["diversity", "total"]
    stage = answer["stages"][-1]
    assert stage["stage"] == "diversity"
    best = ask(fakes, 0, size=20).itemids
    brought_up = len({item["itemid"] for item in answer["item_list"]} - set(best))
    assert stage["counts"] == {"shown": 20, "brought_up": brought_up}
    assert brought_up > 0


def test_a_request_that_names_none_gets_the_servers_own(
    fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECSYS_SERVER__DIVERSITY", "0.3")
    http = create_app(fakes.recommender, Settings(), fakes.stores).test_client()
    requested = {"userid": USER, "timestamp": AT}
    answers = [
        http.post("/ml/rec", json=requested | given).json
        for given in ({}, {"diversity": 0}, {"diversity": 0.3})
    ]
    own, none, more = (
        [item["itemid"] for item in answer["item_list"]] for answer in answers
    )
    assert [answer.get("diversity") for answer in answers] == [0.3, None, 0.3]
    assert own == more != none
    query = {**requested, "itemid": own[-1]}
    found = http.get("/ml/why-not", query_string=query).json
    assert found["code"] == "in_the_list"


def test_it_works_on_the_popular_list(fakes: Fakes) -> None:
    answer = ask(fakes, 0.5, UNKNOWN_USER, explain=True)
    assert answer.cold_start
    assert answer.diversity == 0.5
    assert answer.itemids != ask(fakes, None, UNKNOWN_USER).itemids
    popular = [itemid for itemid, _ in fakes.world.popular]
    assert len(answer.explained) == len(answer.itemids)
    for n, each in enumerate(answer.explained):
        assert each.ranked.rank == popular.index(answer.itemids[n]) + 1
        assert (each.diversified.rank, each.diversified.of) == (n + 1, len(popular))


def test_why_not_explains_the_requested_list(fakes: Fakes, http: FlaskClient) -> None:
    ranked, shown = ask(fakes, 0).itemids, ask(fakes, 0.5).itemids
    codes = set()
    moved_out = [itemid for itemid in ranked if itemid not in shown]
    below = ask(fakes, 0, size=200).itemids[50:]
    below = [itemid for itemid in below if itemid not in shown]
    requested = {"userid": USER, "timestamp": AT, "diversity": 0.5}
    for itemid in (*moved_out[:3], *shown[::12], *below[:2]):
        query = {**requested, "itemid": itemid}
        found = http.get("/ml/why-not", query_string=query).json
        conforms(found, "WhyNot")
        codes.add(found["code"])
        assert (found["code"] == "in_the_list") == (itemid in shown)
        assert (found["code"] == "too_alike") == (itemid in moved_out)
        if itemid in shown:
            assert f"number {shown.index(itemid) + 1} of" in found["sentence"]["en"]
        assert "None" not in str(found["sentence"])
    assert {"in_the_list", "too_alike", "ranked_below"} <= codes
