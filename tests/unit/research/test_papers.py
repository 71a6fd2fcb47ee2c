"""The papers' protocol on users who take the items in turn."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from research import papers
from research.papers import WITH, WITHOUT, fitted, measured, requests, targets
from tests.unit.offline.data.ratings import events_of
from tests.unit.offline.models.test_stages import ITEMS, RECIPE, USERS, inputs_of


def test_requests_know_all_before_and_their_time_or_not() -> None:
    data = events_of(
        [[1, 2, 3], [2], [3, 1]], [[5] * 3, [5], [1, 1]], [[0, 7, 90], [5], [4, 5]]
    )
    last = targets(data, 1)
    assert data.items[last].tolist() == [3, 1]
    with_time, without = (requests(data, last, clock=clock) for clock in (True, False))
    assert with_time.positions.tolist() == [2, 1]
    assert with_time.times.tolist() == [90, 5]
    assert without.times.tolist() == [7 + papers.WITHOUT_S, 4 + papers.WITHOUT_S]


def test_metrics_by_rank_and_by_gap() -> None:
    lists = np.array([[1, 2, 3], [3, 2, 1], [1, 2, 3]])
    found = measured(lists, np.array([1, 1, 7]), np.array([1, 30, 4000]))
    assert found["hr@10"] == pytest.approx(2 / 3)
    assert found["ndcg@10"] == pytest.approx((1 + 1 / np.log2(4)) / 3)
    assert {name: row["hr@10"] for name, row in found["by gap"].items()} == {
        "at once": 1,
        "a minute": 1,
        "later": 0,
    }


def test_nothing_of_the_target_or_later_is_fitted_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inputs = inputs_of(np.random.default_rng(0).integers(0, ITEMS, USERS - 1))
    inputs = replace(
        inputs, data=replace(inputs.data, liked=np.ones_like(inputs.data.liked))
    )
    pasts, fit = [], papers.fit_stages
    monkeypatch.setattr(
        papers, "fit_stages", lambda *given: pasts.append(given[0]) or fit(*given)
    )
    row = fitted(inputs, RECIPE, target=2)
    assert (inputs.data.lengths - pasts[0].lengths)[:-1].tolist() == [2] * (USERS - 1)
    assert set(row["ranked"]) == {WITH, WITHOUT}
    assert row["ranked"][WITH]["hr@10"] > 0.5


def test_other_data_is_not_requested_live(released: Settings) -> None:
    with pytest.raises(StepError, match="every one a target"):
        papers.live(released, released.offline_dir / "papers_live.json")


def test_live_answers_are_finished_with_all_seeds(
    released: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {
        when: {
            **dict.fromkeys(("hr@10", "ndcg@10", "hr@50", "hr@200"), 0.5),
            "by gap": {},
        }
        for when in (WITH, WITHOUT)
    }
    for seeds, unfinished in ((("0", "2"), True), (("0", "1", "2"), False)):
        found = {
            "command": "any",
            "dataset": "ml-1m",
            "users": 3,
            "live": {"next-item": dict.fromkeys(seeds, row)},
        }
        monkeypatch.setattr(papers, "live", lambda settings, path, found=found: found)
        monkeypatch.setattr(
            papers,
            "path_of",
            lambda settings, kind, part: released.offline_dir / f"{kind}.json",
        )
        papers.main(released, server=True)
        report = json.loads(
            (released.offline_dir / "papers_live.json").read_text(encoding="utf-8")
        )
        assert ("finished" in report["measured"]) is unfinished


def test_only_the_whole_study_counts_as_finished(
    released: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[tuple[int, int]] = []

    def once(inputs: object, recipe: object, target: int) -> dict[str, object]:
        done.append((target, len(done)))
        row = {
            when: {
                **dict.fromkeys(("hr@10", "ndcg@10", "hr@50", "hr@200"), 0.5),
                "by gap": {},
            }
            for when in (WITH, WITHOUT)
        }
        return {"seconds": 1.0, "seconds to answers": 2.0, "ranked": row}

    def found() -> dict[str, Any]:
        (path,) = (released.offline_dir / "evaluation").glob("papers*.json")
        report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return report

    monkeypatch.setattr(papers, "fitted", once)
    monkeypatch.setattr(papers, "SEEDS", (0, 1, 2))
    papers.main(released, validate=True)
    assert [target for target, _ in done] == [2, 2]  # of both recipes
    papers.main(released, seeds=(0, 1))
    assert [target for target, _ in done[2:]] == [
        1,
        1,
        1,
    ]  # seeds of the recipe for the next event, one of the other
    assert found()["measured"]["finished"] is False
    papers.main(released, seeds=(0, 1, 2))
    assert len(done) == 6, "what is measured is not fitted again"
    assert {name: [*rows] for name, rows in found()["last"].items()} == {
        "next-item": ["0", "1", "2"],
        released.recipe.name: ["0"],
    }
    assert "finished" not in found()["measured"]
