"""What takes as long on any machine, or trains: `make test-full` runs it, the gate does not."""

import json
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from data_exchange_center.release_parts import read_own_ids, release_of_artifacts
from extras.sequence import channel
from extras.sequence.channel import SequenceRecipe
from research.measure.upgrade import FORMER, ROOT, measure
from tests.e2e.full.test_imported_models import check_served, exported_events, imported
from tests.e2e.full.test_renewal import renew, report, twin
from tests.e2e.pipeline import Pipeline, ml_100k
from tests.free_ports import shifted_ports
from tests.services.online.load import load
from tests.unit.offline.data.ratings import events_of
from tests.waiting import until

# A minute and a half of `make soak`: requests, release switches, and no process that grows.

# A busy machine keeps up with that. In minutes the heaps of fresh processes still fill; half as much again is a leak.
OPTIONS = "--rate 10 --switch-every 15 --grows-at-most 1.5 --slow"
PATIENT = {"RECSYS_SERVER__BUDGET_MS": "5000"}


@pytest.mark.timeout(1_500)
def test_nothing_grows_while_releases_take_turns(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    figures = tmp_path / "soak.json"
    before = pipeline.recommend(1).json()["release"]
    patient = replace(pipeline, env={**pipeline.env, **PATIENT})
    try:
        assert patient.run("make", "serve").returncode == 0
        done = patient.run(
            "make",
            "soak",
            "minutes=2.5",
            f"options={OPTIONS} --output {figures}",
            seconds=1_400,
        )
    finally:
        pipeline.run("make", "serve")
    assert done.returncode == 0, done.stdout
    found = json.loads(figures.read_text())
    assert found["holds"]
    assert found["switches"] >= 4
    assert found["errors"] == {}
    assert len(found["releases"]) == 2
    assert {each["process"].split()[0] for each in found["processes"]} == {
        "server",
        "redis",
        "elasticsearch",
        "feast",
        "triton",
    }
    assert pipeline.wait_for_release(before)["release"] == before


# A running stack of version 1.0.0 gets this commit while clients ask, and goes back.


def test_an_upgrade_loses_nothing_and_can_be_undone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = subprocess.run(["git", "cat-file", "-e", FORMER], cwd=ROOT, check=False)
    if known.returncode:
        pytest.skip("NOT TESTED: the commit of 1.0.0 is missing: git fetch --unshallow")
    for name, value in shifted_ports(12_000).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("RECSYS_DATA", str(ml_100k(tmp_path / "data")))
    monkeypatch.setenv("RECSYS_EXCHANGE_DIR", str(tmp_path))  # measure sets its own
    # a short path: beneath a long one 1.0.0 puts its supervisor's socket elsewhere
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder))  # raises where something is lost
    steps = found["steps"]
    assert all(step["requests"] for step in steps[:4])
    assert max(step["longest_without_s"] for step in steps) < 60
    print(*steps, sep="\n")


# `make renew canary=1`, which is activated or rolled back


# Short steps; an overlap that another recipe's lists do not reach; nobody sends feedback
CANARY = {
    "RECSYS_CANARY__STEP_S": "30",
    "RECSYS_CANARY__OVERLAP": "0.5",
    "RECSYS_CANARY__EVIDENCE": "1",
}


@pytest.fixture
def trying(pipeline: Pipeline) -> Iterator[Pipeline]:
    """With a server whose canaries have short steps. Afterwards artifacts, release and server are as before."""
    trying = replace(pipeline, env={**pipeline.env, **CANARY})
    before = pipeline.recommend(1).json()["release"]
    with pipeline.artifacts_kept():
        trying.stack("serve")
        yield trying
    pipeline.stack("serve")
    pipeline.activate(before)


def ended(pipeline: Pipeline) -> dict[str, Any]:
    """How the canary has ended, while all users request lists in turns."""

    def canaries() -> dict[str, Any]:
        return dict(
            requests.get(f"{pipeline.settings.server.url}/ml/canary", timeout=30).json()
        )

    users = read_own_ids(pipeline.settings.artifacts_dir).users.values()
    with load(
        pipeline.settings.server.url, [{"userid": user} for user in users], clients=4
    ) as answered:
        until(lambda: canaries()["running"] is None, within_s=400, every_s=0.5)
    assert {each.status for each in answered.answers} == {200}
    assert all(each.body["item_list"] for each in answered.answers)
    last = canaries()["ended"][0]
    assert {last["active"], last["release"]} == {
        each.body["release"] for each in answered.answers
    }
    return dict(last)


