from __future__ import annotations

import itertools
import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_exchange_center import artifacts
from data_exchange_center.dataset import IdKind, OwnId
from data_exchange_center.release_parts import DatasetIds, OwnIds
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from offline.evaluation import evaluate as module
from offline.evaluation import served
from offline.evaluation.evaluate import evaluate, expect_release, server_answers, source_artifacts
from offline.evaluation.replay import Answers, Holdout
from tests.free_ports import free_ports
from tests.http_server import serving
from tests.synthetic_release import write_inputs
from tests.unit.offline.evaluation.conftest import holdout_of, settings_of

SYSTEMS = {
    "source": ["popularity", "item-kNN", "EASE", "source: channel fm", "source: recall", "source: ranked"],
    "default": [
        "popularity", "item-kNN", "EASE", "source: recall", "source: ranked",
        "default: channel tower", "default: channel ease", "default: recall", "default: ranked",
    ],
}  # fmt: skip


def test_the_report_of_either_recipe(released: Settings, exchange: Path) -> None:
    found = evaluate(released, "make it so", source=settings_of("source", exchange))
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert list(found["table"]) == list(found["systems"]) == list(found["slices"]) == SYSTEMS[released.recipe_name]
    assert (found["recipe"], found["command"]) == (released.recipe_name, "make it so")
    assert set(found["against"]) == {"popularity", "EASE"}
    assert set(found["funnel"]["200"]["channels"]) == {channel.name for channel in released.recipe.recall.channels}
    assert "live against exact" not in found


def test_the_source_is_measured_only_where_it_is_asked_for(exchange: Path) -> None:
    found = evaluate(settings_of("default", exchange), "")
    assert not [system for system in found["systems"] if system.startswith("source")]


def test_live_against_exact_is_a_number(exchange: Path) -> None:
    settings = settings_of("default", exchange)
    exact = served.answers(settings, holdout_of(settings))

    def with_ranked(change: Callable[[np.ndarray], np.ndarray]) -> dict[str, Any]:
        live = replace(exact, ranked=change(exact.ranked))
        return evaluate(settings, "", answerer=lambda _: live, source=settings_of("source", exchange))[
            "live against exact"
        ]

    same = with_ranked(np.copy)
    assert {name: part["shared"] for name, part in same.items()} == dict.fromkeys(same, 1.0)
    assert same["ranked"]["users with the same list"] == same["ranked"]["users"] == 24
    assert same["ranked"]["recall@50"] == 0
    worse = with_ranked(lambda ranked: np.where(np.arange(ranked.shape[1]) < 50, 0, ranked))
    assert worse["ranked"]["shared"] == pytest.approx(0.75, abs=0.01)
    assert worse["ranked"]["users with the same list"] == 0
    assert worse["ranked"]["recall@200"] < 0
    assert worse["fused"]["shared"] == 1


# The source's artifacts are made once, and again when the data is another


@pytest.fixture
def settings(exchange: Path, tmp_path: Path) -> Settings:
    folder = tmp_path / "exchange"
    shutil.copytree(exchange / "default", folder)
    with_data(folder, "a")
    return settings_of("default", exchange).model_copy(update={"exchange_dir": folder})


def with_data(folder: Path, digest: str, recipe: str = "default") -> None:
    content = artifacts.DATASET.read(folder)
    artifacts.DATASET.write(folder, {**content, "sha256": {"ratings.dat": digest}})
    write_inputs(folder, recipe)


