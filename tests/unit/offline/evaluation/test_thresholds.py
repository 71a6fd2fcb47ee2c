from __future__ import annotations

import copy
from typing import Any

import pytest

from data_exchange_center.steps import StepError
from offline.evaluation import report


@pytest.fixture
def found() -> dict[str, Any]:
    low = {"recall@200": 0.6, "recall@50": 0.3, "ndcg@50": 0.16, "returning: recall@200": 0.4}
    good = {"recall@200": 0.74, "recall@50": 0.48, "ndcg@50": 0.30, "returning: recall@200": 0.57}
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
        "protocols": {"next session": {"at its time": {"all": dict(row)}, "as of now": {"all": dict(row)}}},
    }


def test_what_is_reached_passes(found: dict[str, Any]) -> None:
    report.check(found)


@pytest.mark.parametrize(
    ("where", "value", "words"),
    [
        (
            ("table", "default: ranked", "recall@200"),
            0.69,
            "recall@200 of the ranked list is 0.6900 and should be at least 0.735",
        ),
        (("table", "default: ranked", "returning: recall@200"), 0.41, "returning: recall@200"),
        (("table", "default: ranked", "ndcg@50"), 0.4, "above 0.325: was the holdout trained on?"),
        (("table", "EASE", "recall@50"), 0.5, "no better than EASE's 0.5000"),
        (("ranking", "ndcg@50", "p_value"), 0.02, "ndcg@50 of recall's order"),
        (("ranking", "recall@50", "difference"), -0.02, "recall@50 of recall's order by -0.0200"),
    ],
)
def test_what_is_not_reached_is_named(
    found: dict[str, Any], where: tuple[str, str, str], value: float, words: str
) -> None:
    first, second, third = where
    found[first][second][third] = value
    with pytest.raises(StepError, match="the default recipe on ml-1m") as caught:
        report.check(found)
    assert words in str(caught.value)


def test_an_order_that_is_worse_than_recalls_in_any_slice_is_named(found: dict[str, Any]) -> None:
    row = found["protocols"]["next session"]["as of now"]["all"]
    row["difference"] = {"ndcg@50": {"difference": -0.022, "low": -0.027, "high": -0.017}}
    with pytest.raises(StepError, match=r"next session, as of now, all: .* by -0\.0220 \(-0\.0270 to -0\.0170\)"):
        report.check(found)
    row["users"] = 3
    report.check(found)
    row["ranked"] = {"ndcg@50": 0.171}
    with pytest.raises(StepError, match=r"next session, as of now: ndcg@50 is 0\.1710 .* at least 0\.172"):
        report.check(found)


def test_other_recipes_and_made_up_data_are_only_reported(found: dict[str, Any]) -> None:
    for key, value in (("recipe", "source"), ("dataset", "other")):
        bad = copy.deepcopy(found) | {key: value}
        bad["table"]["default: ranked"]["recall@200"] = 0.1
        report.check(bad)
