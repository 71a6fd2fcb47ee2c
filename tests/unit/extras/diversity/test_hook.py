from __future__ import annotations

import numpy as np
import pytest
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st

from data_exchange_center.features import Float32
from extras.diversity.hook import diverse_order, rarity, similarity_rows
from online.recommend.types import Answer
from tests.unit.extras.asking import conforms
from tests.unit.extras.conftest import BOTH_KINDS, Fakes
from tests.unit.online.world import AT, UNKNOWN_USER


def rows(n: int, seed: int = 0) -> Float32:
    drawn = np.random.default_rng(seed).normal(size=(n, 6))
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)


@given(st.integers(0, 40), st.floats(0.01, 1), st.integers(1, 40), st.integers(0, 5))
def test_each_choice_is_the_best_of_what_is_left(
    n: int, diversity: float, size: int, seed: int
) -> None:
    each, rarities = rows(n, seed), np.random.default_rng(9).random(n)
    found = diverse_order(each, rarities.astype(np.float32), diversity, size)
    left = np.ones(n, np.bool_)
    for place, choice in enumerate(found[:size]):
        chosen = each[found[:place]]
        alike = (each @ chosen.T).sum(axis=1) / max(place, 1)
        relevance = 1 / np.log2(np.arange(n) + 2)
        worth = (1 - diversity) * relevance - diversity * (alike - rarities / 2)
        assert worth[choice] >= worth[left].max() - 1e-6
        left[choice] = False
    assert found[size:].tolist() == np.flatnonzero(left).tolist()


def test_rarity_is_self_information_by_that_of_the_rarest() -> None:
    found = rarity(np.array([1.0, 0.1, 0.01, 0.0]))
    np.testing.assert_allclose(found, [0, 0.5, 1, 1], rtol=1e-6)
    for nothing in ([0.0, 0.0], [1.0, 1.0], [2.0, 0.0], []):
        assert not rarity(np.array(nothing)).any()


FLAGS = np.eye(4, dtype=np.float32)[np.arange(60) % 4]
NO_FLAGS = np.zeros((60, 0), np.float32)


def vectors(seed: int, dim: int = 5) -> Float32:
    return np.random.default_rng(seed).normal(size=(60, dim)).astype(np.float32)


def cosine(one: Float32, other: Float32) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def test_half_is_terms_and_half_is_vectors() -> None:
    one, other = vectors(0), vectors(1, 7)
    rows = similarity_rows([one, other], FLAGS)
    for n, terms in ((7, 1.0), (8, 0.0)):
        expected = terms / 2 + (cosine(one[3], one[n]) + cosine(other[3], other[n])) / 4
        assert float(rows[3] @ rows[n]) == pytest.approx(expected, abs=1e-6)
    np.testing.assert_allclose((rows**2).sum(axis=1), 1, rtol=1e-5)


def test_an_item_without_a_vector_has_no_similarity() -> None:
    known = vectors(0)
    known[8] = np.nan
    rows = similarity_rows([known], NO_FLAGS)
    assert np.isfinite(rows).all()
    assert not rows[8].any()


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
    http = fakes.client()
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
