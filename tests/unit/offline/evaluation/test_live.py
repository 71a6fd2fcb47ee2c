"""The client against a small HTTP server that speaks like ours."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_exchange_center.dataset import IdKind, OwnId
from data_exchange_center.release_parts import DatasetIds, OwnIds
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from offline.evaluation import live, served
from offline.evaluation.live import expect_release, server_answers
from offline.evaluation.replay import Answers, Holdout
from tests.free_ports import free_ports
from tests.http_server import serving
from tests.unit.offline.evaluation.conftest import holdout_of, settings_of

RELEASE = "0123456789ab"
Reply = Callable[[dict[str, Any]], tuple[int, Any]]


@dataclass
class Server:
    """Answers POST with ``reply`` and says with ``ready`` that it is; keeps the requests."""

    url: str = ""
    reply: Reply = lambda _: (500, {})
    ready: dict[str, Any] = field(default_factory=lambda: {"ready": True, "release": RELEASE})
    asked: list[dict[str, Any]] = field(default_factory=list)

    def answer(self, request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, bytes]:
        if request.command == "GET":
            return 200, json.dumps(self.ready).encode()
        self.asked.append(json.loads(body))
        status, content = self.reply(self.asked[-1])
        return status, json.dumps(content).encode()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    with serving(server.answer) as port:
        server.url = f"http://127.0.0.1:{port}"
        yield server


@pytest.fixture(scope="module")
def settings(exchange: Path) -> Settings:
    return settings_of("default", exchange)


@pytest.fixture(scope="module")
def holdout(settings: Settings) -> Holdout:
    return holdout_of(settings)


@pytest.fixture(scope="module")
def exact(settings: Settings, holdout: Holdout) -> Answers:
    return served.answers(settings, holdout).shown()


def ids_of(holdout: Holdout, kind: IdKind = "integer") -> DatasetIds:
    """The numbers themselves; or strings, which sort in another order."""

    def named(numbers: np.ndarray) -> OwnIds:
        texts = [str(number) if kind == "integer" else f"{number % 7} {number}" for number in numbers.tolist()]
        return OwnIds(numbers.tolist(), texts, kind)

    return DatasetIds(named(holdout.past.userids), named(holdout.past.itemids))


def replies(exact: Answers, holdout: Holdout, own_ids: DatasetIds | None = None) -> Reply:
    itemids, named = holdout.past.itemids, own_ids or ids_of(holdout)

    def ids(codes: np.ndarray) -> list[OwnId]:
        return [named.items[int(itemid)] for itemid in itemids[codes[codes > 0] - 1]]

    def reply(request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        user = int(np.searchsorted(holdout.past.userids, named.users.numbers[request["userid"]]))
        ranked = ids(exact.ranked[user])
        recall = {"fused": ids(exact.fused[user])}
        recall |= {name: ids(lists[user]) for name, lists in exact.channels.items()}
        items = [{"itemid": item, "score": score} for item, score in zip(ranked, exact.scores[user], strict=False)]
        return 200, {"release": RELEASE, "cold_start": False, "item_list": items, "recall": recall}

    return reply


def asked(server: Server, holdout: Holdout, settings: Settings, own_ids: DatasetIds | None = None) -> Answers:
    recall = settings.recipe.recall
    names = [channel.name for channel in recall.channels]
    return server_answers(server.url, RELEASE, names, recall.candidates, holdout, own_ids or ids_of(holdout))


@pytest.mark.parametrize("kind", ["integer", "string"])
def test_what_the_server_answers_is_read_to_the_last_place(
    server: Server, holdout: Holdout, settings: Settings, exact: Answers, kind: IdKind
) -> None:
    own_ids = ids_of(holdout, kind)
    server.reply = replies(exact, holdout, own_ids)
    found = asked(server, holdout, settings, own_ids)
    assert np.array_equal(found.ranked, exact.ranked)
    assert np.array_equal(found.fused, exact.fused)
    assert found.channels.keys() == exact.channels.keys()
    assert all(np.array_equal(found.channels[name], lists) for name, lists in exact.channels.items())
    assert found.scores == pytest.approx(exact.scores, nan_ok=True)


def test_everybody_is_asked_once_at_the_first_held_out_rating(
    server: Server, holdout: Holdout, settings: Settings, exact: Answers
) -> None:
    server.reply = replies(exact, holdout)
    asked(server, holdout, settings)
    wanted = [
        {"userid": int(user), "timestamp": int(time), "size": 200, "explain": "recall", "strict": True}
        for user, time in zip(holdout.past.userids, holdout.times, strict=True)
    ]
    assert sorted(server.asked, key=lambda request: request["userid"]) == wanted


def test_a_stranger_has_the_popular_list_and_no_channel(server: Server, holdout: Holdout, settings: Settings) -> None:
    items = [{"itemid": int(itemid), "score": 0.5} for itemid in holdout.past.itemids[:3]]
    server.reply = lambda _: (200, {**STRANGER, "item_list": items})
    found = asked(server, holdout, settings)
    assert found.ranked[:, :4].tolist() == [[1, 2, 3, 0]] * holdout.past.n_users
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
    server: Server, holdout: Holdout, settings: Settings, status: int, content: Any, message: str
) -> None:
    def reply(_: object) -> tuple[int, Any]:
        if status != 200 and len(server.asked) > 1:
            time.sleep(0.2)  # enough to give up before everybody has been asked
        return status, content

    server.reply = reply
    with pytest.raises(StepError, match=message):
        asked(server, holdout, settings)
    assert len(server.asked) < holdout.past.n_users or status == 200


@pytest.mark.parametrize("opening", [(200, {"release": "the one before"}), (503, {"error": {"code": live.OPENING}})])
def test_a_worker_that_is_still_opening_the_release_is_asked_again(
    server: Server, holdout: Holdout, settings: Settings, exact: Answers, opening: tuple[int, dict[str, Any]]
) -> None:
    reply, answered = replies(exact, holdout), itertools.count()

    def late(request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        return reply(request) if next(answered) > 2 else opening

    server.reply = late
    assert np.array_equal(asked(server, holdout, settings).ranked, exact.ranked)


def test_a_release_that_stays_another_is_told(
    server: Server, holdout: Holdout, settings: Settings, exact: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "OPENING_S", 0.1)
    reply = replies(exact, holdout)
    server.reply = lambda request: (200, reply(request)[1] | {"release": "another"})
    with pytest.raises(StepError, match=f"answers from release another, not {RELEASE}"):
        asked(server, holdout, settings)


def test_something_else_that_answers_there_is_told(server: Server) -> None:
    server.ready = {"status": "fine"}
    with pytest.raises(StepError, match="is not this server"):
        expect_release(server.url, RELEASE)


def test_no_server() -> None:
    (port,) = free_ports(1)
    with pytest.raises(StepError, match=r"No server answers .* make up sync serve"):
        expect_release(f"http://127.0.0.1:{port}", RELEASE)
