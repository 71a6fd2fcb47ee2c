from __future__ import annotations

import http.server
import json
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

from data_exchange_center.steps import StepError
from online import bench_recipes
from online.bench import Answered, Level, Load, load, summarise
from online.bench_recipes import BASELINE, COMPARED, Loaded, comparison, newest_releases, take_turns, until_served


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    asked: ClassVar[Counter[int]] = Counter()

    def do_POST(self) -> None:
        userid = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["userid"]
        self.asked[userid] += 1
        body = json.dumps(
            {"release": "b" if userid == 7 else "a", "took_ms": {"redis": 1.0, "total": float(userid)}}
        ).encode()
        self.send_response(503 if userid == 13 else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    Handler.asked = Counter()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_every_user_is_asked_for_once(url: str) -> None:
    users = list(range(100, 137))
    seconds, answers = load(url, users, concurrency=5)
    assert Handler.asked == Counter(users)
    assert sorted(answer.took_ms["total"] for answer in answers) == users
    assert seconds > 0


def test_an_error_is_not_a_fast_answer(url: str) -> None:
    with pytest.raises(StepError, match="503 for user 13"):
        load(url, [1, 13], concurrency=1)


def test_summary() -> None:
    answers = [Answered(ms / 1e3, "a", {"redis": 1.0, "total": ms / 2}) for ms in range(1, 101)]
    level = summarise(4, 2.0, [*answers, Answered(0.05, "a", {"total": 25.0})])
    assert (level.concurrency, level.requests, level.requests_per_s) == (4, 101, 50.5)
    assert level.p50_ms == pytest.approx(50, abs=1)
    assert level.p99_ms == pytest.approx(99, abs=1)
    assert level.stage_p50_ms == {"redis": 1.0, "total": pytest.approx(25, abs=0.6)}


def test_an_answer_of_another_release_is_told(url: str) -> None:
    asking = Load(url, userids=[1, 7], levels=[1], requests=2, warm_up=1, seed=0)
    with pytest.raises(StepError, match="release b, too"):
        asking.measure("a")
    assert [level.requests for level in Load(url, [1, 2], [1, 2], 2, 1, seed=0).measure("a")] == [2, 2]


def test_a_switch_is_waited_for(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_recipes, "_SWITCH_S", 0.3)
    until_served(url, [1, 2, 3], "a")
    assert Handler.asked == Counter([1, 2, 3])
    with pytest.raises(StepError, match="does not answer from release a"):
        until_served(url, [1, 7], "a")


def level(concurrency: int, p50_ms: float) -> Level:
    return Level(concurrency, 10, 1000 / p50_ms, p50_ms, 2 * p50_ms, {"total": p50_ms - 1})


def test_the_newest_release_of_each_recipe_on_the_same_data_is_measured() -> None:
    loaded = [
        Loaded("small", COMPARED, "ml-100k"),
        Loaded("new", COMPARED, "ml-1m"),
        Loaded("old", COMPARED, "ml-1m"),
        Loaded("source", BASELINE, "ml-1m"),
    ]
    assert newest_releases(loaded, "ml-1m") == {BASELINE: "source", COMPARED: "new"}
    with pytest.raises(StepError, match=f"{BASELINE!r} on ml-100k .* `RECSYS_RECIPE={BASELINE} make offline sync`"):
        newest_releases(loaded, "ml-100k")


def test_recipes_take_turns_and_the_middle_round_counts() -> None:
    turns: list[str] = []
    p50s = {BASELINE: iter([10.0, 90.0, 11.0]), COMPARED: iter([12.0, 13.0, 99.0])}

    def measured(recipe: str) -> list[Level]:
        turns.append(recipe)
        p50_ms = next(p50s[recipe])
        return [level(1, p50_ms), level(16, 2 * p50_ms)]

    taken = take_turns((BASELINE, COMPARED), 3, measured)
    assert turns == [BASELINE, COMPARED, COMPARED, BASELINE, BASELINE, COMPARED]
    figures = comparison(taken, {BASELINE: "a", COMPARED: "b"})
    assert figures["p50_ratio"] == {"1": round(13 / 11, 3), "16": round(26 / 22, 3)}
    one, many = figures["recipes"][COMPARED]["levels"]
    assert (one["p50_ms"], one["p99_ms"], one["requests"], one["stage_p50_ms"]) == (13.0, 26.0, 30, {"total": 12.0})
    assert many["p50_ms_of_rounds"] == [24.0, 26.0, 198.0]
