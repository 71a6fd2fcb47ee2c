from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from data_exchange_center.steps import StepError
from extras.questions.rules import RuleList, read, rules_key
from tests.unit.extras.asking import USER, ask, ids, switch
from tests.unit.extras.conftest import Fakes
from tests.unit.online.conftest import SERVICES
from tests.unit.online.world import UNKNOWN_USER
from tests.waiting import until

QUESTIONS: dict[str, dict[str, Any]] = {
    "plain": {"size": 200},
    "where": {"where": {"genres": ["Comedy"]}, "size": 60},
    "cursor": {"cursor": True},
    "rank": {"path": "/ml/rank", "candidates": [3 * n + 1 for n in range(100)]},
    "diverse": {"diversity": 0.7},
}


def write(fakes: Fakes, dataset: str = "", **rules: list[Any]) -> None:
    key = rules_key(dataset or fakes.world.dataset)
    fakes.users.values[key] = RuleList(**rules).model_dump_json().encode()


def server(fakes: Fakes, **rules: Any) -> FlaskClient:
    """A server that starts where these rules hold."""
    write(fakes, **rules)
    return fakes.client()


def similar(http: FlaskClient) -> list[Any]:
    return ids(http.get("/ml/similar?itemid=4").get_json())


@pytest.mark.parametrize("down", ["", *SERVICES])
@pytest.mark.parametrize("userid", [USER, UNKNOWN_USER])
def test_hidden_items_come_in_no_way_of_answering(
    fakes: Fakes, http: FlaskClient, userid: int, down: str
) -> None:
    shown: dict[str, list[Any]] = {}
    hidden = set(similar(http)[::4])
    for name, body in QUESTIONS.items():
        shown[name] = ids(ask(http, userid=userid, **body))
        hidden |= set(shown[name][::4])
    http = server(fakes, hidden=[*hidden])
    fakes.down(down)
    for name, body in QUESTIONS.items():
        answer = ask(http, userid=userid, **body)
        assert hidden.isdisjoint(ids(answer)), name
        enough = min(len(shown[name]), 50)
        if name == "rank":
            enough = len(set(shown[name]) - hidden)
            assert hidden & set(body["candidates"]) <= set(answer["unknown"])
        assert len(ids(answer)) >= enough, name
    assert hidden.isdisjoint(similar(http))


@pytest.mark.parametrize("userid", [USER, UNKNOWN_USER])
def test_rules_that_hide_everything_are_no_degradation(
    fakes: Fakes, userid: int
) -> None:
    answer = ask(server(fakes, hidden=fakes.world.itemids), userid=userid)
    assert (answer["item_list"], answer["short"]) == ([], "no_more_items")
    assert "degraded" not in answer


def moved_up(shown: list[Any], place: int) -> list[Any]:
    """A list with the item in a place, counted from 1, at half that place."""
    left = [*shown]
    left.insert(place // 2 - 1, left.pop(place - 1))
    return left


@pytest.mark.parametrize("userid", [USER, UNKNOWN_USER])
def test_a_boosted_item_stands_at_half_its_place(
    fakes: Fakes, http: FlaskClient, userid: int
) -> None:
    before, alike = ids(ask(http, userid=userid)), similar(http)
    after = ids(ask(server(fakes, boosted=[before[39]]), userid=userid))
    assert after == moved_up(before, 40)
    assert similar(server(fakes, boosted=[alike[19]])) == moved_up(alike, 20)


def test_workers_follow_and_keep_the_last_rules(
    fakes: Fakes, http: FlaskClient
) -> None:
    best = ids(ask(http))
    hidden = set(best[:2])

    def shown() -> set[Any]:
        return hidden & set(ids(ask(http, size=200)))

    assert shown() == hidden
    write(fakes, hidden=best[:2])
    until(lambda: not shown())
    switch(fakes)
    assert not shown()
    fakes.users.down = True
    assert not shown()
    fakes.users.down = False
    fakes.users.values.clear()
    until(lambda: bool(shown()))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("hide = [1]", "Extra inputs"),
        ("hidden = [1.5]", "hidden.0"),
        ("hidden = [", "Expected: TOML"),
        ("", "names no item"),
        ("hidden = []\nboosted = []", "make rules clear=1"),
    ],
)
def test_a_wrong_file_is_refused_whole(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(text)
    with pytest.raises(StepError) as error:
        read(path)
    assert says in str(error.value)