@pytest.fixture
def runs(exchange: Path, monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """Settings of every run of the steps, which copy a made-up release of the source here."""
    made: list[Settings] = []

    def run_steps(settings: Settings, folder: Path) -> Iterator[dict[str, Any]]:
        made.append(settings)
        shutil.copytree(exchange / "source", folder, dirs_exist_ok=True)
        with_data(folder, artifacts.DATASET.read(settings.exchange_dir)["sha256"]["ratings.dat"], "source")
        yield {"step": "all", "seconds": 0.0}

    monkeypatch.setattr(module, "run_steps", run_steps)
    return made


def test_the_steps_run_once_on_the_same_data(settings: Settings, runs: list[Settings]) -> None:
    kept = source_artifacts(settings)
    assert source_artifacts(settings) == kept
    assert [(run.recipe_name, run.exchange_dir, run.data) for run in runs] == [("source", settings.exchange_dir, None)]
    assert kept.recipe_name == "source"
    assert kept.exchange_dir != settings.exchange_dir
    artifacts.RANK_WEIGHTS.read(kept.exchange_dir)


def test_other_data_or_a_broken_run_is_run_again(settings: Settings, runs: list[Settings]) -> None:
    kept = source_artifacts(settings)
    with_data(settings.exchange_dir, "b")
    source_artifacts(settings)
    assert len(runs) == 2
    artifacts.RANK_WEIGHTS.at(kept.exchange_dir).unlink()
    source_artifacts(settings)
    assert len(runs) == 3


# The client of the running server, against a small HTTP server that speaks like ours

RELEASE = "0123456789ab"
Reply = Callable[[dict[str, Any]], tuple[int, Any]]


@dataclass
class Server:
    """Answers POST with ``reply`` and says with ``ready`` that it is; keeps the requests."""

    settings: Settings
    holdout: Holdout
    exact: Answers
    url: str = ""
    kind: IdKind = "integer"  # of the ids of users and items
    reply: Reply | None = None  # None: the exact answers
    ready: dict[str, Any] = field(default_factory=lambda: {"ready": True, "release": RELEASE})
    asked: list[dict[str, Any]] = field(default_factory=list)

    def answer(self, request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, bytes]:
        if request.command == "GET":
            return 200, json.dumps(self.ready).encode()
        self.asked.append(json.loads(body))
        status, content = (self.reply or self.exactly)(self.asked[-1])
        return status, json.dumps(content).encode()

    def exactly(self, request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        past = self.holdout.past
        user = int(np.searchsorted(past.userids, self.own_ids.users.numbers[request["userid"]]))

        def ids(codes: np.ndarray) -> list[OwnId]:
            return [self.own_ids.items[int(itemid)] for itemid in past.itemids[codes[codes > 0] - 1]]

        ranked, recall = ids(self.exact.ranked[user]), {"fused": ids(self.exact.fused[user])}
        recall |= {name: ids(lists[user]) for name, lists in self.exact.channels.items()}
        scores = self.exact.scores[user]
        items = [{"itemid": item, "score": score} for item, score in zip(ranked, scores, strict=False)]
        return 200, {"release": RELEASE, "cold_start": False, "item_list": items, "recall": recall}

    @cached_property
    def own_ids(self) -> DatasetIds:
        """The numbers themselves; or strings, which sort in another order."""

        def named(numbers: np.ndarray) -> OwnIds:
            whole = self.kind == "integer"
            texts = [str(number) if whole else f"{number % 7} {number}" for number in numbers.tolist()]
            return OwnIds(numbers.tolist(), texts, self.kind)

        return DatasetIds(named(self.holdout.past.userids), named(self.holdout.past.itemids))

    def ask(self) -> Answers:
        recall = self.settings.recipe.recall
        names = [channel.name for channel in recall.channels]
        return server_answers(self.url, RELEASE, names, recall.candidates, self.holdout, self.own_ids)


@pytest.fixture(scope="module")
def served_exactly(exchange: Path) -> tuple[Settings, Holdout, Answers]:
    settings = settings_of("default", exchange)
    holdout = holdout_of(settings)
    return settings, holdout, served.answers(settings, holdout).shown()


@pytest.fixture
def server(served_exactly: tuple[Settings, Holdout, Answers]) -> Iterator[Server]:
    server = Server(*served_exactly)
    with serving(server.answer) as port:
        server.url = f"http://127.0.0.1:{port}"
        yield server


@pytest.mark.parametrize("kind", ["integer", "string"])
def test_what_the_server_answers_is_read_to_the_last_place(server: Server, kind: IdKind) -> None:
    server.kind = kind
    found, exact = server.ask(), server.exact
    assert np.array_equal(found.ranked, exact.ranked)
    assert np.array_equal(found.fused, exact.fused)
    assert found.channels.keys() == exact.channels.keys()
    assert all(np.array_equal(found.channels[name], lists) for name, lists in exact.channels.items())
    assert found.scores == pytest.approx(exact.scores, nan_ok=True)


def test_everybody_is_asked_once_at_the_first_held_out_rating(server: Server) -> None:
    server.ask()
    wanted = [
        {"userid": int(user), "timestamp": int(time), "size": 200, "explain": "recall", "strict": True}
        for user, time in zip(server.holdout.past.userids, server.holdout.times, strict=True)
    ]
    assert sorted(server.asked, key=lambda request: request["userid"]) == wanted


def test_a_stranger_has_the_popular_list_and_no_channel(server: Server) -> None:
    past = server.holdout.past
    items = [{"itemid": int(itemid), "score": 0.5} for itemid in past.itemids[:3]]
    server.reply = lambda _: (200, {**STRANGER, "item_list": items})
    found = server.ask()
    assert found.ranked[:, :4].tolist() == [[1, 2, 3, 0]] * past.n_users
    assert np.array_equal(found.fused[:, : found.ranked.shape[1]], found.ranked)
    assert not found.channels["tower"].any()


STRANGER = {"release": RELEASE, "cold_start": True}


@pytest.mark.parametrize(
    ("status", "content", "message"),
    [
        (503, {"error": {"message": "redis is away."}}, r"answered 503 for user \d+: redis is away\."),
        (200, {**STRANGER, "item_list": [{"itemid": 10**6, "score": 0.5}]}, "do not know"),
        (200, [], "is not this server"),
    ],
)
def test_a_wrong_answer_ends_it_in_one_sentence_and_an_error_soon(
    server: Server, status: int, content: Any, message: str
) -> None:
    def reply(_: object) -> tuple[int, Any]:
        if status != 200 and len(server.asked) > 1:
            time.sleep(0.2)  # enough to give up before everybody has been asked
        return status, content

    server.reply = reply
    with pytest.raises(StepError, match=message):
        server.ask()
    assert len(server.asked) < server.holdout.past.n_users or status == 200


@pytest.mark.parametrize("opening", [(200, {"release": "the one before"}), (503, {"error": {"code": module.OPENING}})])
def test_a_worker_that_is_still_opening_the_release_is_asked_again(
    server: Server, opening: tuple[int, dict[str, Any]]
) -> None:
    answered = itertools.count()
    server.reply = lambda request: server.exactly(request) if next(answered) > 2 else opening
    assert np.array_equal(server.ask().ranked, server.exact.ranked)


def test_a_release_that_stays_another_is_told(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OPENING_S", 0.1)
    server.reply = lambda request: (200, server.exactly(request)[1] | {"release": "another"})
    with pytest.raises(StepError, match=f"answers from release another, not {RELEASE}"):
        server.ask()


def test_something_else_that_answers_there_is_told(server: Server) -> None:
    server.ready = {"status": "fine"}
    with pytest.raises(StepError, match="is not this server"):
        expect_release(server.url, RELEASE)


def test_no_server() -> None:
    (port,) = free_ports(1)
    with pytest.raises(StepError, match=r"No server answers .* make up sync serve"):
        expect_release(f"http://127.0.0.1:{port}", RELEASE)
