from __future__ import annotations

import argparse
import io
from typing import Any

import pytest
from pydantic import ValidationError
from rich.console import Console

from extras.experiments.__main__ import declared, overview
from extras.experiments.changes import KEPT, Kept, reshared, started, stopped
from extras.experiments.declaration import Declaration, ExperimentError, Experiments, named, pack, told, unpack

LIVE, BEFORE, OTHER_DATA = "aaaaaaaaaaaa", "bbbbbbbbbbbb", "cccccccccccc"
THERE = Kept(LIVE, {LIVE: "ml-1m", BEFORE: "ml-1m", OTHER_DATA: "shop"})
ARMS = {"control": {"release": LIVE}, "treatment": {"release": BEFORE}}


def declaration(name: str = "ranker", **given: Any) -> Declaration:
    return Declaration.model_validate({"name": name, "arms": ARMS, **given})


def running(*declarations: Declaration) -> Experiments:
    experiments: Experiments = ()
    for now, each in enumerate(declarations):
        experiments = started(experiments, each, THERE, now)
    return experiments


def test_one_is_started_resized_and_stopped_and_stays_known() -> None:
    experiments = running(declaration(share=0.1))
    experiments = reshared(experiments, "ranker", 0.5)
    assert named(experiments, "ranker").buckets == ((0, 5_000),)
    experiments = stopped(experiments, "ranker", 7)
    (over,) = unpack(pack(experiments))
    assert (over.started, over.stopped, over.runs) == (0, 7, False)
    assert list(over.arms) == ["control", "treatment"]  # in the order of the declaration
    for change in (stopped, reshared):
        with pytest.raises(ExperimentError, match="is stopped"):
            change(experiments, "ranker", 1)


@pytest.mark.parametrize(
    ("more", "field", "message"),
    [
        ({"name": "there"}, "name", "There is an experiment called 'there'"),
        (
            {"arms": {**ARMS, "new": {"release": "dddddddddddd"}}},
            "arms",
            "'new' names release dddddddddddd, which is not",
        ),
        ({"arms": {**ARMS, "new": {"release": OTHER_DATA}}}, "arms", "several data sets: ml-1m, shop"),
        ({"share": 0.5}, "share", "50.00% of layer 'main' are asked for, and 40.00% are left"),
    ],
)
def test_what_cannot_be_started_says_why(more: dict[str, Any], field: str, message: str) -> None:
    experiments = running(declaration("there", share=0.6))
    with pytest.raises(ExperimentError, match=message) as told:
        started(experiments, Declaration.model_validate({"name": "new", "arms": ARMS, **more}), THERE, 9)
    assert told.value.field == field


def test_other_layers_and_stopped_experiments_take_no_room() -> None:
    experiments = stopped(running(declaration("old")), "old", 1)
    experiments = started(experiments, declaration("new", share=0.9), THERE, 2)
    experiments = started(experiments, declaration("elsewhere", layer="home"), THERE, 3)
    assert [each.name for each in experiments if each.runs] == ["new", "elsewhere"]


def test_who_has_everybody_leaves_nobody_to_another_layer() -> None:
    with pytest.raises(ExperimentError, match="'all' has every user, so that none is left for layer 'home'"):
        running(declaration("all"), declaration("elsewhere", layer="home"))


def test_the_oldest_stopped_ones_are_dropped() -> None:
    experiments = running(declaration("kept", layer="home", share=0.1))
    for number in range(KEPT + 5):
        experiments = stopped(started(experiments, declaration(f"x{number}"), THERE, number), f"x{number}", number)
    assert len(experiments) <= KEPT + 1
    assert named(experiments, "kept").runs
    with pytest.raises(ExperimentError, match="No experiment is called 'x0'"):
        named(experiments, "x0")


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "No Capitals"},
        {"arms": {"control": {"release": LIVE}}},
        {"arms": {"control": {"release": "short"}, "treatment": {"release": BEFORE}}},
        {"share": 0},
        {"share": 1.1},
        {"horizon_s": 0},
        {"metric": "money"},
        {"kind": "interleaved", "arms": {**ARMS, "third": {"release": LIVE}}},
        {"kind": "interleaved", "arms": {"a": {"release": LIVE, "weight": 2}, "b": {"release": BEFORE}}},
        {"buckets": [[0, 10]]},
    ],
)
def test_a_declaration_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        declaration(**wrong)


def test_arms_are_told_with_their_shares_of_the_layer() -> None:
    arms = {"control": {"release": LIVE, "weight": 3}, "treatment": {"release": BEFORE}}
    shares = [arm["share"] for arm in told(running(declaration(arms=arms, share=0.5))[0])["arms"]]
    assert shares == [0.375, 0.125]
    shares = [arm["share"] for arm in told(running(declaration(kind="interleaved", share=0.5))[0])["arms"]]
    assert shares == [0.5, 0.5]


def arguments(**given: Any) -> argparse.Namespace:
    nothing = dict.fromkeys(("layer", "kind", "share", "metric", "horizon_s", "planned_users"))
    return argparse.Namespace(**{**nothing, "name": "ranker", "arms": ["control=live:3", f"new={BEFORE}"], **given})


def test_the_command_line_declares_the_same() -> None:
    arms = {"control": {"release": LIVE, "weight": 3}, "new": {"release": BEFORE}}
    assert declared(arguments(layer="home"), THERE) == declaration(arms=arms, layer="home")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"arms": ["control"]}, "is no arm"),
        ({"arms": ["control=live", "control=live"]}, "there twice"),
        ({"arms": ["control=live:x", "new=live"]}, "is no arm"),
        ({"arms": ["control=live:0", "new=live"]}, "arms.control.weight: "),
        ({"share": 2.0}, "share: "),
        ({"kind": "interleaved"}, "kind: interleaved arms have no weights"),
    ],
)
def test_a_wrong_command_line_is_one_sentence(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ExperimentError, match=message):
        declared(arguments(**given), THERE)


def test_a_narrow_terminal_shows_every_experiment_whole() -> None:
    name = "replay-aa-interleaved"
    experiments = stopped(running(declaration(name, kind="interleaved", layer="replay")), name, 7)
    experiments = started(experiments, declaration("ranker", share=0.25), THERE, 8)
    said = io.StringIO()
    Console(file=said, width=80).print(overview(experiments))
    shown = said.getvalue()
    assert shown.index("ranker") < shown.index("replay-aa-interleaved")  # which runs no more
    for part in (LIVE, BEFORE, "control", "treatment", "12.5%", "100.0%", "runs", "interleaved, replay"):
        assert part in shown, shown


def test_live_needs_a_live_release() -> None:
    with pytest.raises(ExperimentError, match="No release is live"):
        declared(arguments(), Kept(None, {}))
