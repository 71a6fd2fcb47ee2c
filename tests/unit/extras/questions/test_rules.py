from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from extras.questions.rules import RuleList, RuleProblemError, read, rules_key
from online.main.s1_server import create_app
from tests.unit.extras.conftest import Fakes
from tests.unit.extras.document import conforms
from tests.unit.extras.questions.asking import USER, ask, ids
from tests.unit.online.conftest import SERVICES
from tests.unit.online.world import UNKNOWN_USER, DefaultWorld
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("opened")
DEFAULT = pytest.mark.parametrize("kind", [DefaultWorld], indirect=True)
QUESTIONS: dict[str, dict[str, Any]] = {
    "plain": {"size": 200},
    "where": {"where": {"genres": ["Comedy"]}, "size": 60},
    "cursor": {"cursor": True},
    "rank": {"path": "/ml/rank", "candidates": [3 * n + 1 for n in range(100)]},
    "diverse": {"diversity": 0.7},
}


def server(fakes: Fakes, dataset: str = "", **rules: list[Any]) -> FlaskClient:
    """A server that starts where these rules hold."""
    fakes.users.values[rules_key(dataset or fakes.world.dataset)] = (
        RuleList(**rules).model_dump_json().encode()
    )
    return create_app(fakes.recommender, stores=fakes.stores).test_client()


def similar(http: FlaskClient) -> list[Any]:
    return ids(http.get("/ml/similar?itemid=4").get_json())


@DEFAULT
@pytest.mark.parametrize("down", ["", *SERVICES])
@pytest.mark.parametrize("userid", [USER, UNKNOWN_USER])
def test_hidden_items_come_in_no_way_of_answering(
    fakes: Fakes, http: FlaskClient, userid: int, down: str
) -> None:
    shown = {
        name: ids(ask(http, userid=userid, **QUESTIONS[name])) for name in QUESTIONS
    }
    hidden = {*similar(http)[::4]}
    for found in shown.values():
        hidden |= {*found[::4]}
    http = server(fakes, hidden=[*hidden])
    if down:
        fakes.service(down).down = True
    for name, body in QUESTIONS.items():
        answer = ask(http, userid=userid, **body)
        conforms(answer, "Answer")
        assert hidden.isdisjoint(ids(answer)), name
        left = len(set(shown[name]) - hidden)
        if name == "rank":
            assert len(ids(answer)) >= left
            assert hidden & set(body["candidates"]) <= set(answer["unknown"])
        else:
            assert len(ids(answer)) >= min(len(shown[name]), 50), name
    assert hidden.isdisjoint(similar(http))


@DEFAULT
@pytest.mark.parametrize("userid", [USER, UNKNOWN_USER])
def test_rules_that_hide_everything_are_no_degradation(
    fakes: Fakes, userid: int
) -> None:
    answer = ask(server(fakes, hidden=fakes.world.itemids), userid=userid)
    assert (answer["item_list"], answer["short"]) == ([], "no_more_items")
    assert "degraded" not in answer


@DEFAULT
@pytest.mark.parametrize("userid", [USER, UNKNOWN_USER])
def test_a_boosted_item_stands_at_half_its_place(
    fakes: Fakes, http: FlaskClient, userid: int
) -> None:
    before, alike = ids(ask(http, userid=userid)), similar(http)
    after = ids(ask(server(fakes, boosted=[before[39]]), userid=userid))
    assert after == [*before[:19], before[39], *before[19:39], *before[40:]]
    assert similar(server(fakes, boosted=[alike[19]])) == [
        *alike[:9],
        alike[19],
        *alike[9:19],
    ]


@DEFAULT
def test_workers_follow_and_keep_the_last_rules(fakes: Fakes) -> None:
    key, values = rules_key(fakes.world.dataset), fakes.users.values
    with fakes.restarted() as recommender:
        http = create_app(recommender, stores=fakes.stores).test_client()
        recommender.releases.follow()
        best = ids(ask(http))
        hidden = set(best[:2])
        values[key] = RuleList(hidden=best[:2]).model_dump_json().encode()
        until(lambda: hidden.isdisjoint(ids(ask(http))))
        # a switch changes nothing
        other = replace(fakes.world, release="bbbbbbbbbbbb", seed=1, model_version=2)
        fakes.add(other)
        fakes.users.activate(other.release)
        recommender.releases.follow()
        answer = ask(http, size=200)
        assert answer["release"] == other.release
        assert hidden.isdisjoint(ids(answer))
        fakes.users.down = True
        assert hidden.isdisjoint(ids(ask(http, size=200)))
        fakes.users.down = False
        del values[key]
        until(lambda: bool(hidden & set(ids(ask(http, size=200)))))


@DEFAULT
def test_rules_of_another_data_set_do_not_count(
    fakes: Fakes, http: FlaskClient
) -> None:
    best = ids(ask(http))
    assert ids(ask(server(fakes, "of_another_shop", hidden=best))) == best


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("hidden = [1]\nboosted = [4, 1]", "both hidden and boosted: 1"),
        ("hide = [1]", "hide: Extra inputs"),
        ("hidden = [1.5]", "hidden.0: "),
        ("hidden = [", "cannot be read"),
        ("", "names no item"),
        ("hidden = []\nboosted = []", "make rules clear=1"),
    ],
)
def test_a_wrong_file_is_refused_whole(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(text)
    with pytest.raises(RuleProblemError) as error:
        read(path)
    assert says in str(error.value)


def test_a_file_names_hidden_and_boosted_items(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text("hidden = [1]\nboosted = [4, 'x']")
    assert read(path) == RuleList(hidden=[1], boosted=[4, "x"])
