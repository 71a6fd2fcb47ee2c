from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient

from data_exchange_center.dataset import OwnId
from data_exchange_center.settings import ServerSettings, Settings
from extras.questions.seen_again import FACTOR, Shown, in_order
from online.clients.base import Client
from online.main.s1_server import create_app
from tests.unit.extras.conftest import Fakes
from tests.unit.extras.questions.asking import USER, ask, ids
from tests.unit.online.fakes import Fake
from tests.unit.online.world import UNKNOWN_USER, DefaultWorld
from tests.waiting import until

pytestmark = [
    pytest.mark.usefixtures("opened"),
    pytest.mark.parametrize("kind", [DefaultWorld], indirect=True),
]


class FakeShown(Fake, Client[tuple[str, OwnId], list[OwnId]]):
    service = "redis"

    def __init__(self) -> None:
        super().__init__()
        self.answers: list[Shown] = []

    def _call(self, query: tuple[str, OwnId]) -> list[OwnId]:
        self._seen(query)
        return [
            itemid
            for each in self.answers
            if (each.dataset, each.userid) == query
            for itemid in each.items
        ]

    def write(self, answers: Sequence[Shown]) -> None:
        self.answers += answers


@pytest.fixture
def store() -> FakeShown:
    return FakeShown()


@pytest.fixture
def http(
    fakes: Fakes, store: FakeShown, monkeypatch: pytest.MonkeyPatch
) -> FlaskClient:
    monkeypatch.setenv("RECSYS_SERVER__SEEN_AGAIN", "discount")
    return create_app(
        fakes.recommender, Settings(), {**fakes.stores, "shown": store}
    ).test_client()


def now(http: FlaskClient, **body: Any) -> list[Any]:
    return ids(ask(http, timestamp=None, **body))


@pytest.mark.parametrize("userid", [USER, UNKNOWN_USER])
def test_the_next_answer_brings_others_up(
    http: FlaskClient, store: FakeShown, userid: int
) -> None:
    whole = now(http, userid=userid, size=200, explain="recall")
    first = now(http, userid=userid)
    assert first == whole[:50]
    until(lambda: len(store.answers) == 1)
    assert store.answers[0].items == tuple(first)
    second = now(http, userid=userid)
    places = in_order(np.repeat([1, 0], [50, 150]))[:50]
    assert second == [whole[place] for place in places]
    assert second != first
    assert second[0] == first[0], "the best stays where it is"
    until(lambda: len(store.answers) == 2)


def test_only_what_somebody_looks_at_counts(
    fakes: Fakes, http: FlaskClient, store: FakeShown
) -> None:
    plain = now(http, strict=True)
    for body in (
        {"strict": True},
        {"explain": True},
        {"release": fakes.world.release},
        {"timestamp": 1_000_000_600},
    ):
        ask(http, **{"timestamp": None, **body})
    assert store.calls == []
    store.down = True
    assert now(http) == plain, "without Redis nothing is weighed"
    until(lambda: len(store.answers) == 1)


def test_reads_of_untrusted_clients_demote_nothing(
    fakes: Fakes, http: FlaskClient, store: FakeShown
) -> None:
    """Another site's page, and a client without a key on an open server, could change what a user sees by reading."""
    server = ServerSettings(proxies=1, keys_for="writes", allowed_hosts="localhost")
    open_to_all = create_app(
        fakes.recommender, Settings(server=server), {**fakes.stores, "shown": store}
    ).test_client()
    for _ in range(20):
        assert (
            http.get(
                f"/api/recommend/{USER}", headers={"Sec-Fetch-Site": "cross-site"}
            ).status_code
            == 200
        )
        now(open_to_all)
    first = now(http)
    until(lambda: len(store.answers) == 1)
    assert store.answers[0].items == tuple(first)


def test_pages_of_a_list_stay_one_list(http: FlaskClient, store: FakeShown) -> None:
    now(http)
    until(lambda: len(store.answers) == 1)
    first = ask(http, timestamp=None, cursor=True)
    whole = ids(first)
    until(lambda: len(store.answers) == 2)
    second = ids(ask(http, timestamp=None, cursor=first["cursor"]))
    assert set(whole).isdisjoint(second)
    assert len(second) == 50


def test_by_default_nothing_is_noted_or_weighed(fakes: Fakes, store: FakeShown) -> None:
    http = create_app(
        fakes.recommender, stores={**fakes.stores, "shown": store}
    ).test_client()
    assert now(http) == now(http)
    assert store.calls == store.answers == []


def test_places(kind: object) -> None:
    assert in_order(np.array([0, 0, 0])).tolist() == [0, 1, 2]
    assert in_order(np.array([9, 0, 0])).tolist() == [1, 2, 0]
    assert in_order(np.array([0, 1, 0, 0]), FACTOR).tolist() == [0, 1, 2, 3]
    assert in_order(np.array([0, 2, 0, 0]), FACTOR).tolist() == [0, 2, 1, 3]
