import json

import numpy as np
import pytest

from extras import replay
from extras.comparison import plain
from extras.replay import Answers, Holdout
from research.evaluation.baselines import POPULARITY, baselines, best_unseen
from research.evaluation.report import funnel, report
from tests.unit.extras.replay.test_holdout import LAST_FOUR, N_ITEMS, made_up

SIZE = 10


@pytest.fixture(scope="module")
def holdout() -> Holdout:
    return replay.hold_out(made_up(), LAST_FOUR)


@pytest.fixture(scope="module")
def answers(holdout: Holdout) -> Answers:
    """A channel that knows what will be liked, one that knows the popular; fusion takes the popular."""
    perfect = best_unseen(holdout.relevance.toarray(), holdout.past.seen(), SIZE)
    popular = baselines(holdout, SIZE)[POPULARITY]
    scores = np.tile(np.linspace(1, 0, SIZE), (len(popular), 1))
    return Answers(
        {"perfect": perfect, "popular": popular},
        popular,
        popular[:, ::-1].copy(),
        scores,
    )


def test_a_perfect_list_is_perfect_and_the_report_is_json(
    holdout: Holdout, answers: Answers
) -> None:
    systems = {"perfect": answers.channels["perfect"], "popularity": answers.fused}
    found = plain(
        report(holdout, systems, answers, np.eye(N_ITEMS + 1), ["popularity"])
    )
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["systems"]["perfect"]["ndcg@10"]["mean"] == 1
    assert found["against"]["popularity"]["perfect"]["recall@10"]["difference"] > 0
    # lists of ten have no metric at 50
    assert found["slices"]["perfect"]["returning"] == {}
    assert set(found["table"]) == set(systems)


def test_funnel_counts_what_each_stage_still_holds(
    holdout: Holdout, answers: Answers
) -> None:
    assert funnel(holdout, answers)["candidates"] == {
        "size": SIZE,
        "found": pytest.approx(funnel(holdout, answers)["10"]["fused"]),
    }
    found = funnel(holdout, answers)["10"]
    channels = found["channels"]
    assert channels["perfect"]["found"] == found["found by any"] == pytest.approx(1)
    assert channels["perfect"]["by no other"] == pytest.approx(
        1 - channels["popular"]["found"]
    )
    assert channels["popular"]["by no other"] == 0
    assert found["fused"] == pytest.approx(channels["popular"]["found"])
    # the same ten in another order
    assert found["ranked"] == pytest.approx(found["fused"])
