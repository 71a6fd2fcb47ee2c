import io
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from extras import replay
from extras.replay import Answers, Holdout
from research.evaluation import one_table
from research.evaluation.against import main
from research.evaluation.baselines import POPULARITY, baselines, best_unseen
from research.evaluation.evaluate import evaluate, show
from research.evaluation.metrics import HEADLINES, per_user
from research.evaluation.one_table import folder_of, keep, kept, summary
from research.evaluation.report import funnel, report
from research.figures import plain
from tests.unit.extras.replay.conftest import (
    holdout_of,
    settings_of,
)
from tests.unit.extras.replay.test_replay import LAST_FOUR, N_ITEMS, made_up


def test_the_report_of_either_recipe(released: Settings, exchange: Path) -> None:
    found = evaluate(released, "make it so", source=settings_of("source", exchange))
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    systems = list(found["table"])
    assert systems == list(found["systems"]) == list(found["slices"])
    assert systems[:3] == ["popularity", "item-kNN", "EASE"]
    assert {"source: ranked", f"{released.recipe_name}: ranked"} <= {*systems}
    assert (found["recipe"], found["command"]) == (released.recipe_name, "make it so")
    assert set(found["against"]) == {"popularity", "EASE"}
    assert set(found["funnel"]["200"]["channels"]) == {
        channel.name for channel in released.recipe.recall.channels
    }
    assert "live against exact" not in found
    console = Console(record=True, width=200)
    show(found, console)
    assert "recall@200" in console.export_text()


def test_live_against_exact_is_a_number(exchange: Path) -> None:
    settings = settings_of("default", exchange)
    exact = replay.answers(settings, holdout_of(settings))

    def with_ranked(change: Callable[[np.ndarray], np.ndarray]) -> dict[str, Any]:
        live = replace(exact, ranked=change(exact.ranked))
        return evaluate(
            settings,
            "",
            answerer=lambda _: live,
            source=settings_of("source", exchange),
        )["live against exact"]

    same = with_ranked(np.copy)
    assert {name: part["shared"] for name, part in same.items()} == dict.fromkeys(
        same, 1.0
    )
    assert same["ranked"]["users with the same list"] == same["ranked"]["users"] == 24
    assert same["ranked"]["recall@50"] == 0
    worse = with_ranked(np.zeros_like)
    assert worse["ranked"]["shared"] == 0
    assert worse["ranked"]["recall@200"] < 0
    assert worse["fused"]["shared"] == 1


# One table.


def test_a_run_is_written_with_the_artifacts(released: Settings) -> None:
    one_table.main(released)
    path = released.offline_dir / "evaluation" / "evaluation_offline.json"
    found = json.loads(path.read_text())
    assert found == one_table.evaluate(released, "make evaluate-offline")
    channels = [channel.name for channel in released.recipe.recall.channels]
    stages = [*(f"channel {channel}" for channel in channels), "recall", "ranked"]
    systems = [f"{released.recipe_name}: {stage}" for stage in stages]
    assert list(found["table"]) == ["popularity", *systems]
    shown = Console(record=True, width=80, file=io.StringIO())
    one_table.show(found, shown)
    text = shown.export_text()
    assert all(metric in text for metric in HEADLINES)  # each heading in full
    assert "returning:" in text


def test_the_summary_is_of_all_and_of_returning_users() -> None:
    holdout = replay.hold_out(made_up(), LAST_FOUR)
    wide = best_unseen(holdout.relevance.toarray(), holdout.past.seen(), N_ITEMS)
    lists = np.pad(wide, ((0, 0), (0, 200 - wide.shape[1])))
    lists[1:] = 0  # only the first user, who comes back, is given anything
    found = summary(holdout, lists)
    assert found["returning: recall@200"] == pytest.approx(1)
    assert found["recall@200"] == pytest.approx(
        1 / np.count_nonzero(np.diff(holdout.relevance.indptr))
    )
    assert set(found) == {*HEADLINES, "returning: recall@200"}


# A release is compared with one that was evaluated before.


def written_report(settings: Settings) -> dict[str, object]:
    found: dict[str, object] = json.loads(
        (folder_of(settings) / "evaluation_offline.json").read_text()
    )
    return found


def test_a_release_is_compared_with_one_evaluated_before(exchange: Path) -> None:
    folder = exchange.with_name("against") / "default"
    shutil.copytree(exchange / "default", folder)
    settings = Settings(exchange_dir=folder)
    with pytest.raises(StepError, match="evaluated"):
        main(settings, "source")
    holdout = holdout_of(settings)
    exact = replay.answers(settings, holdout)
    worse = {
        name: np.where(np.isnan(v), v, 0.0)
        for name, v in per_user(holdout.relevance, exact.ranked).items()
    }
    keep(kept(settings, "0" * 12, server=False), "source", holdout, worse)
    for other in ("source", "0" * 12):  # by recipe, by release
        main(settings, other)
        found = written_report(settings)
        compared = found["against"]
        assert (compared["release"], compared["recipe"]) == ("0" * 12, "source")
        for name, row in compared["metrics"].items():
            assert row["difference"] == pytest.approx(
                found["table"]["default: ranked"][name], rel=1e-3
            )
            assert row["low"] <= row["difference"] <= row["high"]
            assert row["baseline"] == 0
    main(settings, found["release"])
    assert (
        written_report(settings)["against"]["metrics"]["recall@50"]["difference"] == 0
    )


# Report.


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
