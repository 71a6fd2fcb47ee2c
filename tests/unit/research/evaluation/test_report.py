from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from data_exchange_center.steps import StepError
from offline.evaluation import replay
from offline.evaluation.evaluate import POPULARITY
from offline.evaluation.metrics import plain
from offline.evaluation.replay import Answers, Holdout
from offline.evaluation.served import best_unseen
from research.evaluation.baselines import baselines
from research.evaluation.report import check, funnel, labelled, report
from tests.unit.offline.evaluation.test_replay import LAST_FOUR, N_ITEMS, made_up

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
    assert (
        found["slices"]["perfect"]["returning"] == {}
    )  # lists of ten have no metric at 50
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
    assert found["ranked"] == pytest.approx(
        found["fused"]
    )  # the same ten in another order


def test_labelled_rows_are_the_rated_candidates_or_all(
    holdout: Holdout, answers: Answers
) -> None:
    found = labelled(holdout, answers)
    liked, disliked = holdout.relevance.toarray() > 0, holdout.disliked.toarray() > 0
    labels, scores = [], []
    for user, codes in enumerate(answers.ranked):
        for code, score in zip(codes, answers.scores[user], strict=True):
            if liked[user, code] or disliked[user, code]:
                labels.append(int(liked[user, code]))
                scores.append(score)
    rated = found["liked against rated"]
    assert (rated["rows"], rated["liked"]) == (len(labels), sum(labels))
    assert rated["auc"] == pytest.approx(roc_auc_score(labels, scores))
    everything = found["liked against all candidates"]
    assert everything["rows"] == (answers.ranked > 0).sum()
    # here the ranker turned recall's order around
    assert everything["gauc of recalled order"] == pytest.approx(1 - everything["gauc"])


# Thresholds


@pytest.fixture
def found() -> dict[str, Any]:
    low = {
        "recall@200": 0.6,
        "recall@50": 0.3,
        "ndcg@50": 0.16,
        "returning: recall@200": 0.4,
    }
    good = {
        "recall@200": 0.74,
        "recall@50": 0.48,
        "ndcg@50": 0.30,
        "returning: recall@200": 0.57,
    }
    better = {"difference": 0.01, "p_value": 1e-9}
    row = {
        "users": 1000,
        "ranked": {"ndcg@50": 0.18},
        "difference": {"ndcg@50": {"difference": -0.01, "low": -0.03, "high": 0.01}},
    }
    return {
        "recipe": "default",
        "dataset": "ml-1m",
        "table": {"popularity": dict(low), "EASE": dict(low), "default: ranked": good},
        "ranking": {"recall@50": dict(better), "ndcg@50": dict(better)},
        "protocols": {
            "next session": {
                "at its time": {"all": dict(row)},
                "as of now": {"all": dict(row)},
            }
        },
    }


@pytest.mark.parametrize(
    ("where", "value", "words"),
    [
        (
            ("table", "default: ranked", "recall@200"),
            0.69,
            "recall@200 of the ranked list is 0.6900 and should be at least 0.735",
        ),
        (
            ("table", "default: ranked", "returning: recall@200"),
            0.41,
            "returning: recall@200",
        ),
        (
            ("table", "default: ranked", "ndcg@50"),
            0.4,
            "above 0.325: was the holdout trained on?",
        ),
        (("table", "EASE", "recall@50"), 0.5, "no better than EASE's 0.5000"),
        (("ranking", "ndcg@50", "p_value"), 0.02, "ndcg@50 of recall's order"),
        (
            ("ranking", "recall@50", "difference"),
            -0.02,
            "recall@50 of recall's order by -0.0200",
        ),
    ],
)
def test_missed_thresholds_are_named(
    found: dict[str, Any], where: tuple[str, str, str], value: float, words: str
) -> None:
    first, second, third = where
    found[first][second][third] = value
    with pytest.raises(StepError, match="the default recipe on ml-1m") as caught:
        check(found)
    assert words in str(caught.value)


def test_an_order_worse_than_recalls_is_named(found: dict[str, Any]) -> None:
    row = found["protocols"]["next session"]["as of now"]["all"]
    row["difference"] = {
        "ndcg@50": {"difference": -0.022, "low": -0.027, "high": -0.017}
    }
    with pytest.raises(
        StepError,
        match=r"next session, as of now, all: .* by -0\.0220 \(-0\.0270 to -0\.0170\)",
    ):
        check(found)
    row["users"] = 3
    check(found)
    row["ranked"] = {"ndcg@50": 0.171}
    with pytest.raises(
        StepError,
        match=r"next session, as of now: ndcg@50 is 0\.1710 .* at least 0\.172",
    ):
        check(found)
