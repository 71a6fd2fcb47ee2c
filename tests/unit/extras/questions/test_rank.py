from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient

from online.recommend.types import MAX_SIZE
from tests.unit.extras.asking import USER, ask, ids
from tests.unit.extras.conftest import BOTH_KINDS, Fakes
from tests.unit.online.conftest import SERVICES
from tests.unit.online.world import (
    AT,
    LATER,
    LONG_HISTORY_USER,
    NO_VECTOR_ITEM,
    UNKNOWN_USER,
)


def rank(
    http: FlaskClient, candidates: list[Any], status: int = 200, **body: Any
) -> dict[str, Any]:
    return ask(http, status, "/ml/rank", candidates=candidates, **body)


@BOTH_KINDS
@pytest.mark.parametrize("down", ["", *SERVICES])
@pytest.mark.parametrize(
    ("userid", "at"), [(USER, AT), (LONG_HISTORY_USER, LATER), (UNKNOWN_USER, AT)]
)
def test_items_of_a_list_have_its_scores_and_its_order(
    fakes: Fakes, http: FlaskClient, down: str, userid: int, at: int
) -> None:
    ask(http, userid=userid)
    fakes.down(down)
    shown = ask(http, userid=userid, timestamp=at, size=200)["item_list"]
    chosen = np.random.default_rng(0).permutation(len(shown))[:60]
    candidates = [shown[n]["itemid"] for n in chosen]
    of_list = {shown[n]["itemid"]: shown[n]["score"] for n in sorted(chosen)}
    ranked = rank(http, candidates, userid=userid, timestamp=at)
    assert sorted(ids(ranked)) == sorted(of_list)
    if userid == UNKNOWN_USER:
        assert ids(ranked) == list(of_list)
    in_list = [of_list[itemid] for itemid in ids(ranked)]
    assert (np.diff(in_list) <= 1e-6).all()
    scores = [item["score"] for item in ranked["item_list"]]
    np.testing.assert_allclose(scores, in_list, atol=1e-6)
    assert "unknown" not in ranked


@BOTH_KINDS
def test_every_candidate_is_ranked_or_named(fakes: Fakes, http: FlaskClient) -> None:
    """Seen ones, too, and those that nobody has rated; of the one without features nothing can be said."""
    everything, unranked = fakes.world.itemids, fakes.world.no_features_item
    answer = rank(http, [*everything, 10**6, 4, 10**7])
    assert sorted(ids(answer)) == sorted({*everything} - {unranked})
    assert answer["unknown"] == [unranked, 10**6, 10**7]
    scores = [item["score"] for item in answer["item_list"]]
    assert scores == sorted(scores, reverse=True)
    assert NO_VECTOR_ITEM in ids(answer)
    assert ids(rank(http, everything, size=3)) == ids(answer)[:3]


def test_reasons_are_given_for_as_many_as_a_list_has(
    fakes: Fakes, http: FlaskClient
) -> None:
    answer = rank(http, sorted(fakes.world.trained)[: MAX_SIZE + 50], explain=True)
    assert len(answer["item_list"]) == MAX_SIZE + 50
    assert len(answer["explained"]) == MAX_SIZE
