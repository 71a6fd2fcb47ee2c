"""The client of the running server, against a small HTTP server that speaks like ours."""

import itertools
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_exchange_center.dataset import OwnId
from data_exchange_center.release_parts import DatasetIds, read_own_ids
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from extras import replay
from extras.replay import Answers, Holdout
from research.evaluation import running_server as module
from research.evaluation.running_server import server_answers
from tests.http_server import serving
from tests.unit.extras.replay.conftest import holdout_of, settings_of

RELEASE = "0123456789ab"
Reply = Callable[[dict[str, Any]], tuple[int, Any]]


@dataclass
class Server:
    """Answers POST with ``reply`` and says with ``ready`` that it is; keeps the requests."""

    settings: Settings
    holdout: Holdout
    exact: Answers
    url: str = ""
    reply: Reply | None = None  # None: the exact answers
    ready: dict[str, Any] = field(
        default_factory=lambda: {"ready": True, "release": RELEASE}
    )
    requested: list[dict[str, Any]] = field(default_factory=list)

    def answer(self, request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, bytes]:
        if request.command == "GET":
            return 200, json.dumps(self.ready).encode()
        self.requested.append(json.loads(body))
        status, content = (self.reply or self.exactly)(self.requested[-1])
        return status, json.dumps(content).encode()

    def exactly(self, request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        past = self.holdout.past
        user = int(
            np.searchsorted(
                past.user_numbers, self.own_ids.users.numbers[request["userid"]]
            )
        )

        def ids(codes: np.ndarray) -> list[OwnId]:
            return [
                self.own_ids.items[int(itemid)]
                for itemid in past.item_numbers[codes[codes > 0] - 1]
            ]

        ranked, recall = (
            ids(self.exact.ranked[user]),
            {"fused": ids(self.exact.fused[user])},
        )
        recall |= {
            name: ids(lists[user]) for name, lists in self.exact.channels.items()
        }
        scores = self.exact.scores[user]
        items = [
            {"itemid": item, "score": score}
            for item, score in zip(ranked, scores, strict=False)
        ]
        return 200, {
            "release": RELEASE,
            "cold_start": False,
            "item_list": items,
            "recall": recall,
        }

    @cached_property
    def own_ids(self) -> DatasetIds:
        return read_own_ids(self.settings.artifacts_dir)

    def ask(self) -> Answers:
        recall = self.settings.recipe.recall
        names = [channel.name for channel in recall.channels]
        return server_answers(
            self.url, RELEASE, names, recall.candidates, self.holdout, self.own_ids
        )


@pytest.fixture(scope="module")
def served_exactly(exchange: Path) -> tuple[Settings, Holdout, Answers]:
    settings = settings_of("default", exchange)
    holdout = holdout_of(settings)
    return settings, holdout, replay.answers(settings, holdout).shown()


@pytest.fixture
def server(served_exactly: tuple[Settings, Holdout, Answers]) -> Iterator[Server]:
    server = Server(*served_exactly)
    with serving(server.answer) as port:
        server.url = f"http://127.0.0.1:{port}"
        yield server


def test_the_servers_answer_is_read_completely(server: Server) -> None:
    found, exact = server.ask(), server.exact
    assert np.array_equal(found.ranked, exact.ranked)
    assert np.array_equal(found.fused, exact.fused)
    assert found.channels.keys() == exact.channels.keys()
    assert all(
        np.array_equal(found.channels[name], lists)
        for name, lists in exact.channels.items()
    )
    assert found.scores == pytest.approx(exact.scores, nan_ok=True)


def test_each_user_has_one_request_at_the_first_held_out_rating(server: Server) -> None:
    server.ask()
    wanted = [
        {
            "userid": int(user),
            "timestamp": int(time),
            "size": 200,
            "explain": "recall",
            "strict": True,
        }
        for user, time in zip(
            server.holdout.past.user_numbers, server.holdout.times, strict=True
        )
    ]
    assert sorted(server.requested, key=lambda request: request["userid"]) == wanted


UNKNOWN_USER = {"release": RELEASE, "cold_start": True}


@pytest.mark.parametrize(
    ("status", "content", "message"),
    [
        (
            503,
            {"error": {"message": "redis is away."}},
            r"answered 503 for user \d+: redis is away\.",
        ),
        (
            200,
            {**UNKNOWN_USER, "item_list": [{"itemid": 10**6, "score": 0.5}]},
            "do not know",
        ),
        (200, [], "is not this server"),
    ],
)
def test_a_wrong_answer_is_a_one_sentence_error(
    server: Server, status: int, content: Any, message: str
) -> None:
    def reply(_: object) -> tuple[int, Any]:
        if status != 200 and len(server.requested) > 1:
            time.sleep(0.2)  # enough to give up before all requests are sent
        return status, content

    server.reply = reply
    with pytest.raises(StepError, match=message):
        server.ask()
    assert len(server.requested) < server.holdout.past.n_users or status == 200


@pytest.mark.parametrize(
    "opening",
    [(200, {"release": "the one before"}), (503, {"error": {"code": module.OPENING}})],
)
def test_a_worker_still_loading_the_release_is_retried(
    server: Server, opening: tuple[int, dict[str, Any]]
) -> None:
    answered = itertools.count()
    server.reply = lambda request: (
        server.exactly(request) if next(answered) > 2 else opening
    )
    assert np.array_equal(server.ask().ranked, server.exact.ranked)
