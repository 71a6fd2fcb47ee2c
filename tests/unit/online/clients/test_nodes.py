"""Several nodes, of which some do not answer."""

from __future__ import annotations

from collections import Counter
from typing import cast

import pytest

from online.clients import http
from online.clients.http import Answer, Http, Nodes


class Node:
    """Answers with its name, or fails."""

    def __init__(self, name: str, error: Exception | None = None) -> None:
        self.name, self.error, self.asked = name, error, 0

    def post(self, path: str, body: bytes, headers: object) -> Answer:
        self.asked += 1
        if self.error:
            raise self.error
        return Answer(200, self.name.encode())


def over(*some: Node) -> Nodes:
    return Nodes([cast(Http, each) for each in some])


def ask(client: Nodes) -> str:
    return client.post("/", b"").body.decode()


def test_each_is_asked_in_its_turn() -> None:
    client = over(Node("a"), Node("b"), Node("c"))
    assert Counter(ask(client) for _ in range(9)) == {"a": 3, "b": 3, "c": 3}


@pytest.mark.parametrize("error", [ConnectionRefusedError(), ConnectionResetError()])
def test_past_one_that_is_gone_nobody_notices(error: Exception) -> None:
    gone = Node("gone", error)
    client = over(gone, Node("b"), Node("c"))
    assert {ask(client) for _ in range(30)} == {"b", "c"}
    assert gone.asked == 1, "and it is left alone for a while"


def test_one_that_comes_back_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(http.time, "monotonic", lambda: now)
    gone = Node("gone", ConnectionRefusedError())
    client = over(gone, Node("b"))
    assert ask(client) == "b"
    gone.error, now = None, now + http.DOWN_S
    assert {ask(client) for _ in range(4)} == {"gone", "b"}


def test_one_that_takes_all_the_time_costs_one_answer() -> None:
    slow = Node("slow", TimeoutError())
    client = over(slow, Node("b"))
    with pytest.raises(TimeoutError):
        ask(client)
    assert [ask(client) for _ in range(5)] == ["b"] * 5
    assert slow.asked == 1


def test_where_none_answers_the_last_ones_error_is_told() -> None:
    client = over(Node("a", ConnectionRefusedError("a")), Node("b", ConnectionRefusedError("b")))
    with pytest.raises(ConnectionRefusedError):
        ask(client)
