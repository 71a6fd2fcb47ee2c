"""A recommender over fakes."""

from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from data_exchange_center.settings import ServerSettings, Settings
from online.clients.base import ServiceError
from online.main.s1_server import create_app
from online.recommend import poller
from online.recommend.outcomes import Outcome
from online.recommend.recommend import Recommender
from online.recommend.types import Answer, Request
from tests.unit.online.fakes import FakeFeatures, FakeItems, FakeScorer, FakeUsers
from tests.unit.online.world import AT, KINDS, World

SERVICES = ("redis", "elasticsearch", "feast", "triton")
# on a busy machine, a service in memory takes its time, too
PATIENT = ServerSettings(budget_ms=10_000, warm_up_s=0)


@dataclass
class Fakes:
    """Four services in memory, and the recommender over them."""

    world: World
    users: FakeUsers
    items: FakeItems
    features: FakeFeatures
    scorer: FakeScorer
    recommender: Recommender

    @property
    def services(self) -> tuple[FakeUsers, FakeItems, FakeFeatures, FakeScorer]:
        return self.users, self.items, self.features, self.scorer

    def service(self, name: str) -> FakeUsers | FakeItems | FakeFeatures | FakeScorer:
        return next(service for service in self.services if service.service == name)

    def down(self, *names: str) -> None:
        """From now on these are away, and no others."""
        for service in self.services:
            service.down = service.service in names

    def add(self, world: World) -> None:
        """Another release, loaded but not live."""
        for service in self.services:
            service.worlds[world.release] = world

    def publish(self, world: World) -> None:
        """Another release, published and loaded by this process, not active."""
        self.add(world)
        self.users.history.append(world.release)
        self.follow()

    def restarted(self) -> closing[Recommender]:
        """Another process over the same services."""
        return closing(Recommender(*self.services, PATIENT))  # type: ignore[arg-type]

    def follow(self) -> None:
        """Notice now what Redis says of the releases, and load them: another thread of a server does it."""
        with suppress(ServiceError):
            self.recommender.releases.follow()


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def kind(request: pytest.FixtureRequest) -> type[World]:
    """Kind of the world; a test that is about one kind alone is parametrised with it."""
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def fakes(
    kind: type[World], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Fakes]:
    monkeypatch.setattr(poller, "POLL_S", 0.02)
    monkeypatch.setattr(poller, "POLL_AGAIN_S", 0.02)
    world = kind()
    users, items = FakeUsers(world, live=world.release), FakeItems(world)
    features, scorer = FakeFeatures(world), FakeScorer(world)
    recommender = Recommender(users, items, features, scorer, PATIENT)  # type: ignore[arg-type]
    recommender.releases.follow()
    for service in (users, items, features, scorer):
        service.calls.clear()
    yield Fakes(world, users, items, features, scorer, recommender)
    recommender.close()


@pytest.fixture
def opened(fakes: Fakes) -> Fakes:
    """With the active release loaded."""
    return fakes


@pytest.fixture
def http(fakes: Fakes) -> FlaskClient:
    """Client of a server without extras."""
    return create_app(fakes.recommender, plain(Settings())).test_client()


def ask(fakes: Fakes, userid: int = 1, size: int = 50, **more: Any) -> Answer:
    """A recommendation for a request in the user's last session."""
    request = {"userid": userid, "size": size, "timestamp": AT, **more}
    return fakes.recommender.recommend(Request(**request))


def outcomes(answer: Answer) -> tuple[Outcome, ...]:
    """What a recommendation is or lacks; nothing for a personal one of full quality."""
    return (
        *((Outcome.COLD_START,) if answer.cold_start else ()),
        *(each.outcome for each in answer.degraded),
    )


def plain(settings: Settings) -> Settings:
    """Without extras."""
    return settings.model_copy(
        update={"server": settings.server.model_copy(update={"extras": "none"})}
    )