def test_a_candidate_is_activated_after_its_canary(
    trying: Pipeline, tmp_path: Path
) -> None:
    printed = renew(trying, "canary=1", RECSYS_RECIPE=twin(trying, tmp_path, "tried"))
    found = report(trying)
    assert found["verdict"] == "canary", printed
    assert "is still on trial" in renew(trying)
    last = ended(trying)
    assert (last["release"], last["active"]) == (found["candidate"], found["live"])
    assert (last["verdict"], last["shares"][last["step"]]) == ("activated", 0.5), last
    assert trying.wait_for_release(found["candidate"])


def test_a_worse_candidate_is_rolled_back_and_not_tried_again(trying: Pipeline) -> None:
    """One that the gate lets pass."""
    arguments, recipe = ("canary=1", "margin=0.99"), {"RECSYS_RECIPE": "source"}
    printed = renew(trying, *arguments, **recipe)
    found = report(trying)
    assert found["verdict"] == "canary", printed
    last = ended(trying)
    assert (last["release"], last["verdict"], last["reason"]) == (
        found["candidate"],
        "rolled back",
        "distance",
    ), last
    assert trying.recommend(1).json()["release"] == found["live"]
    assert f"make canary release={found['candidate']}" in renew(
        trying, *arguments, **recipe
    )
    assert report(trying)["verdict"] == "refused"
    assert release_of_artifacts(trying.settings).release == found["live"]


# The other models of the exporters, one of each kind served.


@pytest.fixture(scope="module")
def events(pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported_events(pipeline, tmp_path_factory.mktemp("models"))


def test_an_imported_model_has_the_librarys_lists(
    pipeline: Pipeline, events: Path
) -> None:
    imported(pipeline, events, "implicit", "bpr")


@pytest.mark.parametrize("model", ["sasrec", "esasrec"])
def test_an_imported_encoder_has_the_librarys_lists(
    pipeline: Pipeline, events: Path, model: str
) -> None:
    small = ("--epochs", "1", "--dims", "32", "--history", "50")
    imported(pipeline, events, "rectools", model, *small, exporter="rectools_sequences")


def test_the_server_answers_with_the_librarys_lists(
    pipeline: Pipeline, events: Path
) -> None:
    check_served(pipeline, *imported(pipeline, events, "implicit", "als"))


# The recipe `sequence`: its model is trained by RecTools, and is served.


SMALL = SequenceRecipe(dims=16, history=10, epochs=2, batch_size=16)


@pytest.mark.timeout(3_000)
def test_the_recipe_is_trained_kept_and_served(pipeline: Pipeline) -> None:
    with pipeline.with_release(RECSYS_RECIPE="sequence") as live:
        answer = live.recommend(1, explain="recall").json()
        assert {"tower", "ease", "sequence"} <= set(answer["recall"])
        assert "degraded" not in answer
        folder = live.settings.exchange_dir / "models" / "sequence"
        before = {
            path.name: (path / "encoder.onnx").stat().st_mtime_ns
            for path in folder.iterdir()
        }
        assert len(before) == 2
        done = live.step("offline/recall/s2_vector_recall.py")
        assert done.returncode == 0, done.stdout
        assert {
            path.name: (path / "encoder.onnx").stat().st_mtime_ns
            for path in folder.iterdir()
        } == before


def test_a_small_training_learns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    rows = [list(1 + rng.permutation(40)[:25]) for _ in range(60)]
    past = events_of(rows, [[5] * 25] * 60, [list(range(25))] * 60, n_items=40)
    monkeypatch.setenv("RECSYS_EXCHANGE_DIR", str(tmp_path))
    found = (channel.trained(SMALL, past) / channel.TRAINING).read_text("utf-8")
    first, second = json.loads(found)["losses"]
    assert second < first
